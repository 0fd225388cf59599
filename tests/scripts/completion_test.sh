#!/usr/bin/env bash
# Usage: tests/scripts/completion_test.sh REPOSITORY BUILD
# scripts/completion.bash with the real programs: every command and every flag of their --help is
# offered.
set -euo pipefail
repository=$1 build=$2
# shellcheck source=scripts/completion.bash
source "$repository/scripts/completion.bash"
failures=0

# offers WORD...: what is offered for the last word, sorted, on one line. Sets `offered`.
offers() {
  COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
  if [[ $1 == *launch.sh ]]; then _pepnet_launch; else _pepnet; fi
  offered=$(printf '%s\n' "${COMPREPLY[@]}" | sort | xargs)
}
expect() {  # NAME WANTED
  if [[ $offered == "$2" ]]; then
    echo "ok     $1"
  else
    printf 'FAILED %s\n  offered %s\n  wanted  %s\n' "$1" "$offered" "$2"
    failures=$((failures + 1))
  fi
}

commands=$("$build/pepnet" --help | sed -nE '/^Subcommands:/,$s/^  ([a-z-]+) .*/\1/p')
[[ $(wc -w <<<"$commands") -ge 7 ]]
offers "$build/pepnet" ""
expect "commands" "$(printf '%s\n' --help --version $commands | sort | xargs)"
offers "$build/pepnet" expo
expect "a begun command" export
for command in $commands; do
  # From the program's words, not from its layout: each --flag that stands at the beginning of an
  # entry.
  wanted=$("$build/pepnet" "$command" --help | grep -oE '^ {1,4}(-[a-z], ?)?--[a-z_]+' |
    sed -E 's/.*--/--/' | sort | xargs)
  [[ $wanted == *--help* ]]
  offers "$build/pepnet" "$command" --
  expect "flags of $command" "$wanted"
done
offers "$build/pepnet" bench ""
expect "commands of bench" \
  "--help allreduce checkpoint dense policies reader service sparse table train"
offers "$build/pepnet" bench table --r
expect "flags of bench table" "--rounds --rows"
offers "$build/pepnet" train --dense_engine ""
expect "choices" "fused reference"
offers "$build/pepnet" train --hash = f
expect "choices behind =" farm
for previous in /data/train.csv 'a&b/c' '.*/w x;#' '\'; do
  COMP_WORDS=("$build/pepnet" inspect "$previous" --ver) COMP_CWORD=3
  complaint=$(_pepnet 2>&1)
  offered=$complaint
  expect "nothing is written into the line behind $previous" ""
done
cd "$repository"
offers "$build/pepnet" train --pipeline_config_path configs/pepnet_movi
expect "files" configs/pepnet_movielens.config

# launch.sh: the flags that its case statement knows, and behind -- those of the program that it
# starts.
launch=$repository/scripts/launch.sh
known=$(sed '/--) shift/q' "$launch" | grep -oE '^ *--[a-z_]+( \| --[a-z_]+)*\)' |
  grep -oE -- '--[a-z_]+' | sort -u)
[[ $(wc -w <<<"$known") -ge 6 ]]
offers "$launch" --
expect "flags of launch.sh" "$(printf '%s\n' -- --help $known | sort | xargs)"
offers "$launch" --placement ""
expect "placements of launch.sh" "colocated dedicated"
offers "$launch" --workers 4 --placement = co
expect "a begun placement of launch.sh" colocated
offers "$launch" --servers ""
expect "nothing for a number" ""
offers "$launch" --hostfile configs/pepnet_movi
expect "files of launch.sh" configs/pepnet_movielens.config
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/build" "$scratch/scripts"
cp "$launch" "$repository/scripts/common.sh" "$scratch/scripts/"
ln -s "$build" "$scratch/build/debug"
launch=$scratch/scripts/launch.sh
offers "$launch" --servers 2 --workers 2 --preset debug -- tra
expect "commands behind --" train
offers "$launch" --preset = debug --servers 2 -- train --dense_engine ""
expect "choices behind --" "fused reference"
((failures == 0)) || { echo "$failures checks failed"; exit 1; }
