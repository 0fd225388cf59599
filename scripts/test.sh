#!/usr/bin/env bash
# Usage: scripts/test.sh [--preset release|debug|asan|tsan|mutants] [--target T]
#                     [ctest options, for example -R transport or -L quick]
# Sets up, builds and runs the tests; the exit status is ctest's. Ends with the slowest tests and
# ctest's closing line.
#   -L quick          what answers within 90 s in all; the other labels: ctest --test-dir
#                     build/release --print-labels
#   --target T        builds only this target: quick_tests, thread_tests or mutant_tests build the
#                     programs of a label
#   PEPNET_TEST_JOBS  tests at a time (default 1: tests start ranks and threads of their own)
# Tests of real processes wait for one another under time limits, which a busy machine may miss: if
# only such tests fail (label cli), they run once more, and the ending names those that passed the
# second time. No other test has a second try.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
parse_preset "$@"
options=("${rest[@]}") rest=() targets=()
for ((i = 0; i < ${#options[@]}; ++i)); do
  case ${options[i]} in
    --target)
      ((i + 1 < ${#options[@]})) || die "--target needs a name"
      targets+=("${options[++i]}") ;;
    --target=*) targets+=("${options[i]#*=}") ;;
    *) rest+=("${options[i]}") ;;
  esac
done

bash scripts/setup.sh --tests
bash scripts/build.sh --preset "$preset" "${targets[@]}"
# Open MPI and libtorch keep memory until the process ends.
export ASAN_OPTIONS="detect_leaks=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
export UBSAN_OPTIONS="print_stacktrace=1${UBSAN_OPTIONS:+:$UBSAN_OPTIONS}"
# Memory that Arrow's own allocator gives out again would look like a race of its users. Its locks
# are not seen to be released, which fills the detector of deadlocks.
[[ $preset != tsan ]] || export ARROW_DEFAULT_MEMORY_POOL=system
suppressions=$PWD/tests/sanitizers/tsan.supp
export TSAN_OPTIONS="detect_deadlocks=0:suppressions=$suppressions${TSAN_OPTIONS:+:$TSAN_OPTIONS}"

log=build/$preset/ctest.log
status=0
run ctest --test-dir "build/$preset" --output-on-failure --no-tests=error \
  -j "${PEPNET_TEST_JOBS:-1}" "${rest[@]}" | tee "$log" || status=$?

# failed_tests LOG: their names, a line each.
failed_tests() {
  local reasons='Failed|Timeout|Not Run|SEGFAULT|Subprocess aborted|.*Exception.*'
  sed -nE "s/^[[:space:]]*[0-9]+ - ([^ ]+) \(($reasons)\).*/\1/p" "$1"
}
unsteady=""
if ((status == 8)) && failed=$(failed_tests "$log") && [[ -n $failed ]]; then
  of_processes=$(ctest --test-dir "build/$preset" -N -L '^cli$' |
    sed -nE 's/^ *Test +#[0-9]+: ([^ ]+)$/\1/p')
  if ! grep -qvxF "$of_processes" <<<"$failed"; then
    again=$(mktemp)
    if run ctest --test-dir "build/$preset" --output-on-failure \
      -R "^($(paste -sd '|' <<<"$failed"))\$" | tee "$again"; then
      status=0 unsteady=$(paste -sd ' ' <<<"$failed")
    fi
    cat "$again" >>"$log"
    rm -f "$again"
  fi
fi

echo
echo "The slowest tests:"
sed -nE 's/^ *[0-9]+\/[0-9]+ Test +#[0-9]+: ([^ ]+) .* ([0-9.]+) sec.*$/\2 s  \1/p' "$log" |
  sort -rn | sed -n '1,10p'
echo
if ((status != 0)); then
  echo "What failed:"
  grep -E -A 12 '(: Failure|\*\*\*Failed|\*\*\*Timeout|\*\*\*Exception)' "$log" |
    head -n 200 || true
  echo
fi
[[ -z $unsteady ]] || echo "UNSTEADY, passed only the second time: $unsteady"
grep 'tests passed' "$log" || echo "ctest ran no tests (exit status $status)"
exit "$status"
