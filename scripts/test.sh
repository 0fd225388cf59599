#!/usr/bin/env bash
# Usage: scripts/test.sh [--preset release|debug|asan|tsan|mutants] [--target T] [ctest options, for example -R transport or -L quick]
# Sets up, builds and runs the tests; the exit status is ctest's. Ends with the slowest tests and ctest's closing line.
#   -L quick          what answers within 90 s in all; the other labels: ctest --test-dir build/release --print-labels
#   --target T        builds only this target: quick_tests, thread_tests or mutant_tests build the programs of a label
#   PEPNET_TEST_JOBS  tests at a time (default 1: tests start ranks and threads of their own)
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
parse_preset "$@"
options=("${rest[@]}") rest=() targets=()
for ((i = 0; i < ${#options[@]}; ++i)); do
  case ${options[i]} in
    --target) ((i + 1 < ${#options[@]})) || die "--target needs a name"; targets+=("${options[++i]}") ;;
    --target=*) targets+=("${options[i]#*=}") ;;
    *) rest+=("${options[i]}") ;;
  esac
done

bash scripts/setup.sh --tests
bash scripts/build.sh --preset "$preset" "${targets[@]}"
# Open MPI and libtorch keep memory until the process ends.
export ASAN_OPTIONS="detect_leaks=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
export UBSAN_OPTIONS="print_stacktrace=1${UBSAN_OPTIONS:+:$UBSAN_OPTIONS}"
export TSAN_OPTIONS="suppressions=$PWD/tests/sanitizers/tsan.supp${TSAN_OPTIONS:+:$TSAN_OPTIONS}"

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
