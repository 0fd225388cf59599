# shellcheck shell=bash
# Shared by the scripts of this folder and those below it: source it. Changes to the repository
# root, so the scripts work from anywhere.

set -euo pipefail
script_path=$(realpath "$0")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
script_name=${script_path#"$(pwd -P)"/}  # "scripts/test.sh", wherever it was called from

# The virtual environment with torch and pyarrow.
venv=${PEPNET_VENV:-$PWD/.venv}
[[ $venv == /* ]] || venv=$PWD/$venv

# mpirun refuses to run as root without both.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

die() {
  printf '%s: %s\n' "$script_name" "$*" >&2
  exit 1
}

# Prints a command in a form that can be pasted into a shell, then runs it.
run() {
  printf '+'
  printf ' %q' "$@"
  printf '\n'
  "$@"
}

read -r -a pip_args <<<"${PEPNET_PIP_ARGS:-}"
# pip_install DIRECTORY ARGUMENTS...: into the virtual environment there.
pip_install() {
  run "$1/bin/python3" -m pip install --disable-pip-version-check "${pip_args[@]}" "${@:2}"
}

torch_version=2.13.0
has_gpu() { nvidia-smi --list-gpus 2>/dev/null | grep -q .; }
# The size of what install_torch fetches.
torch_size() {
  if has_gpu; then
    echo "several GB, with CUDA for the GPU of this machine"
  else
    echo "0.2 GB if pip finds the CPU build, several GB with CUDA otherwise"
  fi
}
# install_torch DIRECTORY: the CPU build (0.2 GB) where there is no GPU and an index of pip's has
# it; else what the index has under the plain version, which on PyPI is the build with CUDA.
install_torch() {
  if ! has_gpu; then
    pip_install "$1" "torch==$torch_version+cpu" && return
    echo "No index that pip knows has torch $torch_version+cpu, the build without CUDA. Going on" \
      "with the plain torch, several gigabytes on PyPI. pytorch.org names the index of CPU" \
      "builds: PEPNET_PIP_ARGS='--extra-index-url ...' takes it."
  fi
  pip_install "$1" "torch==$torch_version"
}

# `--help` prints the comment that stands at the top of the script.
print_usage() {
  sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$script_path"
}

# parse_preset "$@": takes --preset P (default release) and --help out; the other arguments stay in
# `rest`.
parse_preset() {
  preset=release
  rest=()
  while (($#)); do
    case $1 in
      -h | --help) print_usage; exit 0 ;;
      --preset)
        (($# > 1)) ||
          die "--preset needs a name: release, debug, asan, tsan, mutants, clang or fuzz"
        preset=$2
        shift ;;
      --preset=*) preset=${1#*=} ;;
      *) rest+=("$1") ;;
    esac
    shift
  done
  case $preset in
    release | debug | asan | tsan | mutants | clang | fuzz) ;;
    *)
      die "there is no preset '$preset';" \
        "choose release, debug, asan, tsan, mutants, clang or fuzz" ;;
  esac
}

# find_tool NAME OTHER_NAME: the program in the tools' virtual environment (scripts/setup.sh
# --tests), or the system's; else nothing.
find_tool() {
  if [[ -x $venv-tools/bin/$1 ]]; then
    echo "$venv-tools/bin/$1"
  else
    command -v "$2" || command -v "$1" || true
  fi
}

# check_titles COMMIT: the commits since COMMIT, merges aside, are titled "area: what changes":
# imperative, at most 70 characters.
check_titles() {
  local title wrong=0
  local begins='the|a|an|what|who|how|which|where|when|no|its|all|each|every|two|three'
  begins+='|[a-z]+ing|[a-z]+[^aeiouy ]ed'
  while IFS= read -r title; do
    if ((${#title} > 70)); then
      echo "${#title} characters, at most 70: $title"
      wrong=1
    elif [[ ! $title =~ ^[a-z0-9_.,/\ -]+:\ [a-z] ]]; then
      echo "not of the form 'area: what changes': $title"
      wrong=1
    elif [[ $title =~ :\ ($begins)\  &&
      ! ${BASH_REMATCH[1]} =~ ^(bring|embed|shed|string|ring)$ ]]; then
      echo "not in the imperative (say what the commit does, 'ps: keep the state'): $title"
      wrong=1
    fi
  done < <(git log --no-merges --format=%s "$1..HEAD")
  ((wrong == 0)) || die "the titles above break docs/style.md; change them with git rebase -i $1"
}
