#!/usr/bin/env bash
# Usage: tests/scripts/generated_data_test.sh REPOSITORY BUILD PYTHON
# A few generated rows go through the two Taobao configs: every column that a config reads is there,
# in both formats, and the same seed gives the same rows.
set -euo pipefail
repository=$1 build=$2 python=$3
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
generate() {
  "$python" "$repository/scripts/data/make_taobao_like.py" \
    --rows 700 --test_rows 300 --files 2 --seed 5 "$@"
}

generate --out_dir parquet >report
generate --out_dir again >report_again
cmp report report_again
for file in parquet/*; do cmp "$file" "again/${file#parquet/}"; done
generate --out_dir csv --format csv >/dev/null
[[ $(ls parquet) == \
  $'clicked-00000.parquet\ntest-00000.parquet\ntrain-00000.parquet\ntrain-00001.parquet' ]]

edits='{"data_config.batch_size": 128, "train_config.num_epochs": 1}'
csv_edits='{"data_config.batch_size": 128, "data_config.dataset_type": "CsvDataset",'
csv_edits+=' "data_config.with_header": true}'
train() {  # NAME CONFIG EDITS FORMAT
  "$build/pepnet" train --pipeline_config_path "$repository/configs/$2" --edit_config_json "$3" \
    --model_dir "$1" --train_input_path "$4/train-*.$4" --eval_input_path "$4/test-00000.$4" \
    2>"$1.log" || { cat "$1.log"; exit 1; }
  grep -q '"global_step":6,"auc_ctr":0.[0-9]*,"auc_cvr":0.[0-9]*' "$1/train_eval_result.txt"
}
train documented pepnet_taobao.config "$edits" parquet
train example pepnet_taobao_example.config "$edits" parquet
train from_csv pepnet_taobao.config "$csv_edits" csv
# One file holds what the other holds: the trained models are the same.
"$build/pepnet" inspect documented/model.ckpt-6 --diff from_csv/model.ckpt-6
echo "generated rows: both configs, both formats"
