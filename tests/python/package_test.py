"""From pandas to a model and back to scores, through the built program, without a config by
hand."""

import contextlib
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest
import unittest.mock

import numpy as np
import pyarrow as pa
from scene_rows import CONFIG, scene_rows
from shop_frame import shop_frame

import pepnet_trainer as pt


class ShopTest(unittest.TestCase):
    """One training serves all tests."""

    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory()
        cls.addClassCleanup(scratch.cleanup)
        cls.scratch = pathlib.Path(scratch.name)
        cls.frame, cls.later = pt.split(shop_frame(), 0.2, time="time")
        config = pt.Config.from_dataframe(
            cls.frame, ["click", "buy"], "scene", model_dir=str(cls.scratch / "shop")
        )
        cls.records = []
        cls.trained = pt.train(
            config,
            cls.frame,
            cls.later,
            {"train_config.log_step_count_steps": 20},
            progress=cls.records.append,
        )
        cls.status = cls.trained.status

    def test_it_has_learnt(self):
        self.assertEqual(self.status, "done")
        self.assertGreater(self.trained.best("auc_click").values["auc_click"], 0.65)
        self.assertEqual(len(self.trained.evaluations), 3)
        self.assertIn("seconds_compute", self.trained.metrics.columns)
        self.assertEqual(
            list(self.trained.metrics["step"]),
            [record["step"] for record in self.records if "step" in record],
        )
        self.assertEqual(sum("global_step" in record for record in self.records), 3)
        self.assertIn("dense parameters", self.trained.log)

    def test_predictions_come_back_under_the_rows_index(self):
        rows = self.later.drop(columns=["click", "buy", "paid"]).iloc[10:310]
        scores = self.trained.predict(rows, keep=["item_id"])
        self.assertEqual(list(scores.index), list(rows.index))
        self.assertEqual(list(scores["item_id"]), list(rows["item_id"]))
        self.assertTrue(scores["probs_click"].between(0, 1).all())
        only = self.trained.predict(rows, columns=["probs_buy"], checkpoint=self.trained.newest)
        np.testing.assert_array_equal(only["probs_buy"], scores["probs_buy"])
        self.assertEqual(list(only.columns), ["probs_buy"])

    def test_a_csv_file_is_read_by_its_header(self):
        cells = self.later.assign(tags=["\x1d".join(tags) for tags in self.later["tags"]])
        cells = cells.astype({"click": int, "new_customer": int})
        cells.to_csv(self.scratch / "later_rows.csv", index=False)
        result, expected = (
            self.trained.evaluate(self.scratch / "later_rows.csv"),
            self.trained.evaluate(self.later),
        )
        self.assertAlmostEqual(result["auc_click"], expected["auc_click"], places=5)

    def test_evaluation_agrees_with_the_training(self):
        result = self.trained.evaluate(self.later)
        newest = self.trained.newest
        self.assertEqual(result["global_step"], newest.step)
        self.assertEqual(result["auc_click"], newest.values["auc_click"])

    def test_the_scorer_scores_as_predict_does(self):
        export = self.trained.export(formats=["onnx", "safetensors"])
        self.assertEqual(export, self.trained.model_dir / f"export-{self.trained.newest.step}")
        scorer = pt.Scorer(export)
        scores = scorer(self.later, batch_size=100)
        expected = self.trained.predict(self.later)
        self.assertEqual(list(scores.index), list(self.later.index))
        self.assertEqual(list(scores.columns), list(expected.columns))
        np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-5)
        one = scorer(self.later.iloc[[5]])
        np.testing.assert_allclose(one, expected.iloc[[5]], rtol=1e-5, atol=1e-5)
        with self.assertRaisesRegex(ValueError, "lack the column.*price"):
            scorer(self.later.drop(columns="price"))
        with self.assertRaisesRegex(pt.PepnetError, "^pepnet: .*exist"):
            self.trained.export(export)

    def test_the_scorer_chooses_each_rows_own_domain(self):
        rows = scene_rows()
        run = pt.train(pt.Config(CONFIG), rows, model_dir=self.scratch / "scenes", progress=False)
        expected = run.predict(rows)
        self.assertIn("probs_click", expected.column_names)
        scores = pt.Scorer(run.export(formats=["onnx"], own_domain=True))(rows)
        self.assertEqual(scores.column_names, expected.column_names)
        for name in scores.column_names:
            np.testing.assert_allclose(
                scores[name], expected[name], rtol=1e-5, atol=1e-5, err_msg=name
            )
        without = pt.Scorer(run.export(self.scratch / "all_domains", ["onnx"]))
        self.assertNotIn("probs_click", without.outputs)
        self.assertEqual(
            set(scores.column_names) - set(without.outputs), {"probs_click", "logits_click"}
        )
        with self.assertRaisesRegex(pt.PepnetError, "--own_domain is of model.onnx"):
            run.export(self.scratch / "weights", ["safetensors"], own_domain=True)

    def test_the_scorer_takes_what_a_computed_feature_computes(self):
        """As load_torch() says, which refuses such features."""
        feature = """
feature_configs { combo_feature { feature_name: "both" expression: ["user:user", "context:scene"]
  hash_bucket_size: 50 embedding_dim: 4 } }
model_config {"""
        text = CONFIG.replace("model_config {", feature, 1).replace(
            '["user", "where"]', '["user", "where", "both"]'
        )
        rows = scene_rows()
        run = pt.train(pt.Config(text), rows, model_dir=self.scratch / "computed", progress=False)
        scorer = pt.Scorer(run.export(formats=["onnx"]))
        cells = [
            f"{user}_{scene}"
            for user, scene in zip(rows["user"].to_pylist(), rows["scene"].to_pylist())
        ]
        scores = scorer(rows.append_column("both", pa.array(cells)))
        np.testing.assert_allclose(
            scores["probs_click_1"], run.predict(rows)["probs_click_1"], rtol=1e-5, atol=1e-5
        )
        with self.assertRaisesRegex(
            ValueError, "'both' is computed from user, scene, which is not done here; give"
        ):
            scorer(rows)

    def test_tables_can_be_read(self):
        self.assertIn("user_id_emb", pt.table_names(self.trained))
        table = pt.read_table(self.trained.newest.path, "user_id")
        self.assertEqual(table.column_names, ["id", "value", "state", "frequency", "last_step"])
        self.assertEqual(len(table), 60)
        self.assertEqual(len(pt.read_table(self.trained, "user_id_emb", as_pandas=True)), 60)
        with self.assertRaisesRegex(KeyError, "no table 'nothing'; it has .*user_id_emb"):
            pt.read_table(self.trained, "nothing")

    def test_a_run_is_opened_by_its_directory(self):
        run = pt.Run(self.trained.model_dir)
        self.assertEqual(run.newest.step, self.trained.newest.step)
        self.assertIn("shop", repr(run))
        with self.assertRaisesRegex(FileNotFoundError, "no training has begun"):
            pt.Run(self.scratch / "nowhere")

    def test_errors_are_the_programs_sentences(self):
        with self.assertRaisesRegex(
            pt.PepnetError, "^pepnet: model_dir .* already holds model.ckpt"
        ) as caught:
            pt.train(
                self.trained.config, self.frame, model_dir=self.trained.model_dir, progress=False
            )
        self.assertRegex(
            str(caught.exception),
            "add continue_train=True to go on from it, or choose another model_dir=$",
        )
        self.assertEqual(caught.exception.status, 1)
        self.assertIn("pepnet: model_dir", caught.exception.log)
        with self.assertRaisesRegex(pt.PepnetError, "^pepnet: .*num_epoch"):
            self.trained.config.check({"train_config.num_epoch": 3})
        with self.assertRaisesRegex(pt.PepnetError, 'did you mean "train_config.num_epochs"'):
            self.trained.config.check({"num_epochs": 3})
        with self.assertRaisesRegex(
            pt.PepnetError, "^pepnet: the rows: input path 'gone.csv' cannot be read"
        ):
            self.trained.predict("gone.csv")
        with self.assertRaisesRegex(
            pt.PepnetError, "^pepnet: eval=: input path 'gone.parquet' cannot be read"
        ):
            pt.train(
                self.trained.config,
                self.frame,
                "gone.parquet",
                model_dir=self.scratch / "gone",
                progress=False,
            )

    def test_errors_name_what_was_given_and_no_file_that_was_made_of_it(self):
        run, rows = self.trained, self.later.drop(columns="price")
        with self.assertRaisesRegex(
            pt.PepnetError, "^pepnet: (.*: )?the DataFrame has no column 'price'; its columns are "
        ):
            run.predict(rows)
        with self.assertRaisesRegex(pt.PepnetError, "the Table has no column 'price'"):
            run.evaluate(pa.Table.from_pandas(rows))
        with self.assertRaisesRegex(pt.PepnetError, "the dict has no column 'price'"):
            run.predict(rows.to_dict("list"), workers=2)
        rows.to_parquet(self.scratch / "no_price.parquet")
        with self.assertRaisesRegex(pt.PepnetError, "no_price.parquet' has no column 'price'"):
            run.predict(self.scratch / "no_price.parquet")
        with self.assertRaisesRegex(
            pt.PepnetError, "the DataFrame given as eval= has no column 'price'"
        ):
            pt.train(
                run.config, self.frame, rows, model_dir=self.scratch / "no_price", progress=False
            )
        wrong = pt.Config(self.trained.config.text.replace("batch_size:", "batch_sise:"))
        line = 1 + wrong.text[: wrong.text.index("batch_sise")].count("\n")
        for call in (
            wrong.check,
            lambda: pt.train(wrong, self.frame, model_dir=self.scratch / "wrong"),
        ):
            with self.assertRaisesRegex(
                pt.PepnetError, f"^pepnet: the config, line {line}, column \\d+: .*batch_sise"
            ):
                call()
        self.assertFalse(
            (self.scratch / "wrong").exists()
        )  # nothing is left of a training that did not begin
        path = wrong.save(self.scratch / "wrong.config")
        with self.assertRaisesRegex(pt.PepnetError, f"^pepnet: {path}, line {line}, .*batch_sise"):
            pt.Config.from_file(path).check()

    def test_what_is_not_there_is_said_before_the_program_starts(self):
        with self.assertRaisesRegex(
            FileNotFoundError, "no config 'gone.config' .the current directory is '.*'.$"
        ):
            pt.train("gone.config", self.frame)
        with self.assertRaisesRegex(
            ValueError, "no rows to train with: give train=, or a config with train_input_path"
        ):
            pt.train(pt.Config("data_config {}"), model_dir=self.scratch / "no_rows")
        self.assertFalse((self.scratch / "no_rows").exists())

    def test_without_a_name_the_next_model_dir_is_taken(self):
        again = pt.train(
            self.trained.config, self.frame, edits={"train_config.num_epochs": 1}, progress=False
        )
        self.assertEqual(again.model_dir, self.trained.model_dir.with_name("shop-2"))
        with self.assertRaisesRegex(ValueError, "has been evaluated"):
            again.best("auc_click")

    def test_the_best_is_the_one_that_the_training_kept(self):
        edits = {
            "train_config.keep_best": [{"metric": "binary_cross_entropy_buy"}],
            "train_config.keep_checkpoint_max": 1,
        }
        kept = pt.train(
            self.trained.config,
            self.frame,
            self.later,
            edits,
            self.scratch / "kept",
            progress=False,
        )
        losses = kept.evaluations.set_index("global_step")["binary_cross_entropy_buy"]
        self.assertEqual(kept.best().step, losses.idxmin())
        (kept.model_dir / "best_checkpoint.json").write_text('{"step": 1}')
        with self.assertRaisesRegex(
            FileNotFoundError, "names step 1, whose checkpoint is not there"
        ):
            kept.best()

    def test_a_run_goes_on(self):
        config = self.trained.config
        first = pt.train(
            config,
            self.frame,
            self.later,
            {"train_config.num_epochs": 1},
            self.scratch / "on",
            progress=False,
        )
        on = pt.train(
            config,
            self.frame,
            self.later,
            {"train_config.num_epochs": 2},
            self.scratch / "on",
            continue_train=True,
            progress=False,
        )
        self.assertEqual(
            max(on.checkpoints),
            2 * max(step for step in first.checkpoints if step < max(on.checkpoints)),
        )
        self.assertEqual(len(list((self.scratch / "on/data").iterdir())), 2)

    def test_a_callback_stops_with_a_checkpoint(self):
        def stop(record):
            if record.get("step", 0) >= 40:
                raise pt.StopTraining

        run = pt.train(
            self.trained.config,
            self.frame,
            edits={"train_config.num_epochs": 500, "train_config.log_step_count_steps": 20},
            model_dir=self.scratch / "stopped",
            progress=stop,
        )
        self.assertLess(max(run.checkpoints), 500 * 19)
        self.assertEqual(run.newest.step, max(run.checkpoints))

        def fail(record):
            raise RuntimeError("of the callback")

        with self.assertRaisesRegex(RuntimeError, "of the callback"):
            pt.train(
                self.trained.config,
                self.frame,
                edits={"train_config.num_epochs": 500},
                model_dir=self.scratch / "failed",
                progress=fail,
            )

    def test_two_workers_train_like_one(self):
        config = self.trained.config
        batch = config.parsed().message("data_config").first("batch_size")
        both = pt.train(
            config,
            self.frame,
            self.later,
            {"data_config.batch_size": batch // 2},
            self.scratch / "two",
            workers=2,
            progress=False,
        )
        alone = self.trained.newest
        self.assertEqual(both.newest.step, alone.step)
        self.assertAlmostEqual(both.newest.values["auc_click"], alone.values["auc_click"], places=3)
        served = pt.train(
            config,
            self.frame,
            self.later,
            {"data_config.batch_size": batch // 2},
            self.scratch / "served",
            workers=2,
            servers=1,
            progress=False,
        )
        self.assertAlmostEqual(
            served.newest.values["auc_click"], alone.values["auc_click"], places=3
        )
        scores = self.trained.predict(self.later, workers=2)
        np.testing.assert_allclose(scores, self.trained.predict(self.later), rtol=1e-5, atol=1e-6)

    def test_progress_is_printed(self):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            pt.train(
                self.trained.config,
                self.frame,
                self.later,
                {"train_config.num_epochs": 1, "train_config.log_step_count_steps": 20},
                self.scratch / "printed",
            )
        self.assertRegex(
            out.getvalue(),
            r"step 20  epoch 1/1  loss \d\.\d{4}  [\d,]+ rows/s\n(.|\n)*"
            r"evaluated at step \d+: auc_buy",
        )

    def test_kinds_of_files_do_not_mix(self):
        self.later.drop(columns="tags").to_csv(self.scratch / "later.csv", index=False)
        with self.assertRaisesRegex(ValueError, "files of one kind"):
            pt.train(
                self.trained.config,
                self.frame,
                self.scratch / "later.csv",
                model_dir=self.scratch / "mixed",
                progress=False,
            )


class InitTest(unittest.TestCase):
    def init(self, *arguments, status=0):
        result = subprocess.run(
            [sys.executable, "-m", "pepnet_trainer", "init", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=self.scratch,
        )
        self.assertEqual(result.returncode, status, result.stderr)
        return result

    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = pathlib.Path(scratch.name)
        self.frame, self.later = pt.split(shop_frame(3000), 0.2, time="time")

    def test_it_is_a_command_of_the_program(self):
        self.frame.to_csv(self.scratch / "rows.csv", index=False)
        words = ["init", "rows.csv", "--labels", "click", "--uia", "user_id", "--ignore", "buy"]
        said = subprocess.run(
            [pt.find_program(), *words], cwd=self.scratch, capture_output=True, text=True
        )
        self.assertEqual(said.returncode, 0, said.stderr)
        self.assertEqual(said.stdout, self.init(*words[1:]).stdout)
        refused = subprocess.run(
            [pt.find_program(), "init", "rows.csv"],
            cwd=self.scratch,
            capture_output=True,
            text=True,
        )
        self.assertEqual(refused.returncode, 2)
        self.assertIn(
            "pepnet init: error: the following arguments are required: --labels", refused.stderr
        )
        # Away from the package, and without a Python.
        alone = self.scratch / "pepnet"
        shutil.copy(pt.find_program(), alone)
        refused = subprocess.run([alone, *words], cwd=self.scratch, capture_output=True, text=True)
        self.assertEqual(refused.returncode, 1)
        self.assertIn(
            "pepnet: init is a command of the Python package pepnet_trainer",
            refused.stderr.splitlines()[-1],
        )
        environment = {**os.environ, "PEPNET_PYTHON": "/no/python"}
        refused = subprocess.run(
            [pt.find_program(), *words],
            cwd=self.scratch,
            capture_output=True,
            text=True,
            env=environment,
        )
        self.assertEqual(refused.returncode, 1)
        self.assertIn("pepnet: init needs Python, but /no/python cannot be started", refused.stderr)

    def test_parquet_files_train_at_once(self):
        self.frame.to_parquet(self.scratch / "train.parquet")
        self.later.to_parquet(self.scratch / "later.parquet")
        said = self.init(
            "train.parquet",
            "--labels",
            "click,buy",
            "--domain",
            "scene",
            "--eval",
            "later.parquet",
            "-o",
            "shop.config",
        ).stderr
        self.assertIn("column 'paid' tells 'buy'", said)
        self.assertIn("shop.config: now pepnet train shop.config", said)
        config = pt.Config((self.scratch / "shop.config").read_text())
        self.assertEqual(config.parsed().message("eval_config").all("slice_by"), ["scene"])
        trained = subprocess.run(
            [pt.find_program(), "train", "shop.config"],
            cwd=self.scratch,
            capture_output=True,
            text=True,
        )
        self.assertEqual(trained.returncode, 0, trained.stderr)
        self.assertGreater(json.loads(trained.stdout)["auc_click"], 0.55)
        self.assertRegex(trained.stderr, r"evaluation of step \d+ by scene")
        said = self.init("train.parquet", "--labels", "click", "-o", "shop.config", status=1).stderr
        self.assertIn("pepnet init: 'shop.config' exists; --overwrite replaces it", said)

    def test_csv_files_train_at_once(self):
        self.frame.drop(columns="tags").to_csv(self.scratch / "train.csv", index=False)
        result = self.init("train.csv", "--labels", "buy", "--uia", "user_id", "--ignore", "click")
        config = pt.Config(result.stdout)
        self.assertEqual(config.parsed().message("data_config").first("dataset_type"), "CsvDataset")
        config.save(self.scratch / "csv.config")
        trained = subprocess.run(
            [pt.find_program(), "train", "--pipeline_config_path", "csv.config"],
            cwd=self.scratch,
            capture_output=True,
            text=True,
        )
        self.assertEqual(trained.returncode, 0, trained.stderr)

    def test_what_it_cannot_decide_it_asks(self):
        self.frame.assign(foo=np.arange(len(self.frame)) % 700).to_parquet(
            self.scratch / "train.parquet"
        )
        said = self.init("train.parquet", "--labels", "click", status=1)
        self.assertEqual(said.stdout, "")
        self.assertRegex(
            said.stderr,
            r"^pepnet init: names and values do not tell(.|\n)*  foo: 700 whole(.|\n)*"
            r"--ids foo, or ignore them$",
        )
        self.assertRegex(
            self.init("nothing.parquet", "--labels", "click", status=1).stderr, "names no file"
        )
        self.init("train.parquet", status=2)


class ProgramTest(unittest.TestCase):
    def test_where_the_program_is(self):
        self.assertEqual(str(pt.find_program()), os.environ["PEPNET_BINARY"])
        self.assertTrue(os.access(pt.find_program("pepnet_ps"), os.X_OK))
        self.assertRegex(pt.version(), r"^\d+\.\d+")
        with unittest.mock.patch.dict(os.environ, PEPNET_BINARY="/nowhere/pepnet"):
            with self.assertRaisesRegex(FileNotFoundError, "PEPNET_BINARY is '/nowhere/pepnet'"):
                pt.find_program()
        with unittest.mock.patch.dict(os.environ, PATH="/nowhere"):
            del os.environ["PEPNET_BINARY"]
            with self.assertRaisesRegex(FileNotFoundError, "build it and set PEPNET_BINARY"):
                pt.find_program()

    def test_a_program_that_says_nothing(self):
        with tempfile.TemporaryDirectory() as name:
            path = pathlib.Path(name) / "pepnet"
            path.write_text("#!/bin/sh\necho one >&2\nkill -9 $$\n")
            path.chmod(0o755)
            with unittest.mock.patch.dict(os.environ, PEPNET_BINARY=str(path)):
                with self.assertRaisesRegex(
                    pt.PepnetError, "^pepnet: ended by signal SIGKILL; it last said: one$"
                ):
                    pt.run_program("train")


if __name__ == "__main__":
    unittest.main()
