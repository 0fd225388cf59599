#!/usr/bin/env bash
# Usage: scripts/dev/mutants.sh [--no_build] [mutant names; default: all]
# A mutant is a deliberate fault behind a test-only switch (common/base/mutant.h). Builds with
# mutants into build/mutants and runs the tests that notice one in a single file, then the law
# tests: once without a mutant, where they must pass, and once with each, where at least one must
# fail; prints which law test turned red. The tests of the law that the mutant is listed under run
# first, the others only if those stay green. Exit status 1 if a mutant survives.
#   --no_build   takes build/mutants as it is, and runs the law tests only
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
build=yes
mutants=()
for argument in "$@"; do
  case $argument in
    -h | --help) print_usage; exit 0 ;;
    --no_build) build="" ;;
    -*) die "unknown argument '$argument'; see --help" ;;
    *) mutants+=("$argument") ;;
  esac
done
program=build/mutants/tests/laws_test
time_limit_s=600

if [[ -n $build ]]; then
  run bash scripts/build.sh --preset mutants laws_test mutant_tests
  run ctest --test-dir build/mutants --output-on-failure --no-tests=error -L mutants
fi
[[ -x $program ]] || die "there is no $program; run scripts/dev/mutants.sh without --no_build"
declare -A law_of
known=()
while read -r law mutant; do
  law_of[$mutant]=$law known+=("$mutant")
done < <("$program" --list_mutants | grep -xE 'L[1-7] [a-z0-9_]+')
((${#known[@]} > 0)) || die "$program --list_mutants names no mutant"
((${#mutants[@]} > 0)) || mutants=("${known[@]}")
for mutant in "${mutants[@]}"; do
  [[ " ${known[*]} " == *" $mutant "* ]] || die "there is no mutant '$mutant'; known: ${known[*]}"
done

log=$(mktemp)
trap 'rm -f "$log"' EXIT
# run_laws [flag...]: leaves the output in $log.
run_laws() {
  printf '+ %s\n' "$program $*"
  timeout -k 5 "$time_limit_s" "$program" --gtest_color=no --gtest_fail_fast "$@" >"$log" 2>&1
}
run_laws || {
  cat "$log"
  die "the law tests fail without a mutant, so a red test would prove nothing"
}

survivors=()
for mutant in "${mutants[@]}"; do
  status=0 law=${law_of[$mutant]}
  run_laws "--mutant=$mutant" "--gtest_filter=$law*:*/$law*" || status=$?
  ((status != 0)) || run_laws "--mutant=$mutant" || status=$?
  # gtest writes "[  FAILED  ] Suite.Test (12 ms)" (or "Prefix/Suite.Test/0, where ...") when a test
  # ends, and the name alone again in its summary.
  red=$(sed -nE 's/^\[  FAILED  \] ([A-Za-z0-9_\/]+\.[A-Za-z0-9_\/]+).*$/\1/p' "$log" |
    sort -u | paste -sd ' ')
  if [[ -n $red ]]; then
    printf '%-30s red: %s\n' "$mutant" "$red"
  elif ((status == 0)); then
    printf '%-30s SURVIVED: every law test stayed green\n' "$mutant"
    survivors+=("$mutant")
  else
    printf '%-30s SURVIVED: no law test turned red; the program ended with status %d, saying:\n' \
      "$mutant" "$status"
    tail -n 3 "$log"
    survivors+=("$mutant")
  fi
done

((${#survivors[@]} == 0)) ||
  die "${#survivors[@]} of ${#mutants[@]} mutants survived: ${survivors[*]}"
echo "all ${#mutants[@]} mutants turned a law test red"
