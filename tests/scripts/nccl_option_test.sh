#!/usr/bin/env bash
# Usage: tests/scripts/nccl_option_test.sh REPOSITORY VENV
# The answers of CMake to PEPNET_WITH_NCCL: configures into a scratch folder, builds nothing.
set -euo pipefail
repository=$1 venv=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failures=0

# expect NAME STATUS PATTERN OPTIONS...: as in scripts_test.sh, of cmake. CMake breaks its lines as
# it likes.
expect() {
  local name=$1 wanted_status=$2 pattern=$3 status=0 output
  shift 3
  rm -rf "$scratch/build"
  output=$(cmake -S "$repository" -B "$scratch/build" -G Ninja -DPEPNET_VENV="$venv" \
    -DPEPNET_BUILD_TESTS=OFF "$@" 2>&1) || status=$?
  if [[ $status != "$wanted_status" ]] ||
    ! tr -s '\n ' ' ' <<<"$output" | grep -qE -e "$pattern"; then
    printf 'FAILED %s: status %s (wanted %s), output (wanted /%s/):\n%s\n' \
      "$name" "$status" "$wanted_status" "$pattern" "$output"
    failures=$((failures + 1))
  else
    echo "ok     $name"
  fi
}

expect "OFF: never" 0 'NCCL not used \(PEPNET_WITH_NCCL is OFF\)' -DPEPNET_WITH_NCCL=OFF
expect "AUTO: what is missing does not stop the build, and is named" 0 \
  'NCCL not used \(.*there is no' \
  -DPEPNET_WITH_NCCL=AUTO -DPEPNET_CUDA_DIR="$scratch/nowhere"
remedy='Run scripts/setup.sh --tests, or set PEPNET_NCCL_DIR and PEPNET_CUDA_DIR'
expect "ON: what is missing is an error that says what to do" 1 \
  "PEPNET_WITH_NCCL is ON, and .*there is no .*$remedy" \
  -DPEPNET_WITH_NCCL=ON -DPEPNET_CUDA_DIR="$scratch/nowhere"
expect "no other value" 1 "PEPNET_WITH_NCCL is 'MAYBE', it must be AUTO, ON or OFF" \
  -DPEPNET_WITH_NCCL=MAYBE
exit $((failures > 0))
