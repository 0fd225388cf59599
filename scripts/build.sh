#!/usr/bin/env bash
# Usage: scripts/build.sh [--preset release|debug|asan|tsan|mutants|clang|fuzz]
#                     [ninja targets or options]
# Sets up, configures and builds into build/<preset>; leaves build/<preset>/pepnet and
# build/<preset>/pepnet_ps. The preset clang proves the locks and compiles what needs no torch: it
# leaves no pepnet. It needs scripts/setup.sh --tests.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
parse_preset "$@"

bash scripts/setup.sh

# CMake refuses a build folder of another generator or of a tree that has been moved; its cache
# holds nothing of value.
cache=build/$preset/CMakeCache.txt
if [[ -f $cache ]] && ! { grep -qx 'CMAKE_GENERATOR:INTERNAL=Ninja' "$cache" &&
  grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$(pwd -P)" "$cache"; }; then
  run rm -rf "$cache" "build/$preset/CMakeFiles"
fi
run cmake --preset "$preset" -DPEPNET_VENV="$venv"
run cmake --build "build/$preset" -j "$(nproc)" -- "${rest[@]}"
