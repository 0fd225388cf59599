#!/usr/bin/env bash
# Usage: scripts/test.sh [--preset release|debug|asan|tsan] [ctest options, for example -R transport or -L mpi]
# Sets up, builds and runs the tests; the exit status is ctest's. Ends with the slowest tests and ctest's closing line.
#   PEPNET_TEST_JOBS  tests at a time (default 1: tests start ranks and threads of their own)
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
parse_preset "$@"

bash scripts/setup.sh --tests
bash scripts/build.sh --preset "$preset"
# Open MPI and libtorch keep memory until the process ends.
export ASAN_OPTIONS="detect_leaks=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}"

log=build/$preset/ctest.log
status=0
run ctest --test-dir "build/$preset" --output-on-failure --no-tests=error -j "${PEPNET_TEST_JOBS:-1}" "${rest[@]}" |
  tee "$log" || status=$?

echo
echo "The slowest tests:"
sed -nE 's/^ *[0-9]+\/[0-9]+ Test +#[0-9]+: ([^ ]+) .* ([0-9.]+) sec.*$/\2 s  \1/p' "$log" | sort -rn | head -n 10
echo
grep 'tests passed' "$log" || echo "ctest ran no tests (exit status $status)"
exit "$status"
