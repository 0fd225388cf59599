#!/usr/bin/env bash
# Usage: scripts/dev/check.sh [--base BRANCH] [--full]
# Checks a change before it is committed: the format of the lines that it changes, the titles of its
# commits, a build in which warnings are errors, and all tests. --full adds the quick tests under
# the address sanitizer and those of threads under the thread sanitizer. (scripts/dev/lint.sh checks
# the format of the whole tree; .ci/run also the locks.)
#   --base BRANCH   changes are counted from where this branch left BRANCH (default: main),
#                   uncommitted ones included
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
base=main full=""
while (($#)); do
  case $1 in
    -h | --help) print_usage; exit 0 ;;
    --base) (($# > 1)) || die "--base needs a branch"; base=$2; shift ;;
    --base=*) base=${1#*=} ;;
    --full) full=yes ;;
    *) die "unknown argument '$1'; see --help" ;;
  esac
  shift
done
start=$(git merge-base "$base" HEAD 2>/dev/null) ||
  die "git knows no branch '$base'; name one with --base"

# clang-format-diff comes with clang-format.
clang_format=$(find_tool clang-format clang-format-14)
format_diff=$(find_tool clang-format-diff.py clang-format-diff-14)
[[ -n $clang_format && -n $format_diff ]] ||
  die "there is no clang-format; run scripts/setup.sh --tests"
echo "+ format of the lines changed since $base"
# Whole files that git does not know yet count as changed.
mapfile -t untracked < <(git ls-files --others --exclude-standard -- '*.cc' '*.h')
wrong=$({
  git diff -U0 --no-color "$start" -- '*.cc' '*.h'
  for file in "${untracked[@]}"; do
    git diff -U0 --no-color --no-index /dev/null "$file" || true
  done
} | "$format_diff" -p1 -binary "$clang_format")
if [[ -n $wrong ]]; then
  printf '%s\n' "$wrong"
  die "the lines above are not formatted; apply them with:" \
    "git diff -U0 $base -- '*.cc' '*.h' | $format_diff -p1 -i"
fi

echo "+ titles of the commits since $base"
check_titles "$start"

run bash scripts/test.sh --preset release
if [[ -n $full ]]; then
  run bash scripts/test.sh --preset asan --target quick_tests -L quick -LE script
  run bash scripts/test.sh --preset tsan --target thread_tests -L threads
fi
echo "checked: format, titles, build and tests${full:+, both sanitizers}"
