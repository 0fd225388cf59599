#!/usr/bin/env bash
# Usage: scripts/dev/flip_bytes.sh [--preset P] [--build DIR] [--every K] [--sample N] [--seed S]
# Damages a small checkpoint in every way of one byte and checks that no damage gets through the
# command line: it trains a job, then flips one bit of every K-th byte of every file of its newest
# checkpoint, cuts every file at every K-th byte, and removes every file; each time `pepnet inspect
# --verify` must refuse the checkpoint and name the file. For every N-th damage `pepnet train
# --continue_train` must refuse it, too, name the file, and leave the model_dir as it was.
#   --every K    default 31     --sample N  default 40     --seed S  chooses the bit of each byte
#                (default 1)
# Prints a table of counts by file. Exit status 1 if any damage was not refused by name.
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
build="" every=31 sample=40 seed=1 preset=release
while (($#)); do
  case $1 in
    -h | --help) print_usage; exit 0 ;;
    --preset | --build | --every | --sample | --seed)
      (($# > 1)) || die "$1 needs a value"
      printf -v "${1#--}" '%s' "$2"
      shift ;;
    *) die "unknown argument '$1'; see --help" ;;
  esac
  shift
done
build=${build:-$PWD/build/$preset}
[[ -x $build/pepnet ]] ||
  die "there is no $build/pepnet; run scripts/build.sh --preset $preset first"
exec python3 scripts/dev/flip_bytes.py --build "$build" --every "$every" --sample "$sample" \
  --seed "$seed"
