#!/usr/bin/env bash
# Usage: scripts/bench/compare.sh [arguments of scripts/bench/compare.py]
#        scripts/bench/compare.sh --sparse [arguments of scripts/bench/sparse.py]
# pepnet against its peers on this machine: installs them, makes the rows, runs everything in turn,
# prints the ratio tables, leaves runs/bench/compare.json, compare.md, limits.json and limits.md,
# and draws runs/bench/*.png. About an hour on two cores; --rounds, --steps and --variants make it
# shorter, --help lists them. With --sparse the jobs are those whose work is rows
# (runs/bench/sparse/sparse.json and sparse.md, about half an hour); without any argument both are
# run.
#
# The peers: PyTorch of the project's virtual environment (eager and torch.compile, which needs
# g++), TorchRec 1.8.0 with fbgemm-gpu-cpu 1.8.0. They go into a virtual environment of their own
# that sees the project's, without their dependencies, so that no other torch comes in. A peer that
# cannot be had is left out, and the tables say so.
#   PEPNET_VENV        the project's virtual environment (default: .venv)
#   PEPNET_BENCH_VENV  the peers' (default: runs/bench/venv)
#   PEPNET_PIP_ARGS    more arguments for `pip install`
# For figures that mean something nothing else may run meanwhile; what else took processor time is
# measured and printed.
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
case ${1:-} in -h | --help) print_usage; exit 0 ;; esac

peers=${PEPNET_BENCH_VENV:-$PWD/runs/bench/venv}
[[ -x $venv/bin/python3 ]] ||
  die "there is no $venv/bin/python3; run scripts/setup.sh first, or set PEPNET_VENV"
install() { pip_install "$peers" --quiet "$@"; }

if [[ ! -x $peers/bin/python3 ]]; then
  run "$venv/bin/python3" -m venv "$peers"
  # The project's packages, behind the peers' own.
  site='import sysconfig; print(sysconfig.get_path("purelib"))'
  "$venv/bin/python3" -c "$site" >"$("$peers/bin/python3" -c "$site")/project.pth"
fi
has_torchrec() { "$peers/bin/python3" -c 'import torchrec'; }
if ! has_torchrec 2>/dev/null; then
  install --no-deps torchrec==1.8.0 fbgemm-gpu-cpu==1.8.0 tensordict==0.15.3 pyvers==0.2.3 \
    cloudpickle pyre-extensions typing-inspect mypy-extensions || true
  has_torchrec ||
    echo "TorchRec cannot be installed or does not load; the comparison goes on without it"
fi
"$peers/bin/python3" -c 'import matplotlib' 2>/dev/null || install matplotlib ||
  echo "no matplotlib: there will be no plots"

draw() {
  "$peers/bin/python3" -c 'import matplotlib' 2>/dev/null || return 0
  run "$peers/bin/python3" scripts/bench/plot_bench.py "$@"
}
compare_sparse() {
  run "$peers/bin/python3" scripts/bench/sparse.py "$@"
  [[ ! -e runs/bench/sparse/sparse.json ]] || draw runs/bench/sparse/sparse.json
}
if [[ ${1:-} == --sparse ]]; then
  compare_sparse "${@:2}"
  exit
fi

data=runs/bench/taobao_like
for argument in "$@"; do [[ $argument != --data_dir* ]] || data=; done
if [[ -n $data && ! -e $data/test-00000.parquet ]]; then
  run "$venv/bin/python3" scripts/data/make_taobao_like.py --out_dir "$data" --rows 1000000 \
    --test_rows 10000
fi
run "$peers/bin/python3" scripts/bench/compare.py ${data:+--data_dir "$data"} "$@"
(($# > 0)) || compare_sparse
[[ ! -e runs/bench/compare.json ]] || draw runs/bench/compare.json
