#!/usr/bin/env bash
# Usage: scripts/dev/lint.sh [--base COMMIT] [--tidy | --tidy_all]
# Checks a tree without running it: clang-format over every .cc and .h file; the width of their
# comments and of schemas, scripts and CMake files; that they prefetch through processor.h; the
# titles of the commits since COMMIT. Needs what scripts/setup.sh --tests installs.
#   --base COMMIT   commits are counted from where this branch left COMMIT (default: main)
#   --tidy          also clang-tidy (.clang-tidy) over the .cc files of the product that changed
#                   since COMMIT; these must have been configured (scripts/build.sh)
#   --tidy_all      clang-tidy over all of them: half an hour on two cores
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
base=main tidy=""
while (($#)); do
  case $1 in
    -h | --help) print_usage; exit 0 ;;
    --base) (($# > 1)) || die "--base needs a commit"; base=$2; shift ;;
    --base=*) base=${1#*=} ;;
    --tidy) tidy=changed ;;
    --tidy_all) tidy=all ;;
    *) die "unknown argument '$1'; see --help" ;;
  esac
  shift
done
start=$(git merge-base "$base" HEAD 2>/dev/null) ||
  die "git knows no commit '$base'; name one with --base"

clang_format=$(find_tool clang-format clang-format-14)
[[ -n $clang_format ]] || die "there is no clang-format; run scripts/setup.sh --tests"
echo "+ clang-format of the whole tree"
mapfile -t sources < <(git ls-files --cached --others --exclude-standard -- '*.cc' '*.h')
existing=()
for file in "${sources[@]}"; do [[ ! -f $file ]] || existing+=("$file"); done
((${#existing[@]} == 0)) || "$clang_format" --dry-run --Werror "${existing[@]}" ||
  die "the lines above are not formatted; run $clang_format -i on their files"

# clang-format leaves comments as they are: .clang-format has ReflowComments off, for lists and
# formulas in them.
echo "+ width of comments and scripts"
mapfile -t texts < <(git ls-files --cached --others --exclude-standard -- \
  '*.proto' '*.sh' '*.bash' '*.sbatch' '*.py' '*.cmake' '*CMakeLists.txt' .ci/run)
scripts=()
for file in "${texts[@]}"; do [[ ! -f $file ]] || scripts+=("$file"); done
wide=$(
  awk 'length($0) > 100 && /^ *\/\// { print FILENAME ":" FNR ": " $0 }' "${existing[@]}"
  awk 'length($0) > 100 { print FILENAME ":" FNR ": " $0 }' "${scripts[@]}"
)
[[ -z $wide ]] || die "these lines have more than 100 columns:"$'\n'"$wide"

# GCC drops functions that only call the builtin (common/base/processor.h).
echo "+ prefetching"
bare=$(grep -n '__builtin_prefetch(' "${existing[@]}" | grep -v '^common/base/processor\.h:') ||
  true
[[ -z $bare ]] || die "these lines want PrefetchRead() or PrefetchWrite():"$'\n'"$bare"

echo "+ titles of the commits since $base"
check_titles "$start"

if [[ -n $tidy ]]; then
  clang_tidy=$(find_tool clang-tidy clang-tidy-14)
  [[ -n $clang_tidy ]] || die "there is no clang-tidy; run scripts/setup.sh --tests"
  [[ -f build/release/compile_commands.json ]] ||
    die "there is no build/release; run scripts/build.sh first"
  # clang does not read the headers that GCC has precompiled, nor know all of its warnings.
  mkdir -p build/lint
  sed -E 's/ -Winvalid-pch//g; s/ -include [^ ]*cmake_pch[^ ]*//g' \
    build/release/compile_commands.json >build/lint/compile_commands.json
  if [[ $tidy == all ]]; then
    mapfile -t files < <(git ls-files -- 'common/*.cc' 'ps/*.cc' 'worker/*.cc' 'cli/*.cc')
  else
    mapfile -t files < <(git diff --name-only --diff-filter=d "$start" -- \
      'common/*.cc' 'ps/*.cc' 'worker/*.cc' 'cli/*.cc')
  fi
  echo "+ $clang_tidy of ${#files[@]} files"
  ((${#files[@]} == 0)) ||
    printf '%s\0' "${files[@]}" | xargs -0 -n 1 -P "$(nproc)" "$clang_tidy" -p build/lint --quiet \
      --extra-arg=-Wno-unknown-warning-option 2> >(grep -v ' generated\.$' >&2)
fi
echo "linted: format, commit titles${tidy:+, clang-tidy ($tidy)}"
