#!/usr/bin/env bash
# Usage: scripts/dev/torture.sh [--preset P] [--build DIR] [--seconds S] [--seed N] [rounds]
# Kills training jobs at random and checks that nothing is lost: each round draws a job (servers,
# workers, batch, optimizer, shuffle, checkpoint cadence), trains it undisturbed, then trains it
# again while it is killed over and over, at random times and at named kill points, resumes it each
# time, and compares the end bit by bit (pepnet inspect --diff). Prints the seed (the same seed
# draws the same jobs and kills) and a table of kills by kind, wrong restores and hangs.
#   rounds     default 20         --seconds S  start no new round after S seconds (default 0: no
#              limit)
# Exit status 1 if anything was wrong.
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
build="" seconds=0 seed=$RANDOM preset=release rounds=20
while (($#)); do
  case $1 in
    -h | --help) print_usage; exit 0 ;;
    --preset | --build | --seconds | --seed)
      (($# > 1)) || die "$1 needs a value"
      printf -v "${1#--}" '%s' "$2"
      shift ;;
    -*) die "unknown argument '$1'; see --help" ;;
    *) rounds=$1 ;;
  esac
  shift
done
build=${build:-$PWD/build/$preset}
[[ -x $build/pepnet ]] ||
  die "there is no $build/pepnet; run scripts/build.sh --preset $preset first"
exec python3 scripts/dev/torture.py \
  --build "$build" --seconds "$seconds" --seed "$seed" --rounds "$rounds"
