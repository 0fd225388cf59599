#!/usr/bin/env bash
# Usage: scripts/fuzz.sh MINUTES [TARGET...]
# Builds the fuzz targets of tests/fuzz with clang, libFuzzer and the address and
# undefined-behaviour sanitizers, and runs each for the same share of MINUTES (at least 1, a whole
# number), one after the other. Without targets: all of them. Prints a table, and ends with status 1
# if there was a finding. Needs scripts/setup.sh --tests, and of clang its sanitizers.
#   build/fuzz/corpus/TARGET      the interesting inputs; the next run begins with them
#   build/fuzz/findings/TARGET-*  the inputs that crashed, hung (10 s), leaked or took more than
#                                 2 GB, and TARGET.log, which says how
# A fixed finding becomes a small file of tests/fuzz/corpus/TARGET.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

case ${1-} in -h | --help) print_usage; exit 0 ;; esac
[[ ${1-} =~ ^[1-9][0-9]*$ ]] ||
  die "MINUTES is '${1-}', expected a whole number of at least 1 (see --help)"
minutes=$1
shift
targets=()
for source in tests/fuzz/*_fuzz.cc; do
  name=$(basename "$source" _fuzz.cc)
  if (($# == 0)) || [[ " $* " == *" $name "* ]]; then targets+=("$name"); fi
done
for name in "$@"; do
  [[ -f tests/fuzz/${name}_fuzz.cc ]] ||
    die "there is no target '$name'; choose from:" \
      "$(cd tests/fuzz && echo *_fuzz.cc | sed 's/_fuzz\.cc//g')"
done

clang=$(find_tool clang++ clang++-{14..30})
if [[ -n $clang && ! -f $("$clang" -print-resource-dir)/include/sanitizer/asan_interface.h ]]; then
  version=$("$clang" -dumpversion)
  die "$clang has no sanitizers; install them" \
    "(Debian: apt-get install libclang-rt-${version%%.*}-dev)"
fi
bash scripts/build.sh --preset fuzz "${targets[@]/%/_fuzz}"
findings=$PWD/build/fuzz/findings
mkdir -p "$findings"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
seconds=$((minutes * 60 / ${#targets[@]}))
((seconds > 0)) || seconds=1
export UBSAN_OPTIONS="print_stacktrace=1${UBSAN_OPTIONS:+:$UBSAN_OPTIONS}"

# run_target NAME: until its time is over, once more behind each finding; sets executions, edges and
# crashes.
run_target() {
  local name=$1 corpus=build/fuzz/corpus/$1 log=$findings/$1.log end=$((SECONDS + seconds)) before
  executions=0 edges=0 crashes=0
  mkdir -p "$corpus"
  : >"$log"
  while ((SECONDS < end)); do
    before=$(wc -l <"$log")
    TMPDIR=$scratch "build/fuzz/tests/${name}_fuzz" "$corpus" "tests/fuzz/corpus/$name" \
      -max_total_time=$((end - SECONDS)) -timeout=10 -rss_limit_mb=2048 -max_len=16384 \
      -print_final_stats=1 -artifact_prefix="$findings/$name-" 2>&1 |
      grep -v '^\[libprotobuf ERROR' >>"$log" && break
    crashes=$((crashes + 1))
    ((crashes < 20)) || break # the same one again and again
    [[ $(wc -l <"$log") != "$before" ]] || break
  done
  executions=$(awk '/stat::number_of_executed_units:/ {sum += $2} END {print sum + 0}' "$log")
  edges=$(sed -nE 's/.* cov: ([0-9]+) .*/\1/p' "$log" | sort -n | tail -n 1)
}

failed=0
printf '%-14s %12s %8s %9s   (%s s each)\n' target executions edges findings "$seconds"
for name in "${targets[@]}"; do
  run_target "$name"
  printf '%-14s %12s %8s %9s\n' "$name" "$executions" "${edges:-0}" "$crashes"
  ((crashes == 0)) || failed=1
done
((failed == 0)) || die "there were findings: the inputs and logs are in $findings"
