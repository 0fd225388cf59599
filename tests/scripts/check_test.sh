#!/usr/bin/env bash
# Usage: tests/scripts/check_test.sh REPOSITORY VENV
# scripts/dev/check.sh in a scratch repository whose tests are a stand-in: it looks at changed lines
# only, at new files, and at the titles of commits. scripts/dev/lint.sh, which looks at whole files.
set -euo pipefail
repository=$1 venv=$2
if [[ ! -x $venv-tools/bin/clang-format && -z $(command -v clang-format-14) ]]; then
  echo "skipped: there is no clang-format (scripts/setup.sh --tests)"
  exit 77
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
mkdir -p scripts/dev
cp "$repository"/scripts/common.sh scripts/
cp "$repository"/scripts/dev/{check,lint}.sh scripts/dev/
cp "$repository/.clang-format" .
printf '%s\n' 'echo "tests with $*"; [[ ! -e red ]]' >scripts/test.sh
export PEPNET_VENV=$venv
git init -q -b main
git config user.email test@example.com
git config user.name test
printf '%s\n' 'int  old( int a );' 'int b();' >old.cc
git add . && git commit -qm start
git checkout -qb change

script=check
# expect NAME STATUS PATTERN: how the script ends.
expect() {
  local status=0 output
  output=$(bash "scripts/dev/$script.sh" "${@:4}" 2>&1) || status=$?
  if [[ $status != "$2" ]] || ! grep -qE -- "$3" <<<"$output"; then
    printf 'FAILED %s: status %s\n%s\n' "$1" "$status" "$output"
    exit 1
  fi
  echo "ok     $1"
}
expect "lines that did not change may look as they do" 0 '^tests with --preset release$'
expect "the sanitizers with --full" 0 \
  '^tests with --preset tsan --target thread_tests -L threads$' --full
expect "the sanitizers with --full" 0 '^checked: .*, both sanitizers$' --full
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

script=lint
git reset -q --hard main
expect "all lines of a file must be formatted" 1 'clang-format-violations'
printf '%s\n' 'int old(int a);' 'int b();' >old.cc
expect "a formatted tree" 0 '^linted: format, commit titles$'
expect "an unknown commit" 1 "no commit 'trunk'" --base trunk
# title PATTERN TITLE: lint.sh with such a commit on the branch; an empty pattern: it is accepted.
title() {
  git commit -q --allow-empty -m "$2"
  if [[ -n $1 ]]; then expect "title '$2'" 1 "$1"; else expect "title '$2'" 0 '^linted'; fi
  git reset -q --hard HEAD~1
}
git commit -qam "tests: format the old file"
title "" "ps: keep optimizer state when a row is re-admitted"
title "" "common/net, ps: feed the watchdog"
title "" "worker: need no lock"
title "not of the form" "Keep the state"
title "not of the form" "keep the state of rows"
title "not in the imperative" "docs: how a server bears 20 million rows"
title "not in the imperative" "ps: the index tells ids apart"
title "not in the imperative" "ps: adding a row"
title "not in the imperative" "ps: skipped a row"
title "74 characters, at most 70" \
  "ps: keep the state of a row that is re-admitted after it was let go of now"
