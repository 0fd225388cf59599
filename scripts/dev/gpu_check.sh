#!/usr/bin/env bash
# Usage: scripts/dev/gpu_check.sh [--pipeline_config_path F --train_input_path G]
# On a machine with one or more GPUs: builds with a CUDA libtorch into build/gpu, runs the tests
# that need a GPU (label gpu), measures training on the CPU and on the GPU, and prints one table.
# The benchmark trains on 400 thousand generated rows of the Taobao job, which it makes once in
# data/gpu_check, or on what the flags name.
#   PEPNET_TORCH_DIR  a CUDA libtorch (default: the torch of the virtual environment, if it has
#                     CUDA)
#   PEPNET_VENV       the virtual environment (default: .venv)
# Exit status: 0 all tests passed and every figure was taken; 77 this machine lacks what the one
# sentence says; else a failure.
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
config=configs/pepnet_taobao_gpu.config
data=""
while (($#)); do
  case $1 in
    -h | --help) print_usage; exit 0 ;;
    --pipeline_config_path) (($# > 1)) || die "$1 needs a file"; config=$2; shift ;;
    --pipeline_config_path=*) config=${1#*=} ;;
    --train_input_path) (($# > 1)) || die "$1 needs files"; data=$2; shift ;;
    --train_input_path=*) data=${1#*=} ;;
    *) die "unknown argument '$1'; see --help" ;;
  esac
  shift
done

lacking() {
  echo "scripts/dev/gpu_check.sh: $*"
  exit 77
}
command -v nvidia-smi >/dev/null ||
  lacking "there is no nvidia-smi here, so no NVIDIA driver and no GPU"
gpus=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null) ||
  lacking "nvidia-smi finds no GPU: $(nvidia-smi 2>&1 | tail -n 1)"
torch_dir=${PEPNET_TORCH_DIR:-}
if [[ -z $torch_dir && -x $venv/bin/python3 ]]; then
  torch_dir=$("$venv/bin/python3" -c '
import importlib.util
print(importlib.util.find_spec("torch").submodule_search_locations[0])' 2>/dev/null) || torch_dir=""
fi
[[ -n $torch_dir && -e $torch_dir/lib/libtorch_cuda.so ]] ||
  lacking "the libtorch in '$torch_dir' has no CUDA (no lib/libtorch_cuda.so):" \
    "set PEPNET_TORCH_DIR to one that has"

echo "GPUs:"
echo "$gpus"
build=build/gpu
run cmake --preset release -B "$build" -DPEPNET_VENV="$venv" -DPEPNET_TORCH_DIR="$torch_dir"
run cmake --build "$build" -j "$(nproc)"

# A test that is skipped here has not found the GPU that is there.
log=$build/gpu_tests.log
status=0
run ctest --test-dir "$build" -L '^gpu$' --output-on-failure --no-tests=error 2>&1 |
  tee "$log" || status=$?
grep -q 'Skipped' "$log" && status=1

scratch=$build/gpu_check
rm -rf "$scratch"
mkdir -p "$scratch"
if [[ -z $data ]]; then
  rows=data/gpu_check
  [[ -d $rows ]] ||
    run "$venv/bin/python3" scripts/data/make_taobao_like.py --out_dir "$rows" --rows 400000 \
      --test_rows 1000
  data="$rows/train-*.parquet"
fi
bf16='{"train_config.mixed_precision": "BF16"}'
# measure NAME ARGUMENTS...: a report in $scratch/NAME.json.
measure() {
  run "$build/pepnet" bench "${@:2}" --pipeline_config_path "$config" \
    --json "$scratch/$1.json" >"$scratch/$1.txt" ||
    { cat "$scratch/$1.txt"; die "bench ${*:2} failed"; }
}
measure dense dense --device=gpu --edit_config_json "$bf16"
for device in cpu gpu; do
  measure "train on the $device" train --device="$device" --train_input_path "$data" \
    --scratch_dir "$scratch/$device"
done
measure "train on the gpu, BF16" train --device=gpu --train_input_path "$data" \
  --scratch_dir "$scratch/bf16" --edit_config_json "$bf16"
measure "train on the gpu, deterministic" train --device=gpu --deterministic \
  --train_input_path "$data" --scratch_dir "$scratch/same"
if (($(wc -l <<<"$gpus") > 1)); then
  run mpirun -n 3 --bind-to none "$build/pepnet" bench train --num_servers=1 --device=gpu \
    --pipeline_config_path "$config" --train_input_path "$data" --scratch_dir "$scratch/two" \
    --json "$scratch/train on 2 gpus.json" >/dev/null
fi

echo
"$venv/bin/python3" - "$scratch" "$status" <<'PYTHON'
import json, pathlib, sys

folder, tests = pathlib.Path(sys.argv[1]), sys.argv[2]
middle = lambda cell: cell["median"] if isinstance(cell, dict) else cell
rows = []
for path in sorted(folder.glob("*.json")):
    for row in json.loads(path.read_text())["rows"]:
        name = path.stem + (": " + row["engine"] if "engine" in row else "")
        rows.append((name, row["batch"], middle(row["speed"]), middle(row["step"])))
print(f"{'what':<44} {'batch':>7} {'samples/s':>12} {'step, ms':>9}")
for name, batch, speed, step in rows:
    print(f"{name:<44} {batch:>7.0f} {speed:>12.0f} {step:>9.2f}")
print("tests of the label gpu:", "passed" if tests == "0" else "FAILED")
PYTHON
exit "$status"
