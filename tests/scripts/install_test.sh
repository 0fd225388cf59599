#!/usr/bin/env bash
# Usage: tests/scripts/install_test.sh REPOSITORY BUILD
# `cmake --install`: what it puts where, and that the programs run from there, also when the folder
# has been moved.
set -euo pipefail
repository=$1 build=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

cmake --install "$build" --prefix "$scratch/first"
installed=$(cd "$scratch/first" && find . -type f | sort | xargs)
[[ $installed == "./bin/pepnet ./bin/pepnet_ps" ]] || { echo "installed: $installed"; exit 1; }
mv "$scratch/first" "$scratch/second"
for program in pepnet pepnet_ps; do
  path=$scratch/second/bin/$program
  searched=$(readelf -d "$path" | sed -nE 's/.*\((RPATH|RUNPATH)\).*\[(.*)\]/\2/p')
  echo "$program looks for libraries in $searched"
  while IFS= read -r folder; do
    [[ $folder == /* && $folder != "$build"* && $folder != "$scratch"* ]] ||
      { echo "$program looks into '$folder'"; exit 1; }
  done < <(tr : '\n' <<<"$searched")
  [[ $(env -i "$path" --version) == "$("$build/pepnet" --version)" ]]
done
cd "$scratch"
env -i "$scratch/second/bin/pepnet" check-config "$repository/configs/pepnet_movielens.config" \
  >"$scratch/effective"
grep -q 'embedding_dim: 16' "$scratch/effective"
# The Python package is not installed; init says how to get it.
status=0
said=$("$scratch/second/bin/pepnet" init x.csv --labels y 2>&1) || status=$?
[[ $status == 1 && $said == *"pepnet: init is a command of the Python package pepnet_trainer"* ]] ||
  { echo "$said"; exit 1; }
echo "the installed programs run"
