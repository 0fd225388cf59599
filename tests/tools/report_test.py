"""`pepnet report` and `pepnet compare` on real runs, and on what is none: every figure that is
shown is one of the run's."""

import json
import shutil
import tempfile
import unittest
import pathlib

from report_page import Page, lines_of, train, trained_job
from small_job import pepnet


class ReportTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory()
        cls.job = trained_job(cls.scratch.name)
        cls.model, cls.second = cls.job.model_dir, cls.job.directory / "second"
        train(cls.job, cls.second, "--seed", 2)
        pepnet("explain", "--pipeline_config_path", cls.job.config, "--model_dir", cls.model,
               "--output", cls.model / "explained.json")
        cls.text = pepnet("report", cls.model, cls.second, "-o", "-").stdout
        cls.page = Page(cls.text)

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()

    def copy(self, name):
        """A copy of the first run that a test may damage."""
        model = self.job.directory / name
        shutil.rmtree(model, ignore_errors=True)
        shutil.copytree(self.model, model)
        return model

    def curves(self, run, source):
        return {name: points for number, name, file, points in self.page.curves
                if (number, file) == (run, source)}

    def assert_curve(self, points, expected, what):
        self.assertEqual(len(points), len(expected), what)
        for (x, y, x_tolerance, y_tolerance), (step, value) in zip(points, expected):
            self.assertAlmostEqual(x, step, delta=x_tolerance, msg=what)
            self.assertAlmostEqual(y, value, delta=y_tolerance, msg=what)

    def test_the_page_needs_nothing_else(self):
        self.assertEqual([url for url in self.page.urls if not url.startswith(("#", "data:,"))], [])
        self.assertNotIn("http", self.text.split("<script")[0])
        self.assertEqual(self.page.tags["script"], 1, "the data, which is no program")

    def test_the_data_are_the_files(self):
        for run, model in zip(self.page.data["runs"], (self.model, self.second)):
            self.assertEqual(run["steps"], lines_of(model / "metrics.jsonl"))
            self.assertEqual(run["evaluations"], lines_of(model / "train_eval_result.txt"))
            self.assertEqual(run["status"], "done")
            slices = [dict(one, global_step=evaluation["global_step"])
                      for evaluation in run["slices"] for one in evaluation["slices"]]
            lines = lines_of(model / "train_eval_slices.jsonl")
            self.assertEqual(len(slices), len(lines))
            for shown, line in zip(slices, lines):
                for name in ("global_step", "slice_by", "task", "rows", "positives", "auc",
                             "logloss", "normalized_entropy", "pcoc", "ece"):
                    self.assertEqual(shown[name], line[name], line)
                for name in ("grouped_auc", "grouped_auc_by_impressions"):
                    self.assertEqual(name in line, line["task"] == "ctr", "the task that has one")
                    self.assertEqual(shown.get(name), line.get(name), line)
                self.assertEqual(shown["calibration"],
                                 [[bin["rows"], bin["mean_prediction"], bin["mean_label"]]
                                  for bin in line["calibration"]])

    def test_each_point_of_a_curve_is_a_figure_of_metrics_jsonl(self):
        for number, model in enumerate((self.model, self.second)):
            lines = lines_of(model / "metrics.jsonl")
            names = {name for line in lines for name in line} - {"step", "epoch", "stage_seconds"}
            curves = self.curves(number, "metrics.jsonl")
            self.assertEqual(set(curves), names, "each figure is drawn")
            for name, points in curves.items():
                self.assert_curve(
                    points, [(line["step"], line[name]) for line in lines if name in line], name)
            evaluations = lines_of(model / "train_eval_result.txt")
            curves = self.curves(number, "train_eval_result.txt")
            self.assertEqual(set(curves), set(evaluations[0]) - {"global_step"})
            for name, points in curves.items():
                self.assert_curve(
                    points, [(line["global_step"], line[name]) for line in evaluations], name)

    def test_each_point_of_a_train_slice_is_a_figure_of_train_slices_jsonl(self):
        for number, model in enumerate((self.model, self.second)):
            lines = lines_of(model / "train_slices.jsonl")
            curves = self.curves(number, "train_slices.jsonl")
            self.assertGreaterEqual(len(curves), 4)
            for name, points in curves.items():
                which, metric, _, value = name.split(" ")
                expected = [(line["step"], line[which]["value"]) for line in lines
                            if (line["metric"], line.get("value", f"({line['slice']})"))
                            == (metric, value)]
                self.assertTrue(expected, name)
                self.assert_curve(
                    points, [point for point in expected if point[1] is not None], name)
            shown = [(step["step"], one["value"], one["metric"], *one["window"], *one["lifetime"])
                     for step in self.page.data["runs"][number]["train_slices"]
                     for one in step["slices"]]
            self.assertEqual(shown, [
                (line["step"], line.get("value", f"({line['slice']})"), line["metric"],
                 *(line[name].get(member) for name in ("window", "lifetime")
                   for member in ("rows", "positives", "value"))) for line in lines])
            self.assertTrue(all(line["lifetime"]["positives"] > 0 for line in lines
                                if line["lifetime"]["value"]))

    def test_the_sum_that_keep_best_compares_is_a_figure_of_its_own(self):
        third = self.job.directory / "sum"
        edits = {"eval_config.slice_by": ["uid"], "train_config.keep_best": [
            {"metric": "auc_ctr"},
            {"metric": "auc_cvr", "slice_by": "uid", "slice_value": "(all)", "weight": 0.5}]}
        pepnet("train", "--pipeline_config_path", self.job.config, "--model_dir", third,
               "--edit_config_json", json.dumps(edits))
        name = "auc_ctr + 0.5 auc_cvr where uid is (all)"
        of_all = {line["global_step"]: line["auc"]
                  for line in lines_of(third / "train_eval_slices.jsonl")
                  if (line["slice"], line["task"]) == ("all", "cvr")}
        values = [(line["global_step"], line["auc_ctr"] + 0.5 * of_all[line["global_step"]])
                  for line in lines_of(third / "train_eval_result.txt")]
        page = Page(pepnet("report", third, "-o", "-").stdout)
        curves = {curve: points for _, curve, file, points in page.curves
                  if file.endswith("by keep_best")}
        self.assert_curve(curves[name], values, name)
        best = max(value for _, value in values)
        compared = pepnet("compare", self.model, third).stdout
        row = next(line for line in compared.splitlines() if line.startswith(name))
        self.assertRegex(row, rf"-\s+@\d+ {best:.4f}")

    def test_what_the_model_goes_by_is_explained_json(self):
        explained = json.loads((self.model / "explained.json").read_text())
        self.assertEqual({feature["name"] for feature in explained["features"]}, {"uid", "iid"})
        for task in ("ctr", "cvr"):
            (base,) = [one for one in explained["tasks"]
                       if (one["task"], one["domain"]) == (task, None)]
            rows = [row for table in self.page.tables for row in table
                    if row[:2] == ["(as it is)", ""] and row[2] == f"{base['auc']:.4f}"]
            self.assertTrue(rows, base)
            for feature in explained["features"]:
                (quality,) = [one for one in feature["tasks"]
                              if (one["task"], one["domain"]) == (task, None)]
                expected = [feature["name"], f"{quality['logloss_rise']:+.4f}",
                            f"{-quality['auc_drop']:+.4f}"]
                self.assertTrue([row for table in self.page.tables for row in table
                                 if row[:3] == expected], expected)
        for gate in explained["gates"]:
            name = " ".join(text for text in (gate["network"], gate["task"], gate["part"]) if text)
            expected = [name, *(f"{gate[key]:.3f}" for key in ("mean", "from_one", "varies"))]
            self.assertTrue([row for table in self.page.tables for row in table
                             if row[:4] == expected], expected)

    def test_the_hottest_ids_have_the_neighbours_that_inspect_finds(self):
        hottest = self.page.data["runs"][0]["tables"]
        for table in hottest:
            out = pepnet("inspect", self.model, "--checkpoint_path", "best",
                         "--table", table["table"], "--id", table["hottest"][0]["id"],
                         "--neighbours", 5, "--json").stdout
            found = json.loads(out.splitlines()[-1])
            shown = [row for rows in self.page.tables for row in rows
                     if row[0] == table["table"] and len(row) == 5
                     and row[1].startswith(str(found["id"]))]
            self.assertTrue(shown, table["table"])  # of this run first
            self.assertEqual(shown[0][2], f"{found['norm']:.4f}")
            for neighbour in found["neighbours"]:
                self.assertIn(f"{neighbour['cosine']:.3f}", shown[0][4])

    def test_stage_times_come_from_metrics_jsonl(self):
        lines = lines_of(self.model / "metrics.jsonl")
        curves = self.curves(0, "metrics.jsonl stage_seconds")
        self.assertEqual(set(curves), set(lines[0]["stage_seconds"]) - {"checkpoint", "eval"})
        before = {"step": 0, "stage_seconds": dict.fromkeys(lines[0]["stage_seconds"], 0)}
        for i, line in enumerate(lines):
            for name, points in curves.items():
                seconds = line["stage_seconds"][name] - before["stage_seconds"][name]
                self.assertAlmostEqual(
                    points[i][1], 1e3 * seconds / (line["step"] - before["step"]),
                    delta=points[i][3])
            before = line
        totals = self.page.table("seconds of worker 0")
        for name, shown in zip(totals["seconds of worker 0"], totals["model"]):
            if name in lines[-1]["stage_seconds"]:
                self.assertEqual(shown, f"{lines[-1]['stage_seconds'][name]:.2f}")

    def test_slices_are_those_of_the_best_checkpoint(self):
        best = json.loads((self.model / "best_checkpoint.json").read_text())["step"]
        lines = [line for line in lines_of(self.model / "train_eval_slices.jsonl")
                 if line["slice"] == "value"]
        expected = {(name, line["value"], line[name])
                    for line in lines if line["global_step"] == best
                    for name in ("auc", "pcoc", "grouped_auc") if line.get(name)}
        self.assertIn("grouped_auc", {name for name, _, _ in expected})
        shown = [(name, value, number) for run, name, value, number in self.page.dots if run == 0]
        self.assertEqual(len(shown), len(expected))
        for name, value, number in shown:
            self.assertTrue(any((name, value) == one[:2] and abs(number / one[2] - 1) < 1e-3
                                for one in expected), (name, value, number, expected))
        # Over the steps, and the reliability curve, whose points have at least 30 rows.
        curves = self.curves(0, "train_eval_slices.jsonl")
        for task in ("ctr", "cvr"):
            for value in "012":
                of_value = [line for line in lines
                            if (line["task"], line["value"]) == (task, value)]
                for name in ("auc", "logloss", *(("grouped_auc",) if task == "ctr" else ())):
                    self.assert_curve(
                        curves[f"{name} {task} uid {value}"],
                        [(line["global_step"], line[name]) for line in of_value], name)
                shown = [row for table in self.page.tables for row in table
                         if row[0] == value and row[1:3] == [
                             f"{line[name]:,}" for line in of_value if line["global_step"] == best
                             for name in ("rows", "positives")]]
                (line,) = (line for line in of_value if line["global_step"] == best)
                figures = ["auc", "logloss", "normalized_entropy", "pcoc", "ece"]
                if task == "ctr":
                    figures += ["grouped_auc", "grouped_auc_by_impressions"]
                self.assertIn([f"{line[name]:.4f}" for name in figures], [row[3:] for row in shown])
                bins = [bin for line in of_value if line["global_step"] == best
                        for bin in line["calibration"]]
                self.assert_curve(
                    curves[f"calibration {task} uid {value}"],
                    [(bin["mean_prediction"], bin["mean_label"])
                     for bin in bins if bin["rows"] >= 30], task)

    def test_tables_checkpoints_and_cluster_are_the_manifests(self):
        best = json.loads((self.model / "best_checkpoint.json").read_text())
        summary = json.loads(
            pepnet("inspect", self.model, "--checkpoint_path", "best", "--json").stdout)
        tables = self.page.table("table")
        hottest = {table["table"]: table["hottest"]
                   for table in self.page.data["runs"][0]["tables"]}
        for table in summary["tables"]:
            self.assertEqual(tables[table["table"]][0], f"{table['rows']:,}")
        # Words of a vocabulary begin at row 2: 0 is the default, 1 an unknown word.
        self.assertTrue(hottest["iid_emb"])
        for hot in hottest["iid_emb"]:
            self.assertEqual(hot["word"], str(hot["id"] - 2))
        self.assertEqual({hot["word"] for hot in hottest["uid_emb"]}, {""})
        shown = tables["iid_emb"][-1]
        self.assertTrue(shown.startswith(
            f"{hottest['iid_emb'][0]['id']} {hottest['iid_emb'][0]['word']} "), shown)

        checkpoints = self.page.table("checkpoint")
        self.assertIn("best auc_ctr", checkpoints[best["path"]][0])
        self.assertEqual([name for name, row in checkpoints.items() if "best" in row[0]],
                         [best["path"]])
        manifest = json.loads((self.model / best["path"] / "manifest.json").read_text())
        self.assertEqual(checkpoints[best["path"]][1],
                         f"{sum(part['rows'] for part in manifest['parts']):,}")
        self.assertEqual(self.page.table("run")["model"][:3], ["2", "1", "16"])

    def test_configs_differ_where_they_do(self):
        third = self.job.directory / "third"
        pepnet("train", "--pipeline_config_path", self.job.config, "--model_dir", third,
               "--edit_config_json", '{"train_config.num_steps": 10, "data_config.batch_size": 8}')
        page = Page(pepnet("report", self.model, third, "-o", "-").stdout)
        differences = page.table("field")
        self.assertEqual(differences.pop("field"), ["model", "third"])
        self.assertEqual(differences, {"train_config.num_steps": ["20", "10"],
                                       "data_config.batch_size": ["16", "8"],
                                       "train_config.keep_best[auc_ctr]": ["2 fields", "-"],
                                       "eval_config.slice_by": ['"uid"', "-"]})

    def test_compare_prints_the_same_figures(self):
        text = pepnet("compare", self.model, self.second).stdout
        last = [lines_of(model / "train_eval_result.txt")[-1]
                for model in (self.model, self.second)]
        block = text.split("last evaluation")[1].split("\n\n")[0].splitlines()[1:]
        self.assertEqual({line.split()[0] for line in block}, set(last[0]) - {"global_step"})
        for line in block:
            name, *cells = line.split()
            self.assertEqual([float(cell.rstrip("*")) for cell in cells],
                             [round(one[name], 4) for one in last])
            better = min if "entropy" in name else max
            self.assertEqual([cell.endswith("*") for cell in cells],
                             [one[name] == better(other[name] for other in last) for one in last])
        best = [json.loads((model / "best_checkpoint.json").read_text())["step"]
                for model in (self.model, self.second)]
        for task, figures in (("ctr", ("auc", "grouped_auc", "pcoc")), ("cvr", ("auc", "pcoc"))):
            words = ", ".join(name.replace("_", " ") for name in figures)
            block = text.split(f"{task} by uid: {words}")[1].split("\n\n")[0].splitlines()[1:]
            expected = {}  # of the evaluation of the best checkpoint, run behind run
            for model, step in zip((self.model, self.second), best):
                for line in lines_of(model / "train_eval_slices.jsonl"):
                    if (line["task"], line["global_step"]) == (task, step):
                        expected.setdefault(line.get("value", f"({line['slice']})"), []).extend(
                            f"{line[name]:.{2 if name == 'pcoc' else 4}f}" for name in figures)
            self.assertEqual({line.split()[0]: line.split()[1:] for line in block}, expected)
        data = json.loads(pepnet("compare", self.model, self.second, "--json").stdout)
        self.assertEqual(data["runs"][1]["steps"], self.page.data["runs"][1]["steps"])

    def test_a_run_in_progress(self):
        model = self.copy("progress")
        with open(model / "metrics.jsonl", "a") as log:
            log.write('{"step": 25, "lo')
        (model / "best_checkpoint.json").unlink()
        (model / "job_report.json").write_text('{"format": 1, "status": "running"}')
        page = Page(pepnet("report", model, "-o", "-").stdout)
        self.assertEqual(page.data["runs"][0]["steps"], lines_of(self.model / "metrics.jsonl"))
        self.assertEqual(page.data["runs"][0]["status"], "running")
        for name in ("train_eval_result.txt", "train_eval_slices.jsonl", "pipeline.config"):
            (model / name).unlink()
        for checkpoint in model.glob("model.ckpt-*"):
            shutil.rmtree(checkpoint)
        result = pepnet("report", model, "-o", "-")
        self.assertIn("pipeline.config", result.stderr, "what is missing is said")
        self.assertIn("pipeline.config", " ".join(
            one["text"] for one in Page(result.stdout).data["runs"][0]["remarks"]))

    def test_a_failed_job_names_the_cause_and_its_ranks(self):
        model = self.copy("failed")
        result = pepnet("train", "--pipeline_config_path", self.job.config, "--model_dir", model,
                        "--continue_train", "--edit_config_json", '{"train_config.num_steps": 30}',
                        "--train_input_path", "none.csv", status=1)
        report = json.loads((model / "job_report.json").read_text())
        self.assertEqual(report["status"], "failed", result.stderr)
        report["ranks"].append(
            dict(report["ranks"][0], rank=1, role="server 0", host="h2", state="dead"))
        (model / "job_report.json").write_text(json.dumps(report))
        page = Page(pepnet("report", model, "-o", "-").stdout)
        run = page.data["runs"][0]
        self.assertEqual(run["status"], "failed")
        self.assertEqual(run["remarks"][0], {
            "warning": True, "text": "the job failed: " + report["first_cause"]["message"]})
        ranks = page.table("rank")
        self.assertEqual(ranks["1"][:3], ["server 0", "h2", "dead"])
        self.assertEqual(ranks["0"][1], report["ranks"][0]["host"])

    def test_what_training_warned_of_stands_out(self):
        model = self.copy("warned")
        text = "the feature 'x' reads the column of label 'y'; drop it"
        (model / "warnings.jsonl").write_text(
            json.dumps({"step": 12, "kind": "leak", "subject": "x", "text": text}) + "\n"
            + json.dumps({"step": 12, "kind": "slice", "subject": "z",
                          "text": "of another evaluation"}) + "\n")
        texts = [one["text"] for one in
                 Page(pepnet("report", model, "-o", "-").stdout).data["runs"][0]["remarks"]
                 if one["warning"]]
        self.assertIn("step 12: " + text, texts)
        self.assertFalse([one for one in texts if "another evaluation" in one])
        (model / "warnings.jsonl").write_text('{"step": 1, "kind": 3}\n{}\n')
        self.assertIn("warnings.jsonl is damaged: line 1",
                      pepnet("report", model, "-o", "-", status=1).stderr)

    def test_a_long_log_is_thinned(self):
        model = self.copy("long")
        line = json.loads((model / "metrics.jsonl").read_text().splitlines()[0])
        with open(model / "metrics.jsonl", "w") as log:
            for i in range(1, 2001):
                log.write(json.dumps(dict(line, step=i, total_loss=1 / i)) + "\n")
        page = Page(pepnet("report", model, "-o", "-", "--no_rows").stdout)
        run = page.data["runs"][0]
        self.assertEqual(run["logged_steps"], 2000)
        self.assertLessEqual(len(run["steps"]), 601)
        steps = [one["step"] for one in run["steps"]]
        self.assertEqual((steps[0], steps[-1], run["kept_steps"]), (1, 2000, len(steps)))
        points = [points for _, name, _, points in page.curves if name == "total_loss"][0]
        self.assert_curve(points, [(step, 1 / step) for step in steps], "total_loss")

    def test_names_of_files_are_no_markup(self):
        evil = "<img src=x onerror=alert(1)>'\"&"
        model = self.copy(evil)
        lines = lines_of(model / "metrics.jsonl")
        (model / "metrics.jsonl").write_text("".join(
            json.dumps(dict(line, **{evil + "</script>": 1})) + "\n" for line in lines))
        slices = lines_of(model / "train_eval_slices.jsonl")
        for line in slices:
            line["value"] = evil if line.get("value") == "1" else line.get("value")
        (model / "train_eval_slices.jsonl").write_text("".join(
            json.dumps(line) + "\n" for line in slices))
        (model / (evil.replace("/", "") + ".x")).touch()
        page = Page(pepnet("report", model, "-o", "-").stdout)
        self.assertNotIn("img", page.tags)
        self.assertEqual(page.tags["script"], 1)
        self.assertIn(evil + "</script>", {name for _, name, _, _ in page.curves})
        self.assertEqual(page.data["runs"][0]["name"], evil)

    def test_what_is_no_run(self):
        model = self.copy("damaged")
        lines = (model / "metrics.jsonl").read_text().splitlines()
        out = self.job.directory / "none.html"

        def refused(*arguments):
            result = pepnet("report", *arguments, "-o", out, status=1)
            self.assertFalse(out.exists())
            return result.stderr.splitlines()[-1]

        (model / "metrics.jsonl").write_text("\n".join([lines[0], lines[1][:20], lines[2]]) + "\n")
        self.assertRegex(refused(model), r"metrics\.jsonl is damaged: line 2 is no JSON object")
        self.assertRegex(pepnet("compare", model, status=1).stderr, r"line 2 is no JSON object")
        (model / "metrics.jsonl").write_text('{"epoch": 1}\n')
        self.assertRegex(refused(model), r'line 1 is not what a training writes: .*"step"')
        (model / "metrics.jsonl").write_text("[1]\n")
        self.assertRegex(refused(model), r"line 1 is no JSON object: a JSON array")
        self.assertRegex(refused(self.job.directory / "nothing"),
                         "does not exist; expected the model_dir")
        self.assertRegex(refused(self.job.config), "is no directory")
        empty = self.job.directory / "empty"
        empty.mkdir()
        self.assertRegex(refused(empty), "is no run: it has neither a logged step")
        self.assertRegex(refused(self.model, f"{self.model}/../model"), "is named twice")

    def test_a_damaged_checkpoint_leaves_a_report_of_the_rest(self):
        model = self.copy("rotten")
        path = model / json.loads((model / "best_checkpoint.json").read_text())["path"]
        part = next(path.glob("tables/iid_emb/*.arrow"))
        data = bytearray(part.read_bytes())
        data[len(data) // 2] ^= 1
        part.write_bytes(data)
        result = pepnet("report", model, "-o", "-")
        self.assertIn(part.name, result.stderr)
        page = Page(result.stdout)
        self.assertEqual(page.data["runs"][0]["steps"], lines_of(self.model / "metrics.jsonl"))
        self.assertTrue(any(part.name in one["text"] and one["warning"]
                            for one in page.data["runs"][0]["remarks"]))

    def test_only_its_own_pages_are_replaced(self):
        out = self.job.directory / "out.html"
        pepnet("report", self.model, "-o", out)
        first = out.read_text()
        pepnet("report", self.second, "--output", out)
        self.assertNotEqual(out.read_text(), first, "its own page is replaced")
        for other in ("my own page", "<!doctype html>\n<html lang=\"en\"><head>"):
            out.write_text(other)
            result = pepnet("report", self.model, "-o", out, status=1)
            self.assertRegex(result.stderr.splitlines()[-1],
                             r"is there already .* or give --overwrite")
            self.assertEqual(out.read_text(), other)
        pepnet("report", self.model, "-o", out, "--overwrite")
        self.assertEqual(out.read_text(), first)
        missing = self.job.directory / "no/such/out.html"
        self.assertRegex(pepnet("report", self.model, "-o", missing, status=1).stderr,
                         "there is no directory .*no/such")
        self.assertFalse(missing.parent.exists())
        self.assertRegex(pepnet("report", self.model, "-o", self.model, status=1).stderr,
                         "is a directory, expected a file")
        before = sorted(pathlib.Path(self.model).rglob("*"))
        pepnet("report", self.model, "-o", "-")
        self.assertEqual(sorted(pathlib.Path(self.model).rglob("*")), before,
                         "a report leaves nothing in the run")


if __name__ == "__main__":
    unittest.main()
