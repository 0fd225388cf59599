# shellcheck shell=bash
# Shared by the scripts of this folder: source it. Changes to the repository root, so the scripts work from anywhere.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The virtual environment with torch and pyarrow.
venv=${PEPNET_VENV:-$PWD/.venv}
[[ $venv == /* ]] || venv=$PWD/$venv

# mpirun refuses to run as root without both.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

die() {
  printf '%s: %s\n' "scripts/$(basename "$0")" "$*" >&2
  exit 1
}

# Prints a command in a form that can be pasted into a shell, then runs it.
run() {
  printf '+'
  printf ' %q' "$@"
  printf '\n'
  "$@"
}

# `--help` prints the comment that stands at the top of the script.
print_usage() {
  sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"
}

# parse_preset "$@": takes --preset P (default release) and --help out; the other arguments stay in `rest`.
parse_preset() {
  preset=release
  rest=()
  while (($#)); do
    case $1 in
      -h | --help) print_usage; exit 0 ;;
      --preset) (($# > 1)) || die "--preset needs a name: release, debug, asan, tsan or clang"; preset=$2; shift ;;
      --preset=*) preset=${1#*=} ;;
      *) rest+=("$1") ;;
    esac
    shift
  done
  case $preset in
    release | debug | asan | tsan | clang) ;;
    *) die "there is no preset '$preset'; choose release, debug, asan, tsan or clang" ;;
  esac
}
