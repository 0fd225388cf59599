#!/usr/bin/env bash
# Usage: scripts/quickstart.sh [--wheel FILE]
# From a fresh clone to a trained model: sets up, builds, gets MovieLens-100K, trains PEPNet on it
# as one process and again under mpirun with 2 servers and 2 workers, and predicts. Starts over in
# runs/pepnet_movielens and runs/pepnet_movielens_mpi; downloads only what is not there yet. About
# ten minutes on two cores, most of it compiling.
#   --wheel FILE   installs this wheel (dist/pepnet_trainer-*.whl, scripts/wheel.sh) into a virtual
#                  environment of its own, runs/wheel_venv, instead of building: one to two minutes
#   PEPNET_VENV, PEPNET_PYTHON, PEPNET_PIP_ARGS   as for scripts/setup.sh
here=$PWD
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
wheel=""
while (($#)); do
  case $1 in
    -h | --help) print_usage; exit 0 ;;
    --wheel) (($# > 1)) || die "--wheel needs a file"; wheel=$2; shift ;;
    --wheel=*) wheel=${1#*=} ;;
    *) die "unknown argument '$1'; see --help" ;;
  esac
  shift
done

config=configs/pepnet_movielens.config
raw=data/ml-100k
prepared=data/movielens
one_process=runs/pepnet_movielens
under_mpirun=runs/pepnet_movielens_mpi

if [[ -n $wheel ]]; then
  wheel=$(cd "$here" && realpath -e "$wheel") ||
    die "there is no wheel at that path; scripts/wheel.sh builds dist/pepnet_trainer-*.whl"
  venv=$PWD/runs/wheel_venv
  echo "Installs the wheel into runs/wheel_venv and trains: one to two minutes." \
    "Fetches what is not there yet:"
  echo "  torch $torch_version ($(torch_size)), pyarrow, numpy and Open MPI (0.1 GB)," \
    "MovieLens-100K (2 MB)"
  [[ -x $venv/bin/python3 ]] || run "${PEPNET_PYTHON:-python3}" -m venv "$venv"
  "$venv/bin/python3" -c 'import torch' 2>/dev/null || install_torch "$venv"
  pip_install "$venv" --force-reinstall --no-deps "$wheel"
  pip_install "$venv" "$wheel"  # and what it depends on
  export PATH=$venv/bin:$PATH
  pepnet=runs/wheel_venv/bin/pepnet
  servers_and_workers=(mpirun -n 4 --oversubscribe --bind-to none "$pepnet" train --num_servers=2)
else
  echo "Sets up, builds and trains: ten minutes on two cores. Fetches what is not there yet:" \
    "what the lines below list, and"
  echo "MovieLens-100K (2 MB)."
  bash scripts/build.sh pepnet pepnet_ps
  pepnet=build/release/pepnet
  servers_and_workers=(bash scripts/launch.sh --servers 2 --workers 2 -- train)
fi

# The data set is one of the examples inside the recbole package; the package itself is not
# installed.
if [[ ! -f $raw/ml-100k.inter || ! -f $raw/ml-100k.item || ! -f $raw/ml-100k.user ]]; then
  download=$(mktemp -d)
  trap 'rm -rf "$download"' EXIT
  run "$venv/bin/python3" -m pip download --disable-pip-version-check --no-deps \
    --dest "$download" recbole==1.2.1
  run "$venv/bin/python3" - "$download" "$raw" <<'PYTHON'
import pathlib, sys, zipfile

download, raw = map(pathlib.Path, sys.argv[1:])
raw.mkdir(parents=True, exist_ok=True)
(wheel,) = download.glob("recbole-*.whl")
with zipfile.ZipFile(wheel) as archive:
    for name in archive.namelist():
        path = pathlib.PurePosixPath(name)
        if (str(path.parent) == "recbole/dataset_example/ml-100k"
                and path.suffix in (".inter", ".item", ".user")):
            (raw / path.name).write_bytes(archive.read(name))
            print(f"  {raw / path.name}: {archive.getinfo(name).file_size} bytes")
PYTHON
fi
run "$venv/bin/python3" scripts/data/prepare_movielens.py --input_dir "$raw" \
  --output_dir "$prepared"

run rm -rf "$one_process" "$under_mpirun"
run "$pepnet" train --pipeline_config_path "$config" --model_dir "$one_process"
# Two workers with half the batch each take the same steps as one worker with the whole batch.
run "${servers_and_workers[@]}" --pipeline_config_path "$config" \
  --model_dir "$under_mpirun" --edit_config_json '{"data_config.batch_size": 256}'
run "$pepnet" predict --pipeline_config_path "$config" --checkpoint_path "$one_process" \
  --predict_input_path "$prepared/test.parquet" --predict_output_path "$one_process/predict" \
  --reserved_columns user_id,item_id

newest_checkpoint() {
  find "$1" -maxdepth 1 -name 'model.ckpt-*' | sort -V | tail -n 1
}
echo
echo "one process:            $(tail -n 1 "$one_process/train_eval_result.txt")"
echo "2 servers, 2 workers:   $(tail -n 1 "$under_mpirun/train_eval_result.txt")"
echo "checkpoints:            $(newest_checkpoint "$one_process")," \
  "$(newest_checkpoint "$under_mpirun")"
echo "losses, metrics, speed: $one_process/metrics.jsonl, $under_mpirun/metrics.jsonl"
echo "predictions:            $one_process/predict/"
cat <<END

Next, for example:
  $pepnet report $one_process --output runs/movielens.html   # curves, calibration, tables
  $pepnet export --model_dir $one_process --format onnx --export_dir runs/movielens_onnx
  $pepnet init $prepared/train.parquet --labels like,love --domain occupation \
--eval $prepared/test.parquet --output runs/own.config
END
