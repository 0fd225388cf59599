#!/usr/bin/env bash
# Usage: tests/scripts/check_test.sh REPOSITORY VENV
# scripts/check.sh in a scratch repository whose tests are a stand-in: it looks at changed lines only, and at new files.
set -euo pipefail
repository=$1 venv=$2
if [[ ! -x $venv-tools/bin/clang-format && -z $(command -v clang-format-14) ]]; then
  echo "skipped: there is no clang-format (scripts/setup.sh --tests)"
  exit 77
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
mkdir scripts
cp "$repository/scripts/common.sh" "$repository/scripts/check.sh" scripts/
cp "$repository/.clang-format" .
printf '%s\n' 'echo "tests with $*"; [[ ! -e red ]]' >scripts/test.sh
export PEPNET_VENV=$venv
git init -q -b main
git config user.email test@example.com
git config user.name test
printf '%s\n' 'int  old( int a );' 'int b();' >old.cc
git add . && git commit -qm start
git checkout -qb change

# expect NAME STATUS PATTERN: how check.sh ends.
expect() {
  local status=0 output
  output=$(bash scripts/check.sh "${@:4}" 2>&1) || status=$?
  if [[ $status != "$2" ]] || ! grep -qE -- "$3" <<<"$output"; then
    printf 'FAILED %s: status %s\n%s\n' "$1" "$status" "$output"
    exit 1
  fi
  echo "ok     $1"
}
expect "lines that did not change may look as they do" 0 '^tests with --preset release$'
expect "the sanitizers with --full" 0 '^checked: .* release asan tsan$' --full
printf '%s\n' 'int  old( int a );' 'int   b();' >old.cc
expect "a changed line must be formatted" 1 '^\+int b\(\);$'
git commit -qam "badly formatted"
expect "a committed one too" 1 '^\+int b\(\);$'
git reset -q --hard main
echo 'int  fresh();' >fresh.h
expect "a file that git does not know" 1 '^\+int fresh\(\);$'
rm fresh.h
touch red
expect "red tests" 1 'tests with'
expect "an unknown branch" 1 "no branch 'trunk'" --base trunk
