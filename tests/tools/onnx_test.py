"""model.onnx in onnxruntime against `pepnet predict`: golden cases, MovieLens-like and Taobao-like
rows."""

import csv
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import movielens_like
import numpy as np
import onnx
import onnxruntime
import pyarrow.parquet as pq
from small_job import SmallJob, pepnet

SOURCE = pathlib.Path(os.environ["PEPNET_SOURCE_DIR"])
sys.path.insert(0, str(SOURCE / "scripts"))
import onnx_inputs  # noqa: E402

GOLDEN_CASES = ["features", "losses_metrics", "mixed", "multi_domain", "no_domain", "no_uia",
                "optim", "pareto", "raw_embed", "reference_example", "seed_small", "seq_attention",
                "seq_din", "seq_pooling", "seq_standalone", "suffix", "towers"]


def read_csv(path, config):
    names = re.findall(r'\binput_name: "(\w+)"', config)
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    if not names:
        names = rows.pop(0)
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


class FeedsTest(unittest.TestCase):
    """The inputs of the model from cells of every shape that readers of tables give."""

    def feeds(self, cells, bucketizer="num_buckets", kind="int64", separator="|", weighted=False):
        item = {"input": "x", "column": "c", "separator": separator, "bucketizer": bucketizer,
                "rows": 1000, "type": kind, "weighted": weighted}
        return onnx_inputs.feeds({"inputs": [item], "string_hash": "std"}, {"c": cells})

    def test_arrays_are_lists(self):
        # pandas.read_parquet() gives list columns as numpy arrays.
        for cells in ([np.array([5, 3]), np.array([], np.int64), np.array([7])],
                      [np.array(["5", "3"], object), np.array([], object), np.array(["7"], object)],
                      [np.array([5.0, 3.0, np.nan]), np.array([np.nan]), np.array([7.0])],
                      [[5, None, 3], None, (7,)], ["5|3", "", "7"], [b"5|3", b"", b"7"]):
            fed = self.feeds(cells)
            self.assertEqual(fed["x"].tolist(), [[5, 3], [0, 0], [7, 0]], cells)
            self.assertEqual(fed["x.lengths"].tolist(), [2, 0, 1], cells)

    def test_words_of_arrays_are_hashed_one_by_one(self):
        lists, arrays = ["ab|c", "d"], [np.array(["ab", "c"]), np.array(["d"])]
        self.assertEqual(self.feeds(arrays, "hash")["x"].tolist(),
                         self.feeds(lists, "hash")["x"].tolist())
        self.assertEqual(self.feeds([np.int64(5), np.int32(7)], "hash")["x"].tolist(),
                         self.feeds(["5", "7"], "hash")["x"].tolist())

    def test_missing_cells_are_empty(self):
        class NAType:
            pass

        fed = self.feeds([None, float("nan"), np.float32("nan"), NAType(), ""])
        self.assertEqual(fed["x.lengths"].tolist(), [0, 0, 0, 0, 0])

    def test_other_types_are_named(self):
        for cell in ({"a": 1}, {1, 2}, np.zeros((2, 2)), object(), True):
            with self.assertRaisesRegex(TypeError, "a cell of type"):
                self.feeds([cell])


class OnnxTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = pathlib.Path(scratch.name)

    def compare(self, config, data, columns, model_dir, flags=(), edits=()):
        """Exports and predicts the same checkpoint, and compares all outputs of all rows. Returns
        the session and its inputs."""
        common = ["--pipeline_config_path", config, "--model_dir", model_dir, *edits]
        export_dir = self.scratch / "export"
        pepnet("export", *common, "--export_dir", export_dir, "--format", "onnx", *flags)
        pepnet("predict", *common, "--predict_input_path", data,
               "--predict_output_path", self.scratch / "predict", "--overwrite")
        expected = pq.read_table(self.scratch / "predict").to_pydict()
        onnx.checker.check_model(str(export_dir / "model.onnx"), full_check=True)
        nodes = [
            node.name
            for node in onnx.load(export_dir / "model.onnx", load_external_data=False).graph.node]
        self.assertEqual(len(set(nodes)), len(nodes))
        for node in nodes:
            self.assertRegex(node, r"^[^/#]+(/[^/#]+)*/[A-Za-z]+#\d+$")
        self.assertTrue(
            {"inputs", "outputs", "tower"} <= {node.partition("/")[0] for node in nodes}, nodes)
        export = json.loads((export_dir / "export.json").read_text())
        session = onnxruntime.InferenceSession(export_dir / "model.onnx")
        names = [output.name for output in session.get_outputs()]
        if ("--own_domain" in flags
                or not re.search(r"\bdomain_input_name\b", pathlib.Path(config).read_text())):
            self.assertEqual(names, sorted(expected))
        else:  # without the flag the outputs of every domain alone
            self.assertEqual(names, sorted(name for name in expected if re.search(r"_\d$", name)))
            self.assertLess(len(names), len(expected))
        self.assertEqual(names, [output["name"] for output in export["outputs"]])
        feeds = onnx_inputs.feeds(export, columns)
        for name, values in zip(names, session.run(names, feeds)):
            reference = np.array(expected[name], np.float32)
            self.assertEqual(values.shape, reference.shape)
            self.assertGreater(len(values), 0)
            np.testing.assert_allclose(values, reference, rtol=1e-5, atol=1e-5, err_msg=name)
        return session, feeds, names

    def golden(self, case, flags=()):
        directory = SOURCE / "tests/golden" / case
        config = directory / "pipeline.config"
        edits = ["--edit_config_json",
                 json.dumps({"eval_input_path": str(directory / "train.csv")})]
        pepnet("import", "--pipeline_config_path", config,
               "--weights", directory / "init.safetensors", "--model_dir", self.scratch / "model")
        columns = read_csv(directory / "train.csv", config.read_text())
        return self.compare(config, directory / "train.csv", columns, self.scratch / "model",
                            flags, edits)

    def test_golden_cases(self):
        for case in GOLDEN_CASES:
            if not (SOURCE / "tests/golden" / case / "init.safetensors").exists():
                continue
            with self.subTest(case):
                self.setUp()
                self.golden(case)

    def test_the_output_of_the_rows_own_domain(self):
        session, feeds, names = self.golden("multi_domain", ["--own_domain"])
        export = json.loads((self.scratch / "export/export.json").read_text())
        own = export["own_domain"]
        self.assertEqual((own["column"], own["domains"]), ("dom", 3))
        domains = feeds[own["input"]]
        self.assertEqual(set(domains.tolist()), {0, 1, 2})
        values = dict(zip(names, session.run(names, feeds)))
        for name in ("probs_ctr", "logits_cvr"):
            expected = [values[f"{name}_{domain}"][row] for row, domain in enumerate(domains)]
            self.assertEqual(values[name].tolist(), expected)
        for wrong in (-1, 3):  # must not become another domain
            with self.assertRaises(Exception):
                session.run(None, {**feeds, own["input"]: np.full_like(domains, wrong)})
        with self.assertRaisesRegex(ValueError,
                                    "column 'dom' holds '3'; expected a domain, 0 to 2"):
            onnx_inputs.feeds(export, {**{item["column"]: [] for item in export["inputs"]},
                                       "dom": ["3"]})
        with self.assertRaisesRegex(ValueError, "need the column 'dom'"):
            onnx_inputs.feeds(export, {"uid": []})

    def test_rows_one_by_one_and_padding(self):
        session, feeds, names = self.golden("mixed")
        whole = session.run(names, feeds)
        rows = len(whole[0])
        wide = {item.name for item in session.get_inputs()
                if len(item.shape) == 2 and isinstance(item.shape[1], str)}
        fillers = {np.dtype(object): "abc", np.dtype(np.int64): 10**9,
                   np.dtype(np.float64): np.nan, np.dtype(np.float32): np.nan}
        for row in (0, rows - 1):
            one = {name: values[row : row + 1] for name, values in feeds.items()}
            for name in wide:  # padding may hold anything
                padding = np.full((1, 3), fillers[one[name].dtype], one[name].dtype)
                one[name] = np.concatenate([one[name], padding], axis=1)
            for values, expected in zip(session.run(names, one), whole):
                np.testing.assert_allclose(values, expected[row : row + 1], rtol=1e-5, atol=1e-6)

    def test_tables_in_a_file_of_their_own(self):
        session, feeds, _ = self.golden("mixed", ["--onnx_external_mb", 0])
        self.assertGreater((self.scratch / "export/model.onnx.data").stat().st_size, 4096)
        ids = feeds["uid"].copy()
        for wrong in (-1, 7, 10**12):  # what predict refuses must not become another row
            ids[0, 0] = wrong
            with self.assertRaises(Exception):
                session.run(None, {**feeds, "uid": ids})

    def test_formulas_and_computed_features(self):
        job = SmallJob(self.scratch / "job")
        formulas = [
            "log(x+3)", "x > 2 && x != 3 ? min(x, 4) : -x^2",
            "sigmoid(x) * tanh(x) + sin(x) - cos(x) / tan(x + 0.1)",
            "round(x*2)/2 + trunc(x) + rint(x) + floor(x) - ceil(x) + mod(x, 2) + sign(x)", "7",
            ("avg(x, 1, sqrt(x)) + sum(x, exp(-x)) + log2(x+1) + log10(x+1) "
             "+ max(abs(x), isnan(x)) + (x <= 1 || x > 3)")]
        features = "".join(
            f'feature_configs {{ raw_feature {{ feature_name: "f{number}" expression: "item:price" '
            f'normalizer: "method=expression,expr={formula}" }} }}\n'
            for number, formula in enumerate(formulas))
        features += """
            feature_configs { raw_feature { feature_name: "steps" expression: "item:price"
              embedding_dim: 4 boundaries: [0.5, 1.1, 1.9]
              normalizer: "method=expression,expr=abs(2 - x)" } }
            feature_configs { lookup_feature { feature_name: "found" map: "user:map"
              key: "item:iid" } }
            feature_configs { combo_feature { feature_name: "both"
              expression: ["user:uid", "item:iid"] hash_bucket_size: 30 embedding_dim: 4 } }
            feature_configs { tokenize_feature { feature_name: "words" expression: "item:title"
              embedding_dim: 4 vocab_file: "TOKENIZER" default_value: "shoes 1" } }
        """.replace("TOKENIZER", str(self.scratch / "tokenizer.json"))
        vocabulary = {
            word: number
            for number, word in enumerate(["[UNK]", "red", "shoes", "1", "2", "!"])}
        (self.scratch / "tokenizer.json").write_text(json.dumps({
            "normalizer": {"type": "Lowercase"}, "pre_tokenizer": {"type": "Whitespace"},
            "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"}}))
        names = ([f"f{number}" for number in range(len(formulas))]
                 + ["steps", "found", "both", "words"])
        text = job.config.read_text().replace("model_config {", features + "model_config {", 1)
        job.config.write_text(text.replace('["uid", "iid"]', json.dumps(["uid", "iid", *names])))
        for name in ("train.csv", "eval.csv"):
            lines = (job.directory / name).read_text().splitlines()
            rows = [line + f",{number % 9 * 0.55},{number % 40}:{number}\x1d{number % 7}:0.5,"
                    + ["", f"Red shoes{number % 4} {number % 4}!", "big SHOES"][number % 3]
                    for number, line in enumerate(lines[1:])]
            (job.directory / name).write_text(
                "\n".join([lines[0] + ",price,map,title", *rows]) + "\n")
        pepnet("train", "--pipeline_config_path", job.config)
        columns = read_csv(job.directory / "eval.csv", text)
        with self.assertRaisesRegex(
                ValueError, "'found' is computed from map, iid, which is not done here; give"):
            self.compare(job.config, job.directory / "eval.csv", columns, job.model_dir)
        # The first value of a key counts.
        pairs = [dict(pair.split(":") for pair in reversed(cell.split("\x1d")))
                 for cell in columns["map"]]
        columns["found"] = [pair.get(key, "0") for pair, key in zip(pairs, columns["iid"])]
        columns["both"] = [f"{user}_{item}" for user, item in zip(columns["uid"], columns["iid"])]
        columns["words"] = [re.findall(r"\w+|[^\w\s]+", title.lower())
                            for title in columns["title"]]
        shutil.rmtree(self.scratch / "export")
        self.compare(job.config, job.directory / "eval.csv", columns, job.model_dir)

    def test_variational_dropout(self):
        job = SmallJob(self.scratch / "job")
        text = job.config.read_text()
        job.config.write_text(text.replace(
            "model_config {", "model_config { variational_dropout { regularization_lambda: 3 }", 1))
        pepnet("train", "--pipeline_config_path", job.config)
        lines = [json.loads(line)
                 for line in (job.model_dir / "metrics.jsonl").read_text().splitlines()]
        # lambda / 16 rows * the sum over two features of what is left of them
        self.assertTrue(all(0 < line["all_feature_p_loss"] < 3 / 16 * 2
                            for line in lines if "total_loss" in line))
        self.compare(job.config, job.directory / "eval.csv",
                     read_csv(job.directory / "eval.csv", text), job.model_dir)

    def test_every_activation_and_batch_norm(self):
        activations = """nn.ReLU nn.ReLU6 nn.LeakyReLU(negative_slope=0.2) nn.PReLU
            nn.PReLU(num_parameters=6,init=0.1) nn.ELU(alpha=0.7) nn.CELU(alpha=0.6) nn.SELU nn.GELU
            nn.GELU(approximate='tanh') nn.SiLU nn.Mish nn.Hardswish nn.Sigmoid nn.Hardsigmoid
            nn.LogSigmoid nn.Tanh nn.Hardtanh(min_val=-0.1,max_val=0.2)
            nn.Softplus(beta=3,threshold=0.5) nn.Softsign nn.Softshrink(lambd=0.1)
            nn.Hardshrink(lambd=0.1) nn.Tanhshrink nn.Threshold(threshold=0.1,value=0.3) nn.Identity
            Dice nn.RReLU nn.RReLU(lower=0.3,upper=0.9) nn.Softmax nn.Softmin(dim=1)
            nn.LogSoftmax(dim=-1)""".split()
        job = SmallJob(self.scratch / "job")
        towers = "".join(
            f"""task_towers {{ tower_name: "t{number}" label_name: "clk"
              losses {{ binary_cross_entropy {{}} }}
              mlp {{ hidden_units: [6, 6] use_bn: {"true" if number % 3 == 0 else "false"}
                activation: "{activation}" }} }}
            """ for number, activation in enumerate(activations))
        text = job.config.read_text().replace("adam_optimizer { lr: 0.01 }",
                                              "adam_optimizer { lr: 0.1 }")
        job.config.write_text(text.replace("task_towers {", towers + "task_towers {", 1))
        pepnet("train", "--pipeline_config_path", job.config)
        self.compare(job.config, job.directory / "eval.csv",
                     read_csv(job.directory / "eval.csv", text), job.model_dir)

    def growing_job(self, name, mode, user_init="nn.init.uniform_,a=-1,b=1", user_type="FP32",
                    item_type="FP32"):
        """Users and items in tables that grow; many rows of eval.csv name ids that have no row, in
        cells of one or two."""
        job = SmallJob(self.scratch / name)
        separator = "\3" if mode == "FG_NONE" else "|"
        text = job.config.read_text().replace("FG_DAG", mode)
        text = text.replace(
            "num_buckets: 50 embedding_dim: 4",
            "dynamic_table { max_rows: 1024 admit_after_steps: 2 } "
            f'init_fn: "{user_init}" embedding_dim: 5 data_type: "{user_type}"')
        text = text.replace(
            "num_buckets: 40 embedding_dim: 4",
            'separator: "|" pooling: "mean" dynamic_table { expected_rows: 100 } '
            'init_fn: "nn.init.normal_,mean=0.1,std=0.5" embedding_dim: 8 '
            f'data_type: "{item_type}"')
        job.config.write_text(text)
        for file in ("train.csv", "eval.csv"):
            path = job.directory / file
            head, *rows = [line.split(",") for line in path.read_text().splitlines()]
            rows = [[clk, buy, int(uid) - 25, (1 << 62) + int(iid)] for clk, buy, uid, iid in rows]
            if file == "eval.csv":
                for number, row in enumerate(rows[:-2]):
                    row[2] -= 1000 * (number % 2)
                    row[3] = f"{row[3]}{separator}{-number}" if number % 3 else row[3]
                rows[-2:] = [[0, 0, -(1 << 63) + 1, (1 << 63) - 1], [1, 0, "", ""]]
            path.write_text("\n".join(",".join(map(str, row)) for row in [head, *rows]) + "\n")
        pepnet("train", "--pipeline_config_path", job.config)
        return job

    def test_tables_that_grow(self):
        for mode in ("FG_DAG", "FG_NONE"):
            with self.subTest(mode):
                self.setUp()
                job = self.growing_job("job", mode)
                columns = read_csv(job.directory / "eval.csv", "")
                session, feeds, names = self.compare(
                    job.config, job.directory / "eval.csv", columns, job.model_dir)
                whole = session.run(names, feeds)
                known = {key: value[:0] for key, value in feeds.items()}  # a batch without rows
                self.assertEqual([len(values) for values in session.run(names, known)],
                                 [0] * len(names))
                self.assertTrue(all(np.isfinite(values).all() for values in whole))

    def test_rows_of_fewer_bits_in_tables_that_grow(self):
        job = self.growing_job("job", "FG_DAG", user_type="BF16", item_type="FP16")
        columns = read_csv(job.directory / "eval.csv", "")
        self.compare(job.config, job.directory / "eval.csv", columns, job.model_dir)
        refused = self.growing_job("int8", "FG_DAG", user_type="INT8")
        said = pepnet("export", "--pipeline_config_path", refused.config,
                      "--export_dir", self.scratch / "int8_export", "--format", "onnx", status=1)
        self.assertIn("table uid_emb grows and has rows of INT8", said.stderr)

    def test_a_table_that_grows_and_is_empty(self):
        job = self.growing_job("job", "FG_DAG")
        text = job.config.read_text().replace("admit_after_steps: 2", "admit_after_steps: 1000")
        job.config.write_text(text.replace(f"{job.directory}/model", f"{job.directory}/empty"))
        pepnet("train", "--pipeline_config_path", job.config)
        columns = read_csv(job.directory / "eval.csv", "")
        self.compare(job.config, job.directory / "eval.csv", columns, job.directory / "empty")

    def test_initial_values_that_a_graph_does_not_make_are_named(self):
        job = self.growing_job("job", "FG_DAG", "nn.init.trunc_normal_")
        refused = pepnet("export", "--pipeline_config_path", job.config,
                         "--export_dir", self.scratch / "export", "--format", "onnx", status=1)
        self.assertIn(
            "the initial values of table uid_emb, which grows, are those of nn.init.trunc_normal_",
            refused.stderr)
        self.assertFalse((self.scratch / "export").exists())

    def test_a_formula_that_the_graph_cannot_compute_is_named(self):
        job = SmallJob(self.scratch / "job")
        text = job.config.read_text().replace(
            "model_config {",
            'feature_configs { raw_feature { feature_name: "p" expression: "item:uid" '
            'normalizer: "method=expression,expr=atan(x)" } }\n'
            "model_config {", 1)
        job.config.write_text(text.replace('["uid", "iid"]', '["uid", "iid", "p"]'))
        pepnet("train", "--pipeline_config_path", job.config)
        refused = pepnet("export", "--pipeline_config_path", job.config,
                         "--export_dir", self.scratch / "export", "--format", "onnx", status=1)
        self.assertIn("the normalizer of feature 'p': uses atan, which model.onnx cannot compute",
                      refused.stderr)
        self.assertFalse((self.scratch / "export").exists())

    def test_movielens_like_rows(self):
        columns = movielens_like.columns(300)
        columns["gender"][7] = None
        data = self.scratch / "rows.parquet"
        movielens_like.write(data, columns)
        config = SOURCE / "configs/pepnet_movielens.config"
        edits = ["--edit_config_json",
                 json.dumps({"train_config.num_epochs": 1, "data_config.batch_size": 64,
                             "train_input_path": str(data), "eval_input_path": str(data)})]
        pepnet("train", "--pipeline_config_path", config,
               "--model_dir", self.scratch / "model", *edits)
        self.compare(config, data, columns, self.scratch / "model", edits=edits)

    def test_taobao_like_rows(self):
        subprocess.run([sys.executable, SOURCE / "scripts/data/make_taobao_like.py",
                        "--out_dir", self.scratch / "data", "--rows", "2000",
                        "--test_rows", "500", "--files", "1"],
                       check=True, capture_output=True, timeout=120)
        data = self.scratch / "data/test-00000.parquet"
        config = SOURCE / "configs/pepnet_taobao.config"
        edits = ["--edit_config_json",
                 json.dumps({"train_input_path": str(self.scratch / "data/train-*.parquet"),
                             "eval_input_path": str(data), "data_config.batch_size": 512})]
        pepnet("train", "--pipeline_config_path", config,
               "--model_dir", self.scratch / "model", *edits)
        self.compare(config, data, pq.read_table(data).to_pydict(), self.scratch / "model",
                     ["--onnx_external_mb", 32], edits)


if __name__ == "__main__":
    unittest.main()
