"""Training's event files, read with TensorBoard's own reader."""

import json
import math
import re
import tempfile
import unittest

from small_job import SmallJob, pepnet
from tensorboard import context
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups


def read(directory):
    events = EventAccumulator(str(directory))
    events.Reload()
    tags = events.Tags()["scalars"]
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags}


def session_groups(directory):
    """The table of the HParams plugin for the runs below a directory."""
    multiplexer = EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(directory))
    multiplexer.Reload()
    tensorboard = TBContext(logdir=str(directory),
                            data_provider=MultiplexerDataProvider(multiplexer, str(directory)))
    statuses = [api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE,
                api_pb2.STATUS_RUNNING]
    request = api_pb2.ListSessionGroupsRequest(start_index=0, slice_size=100,
                                               allowed_statuses=statuses)
    handler = list_session_groups.Handler(
        context.RequestContext(), backend_context.Context(tensorboard), "", request)
    return {group.name: group for group in handler.run().session_groups}


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


class TensorBoardTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = scratch.name

    def assert_same(self, scalars, logged):
        self.assertEqual([step for step, _ in scalars], [step for step, _ in logged])
        for (_, value), (_, expected) in zip(scalars, logged):
            self.assertTrue(math.isclose(value, expected, rel_tol=1e-6, abs_tol=1e-12),
                            (value, expected))

    def assert_log_and_events_agree(self, job):
        log = lines(job.model_dir / "metrics.jsonl")
        steps = read(job.model_dir)
        for tag, key in (("loss/binary_cross_entropy_ctr", "binary_cross_entropy_ctr"),
                         ("loss/total", "total_loss"), ("lr/g0", "lr_sparse"),
                         ("lr/g1", "lr_dense"), ("metric/auc_ctr", "auc_ctr"),
                         ("speed/samples_per_second", "samples_per_second")):
            self.assert_same(steps[tag], [(line["step"], line[key]) for line in log if key in line])
        self.assertEqual([line["step"] for line in log], [5, 10, 15, 20])
        self.assertIn("seconds/compute", steps)
        evaluations = lines(job.model_dir / "train_eval_result.txt")
        self.assertEqual([line["global_step"] for line in evaluations], [10, 20])
        validation = read(job.model_dir / "eval_val")
        # A loss has one tag in training and evaluation, so that both curves lie in one chart.
        for tag in ("metric/auc_ctr", "metric/auc_cvr", "loss/binary_cross_entropy_ctr",
                    "loss/binary_cross_entropy_cvr"):
            name = tag.split("/")[1]
            self.assert_same(validation[tag],
                             [(line["global_step"], line[name]) for line in evaluations])
        self.assertEqual({tag for tag in validation if "cross_entropy" in tag},
                         {tag for tag in steps
                          if "cross_entropy" in tag and tag.startswith("loss/")})

    def test_a_run_and_its_continuation(self):
        job = SmallJob(self.scratch)
        pepnet("train", "--pipeline_config_path", job.config)
        self.assert_log_and_events_agree(job)
        self.assertNotIn("global_gradient_norm", read(job.model_dir))
        # From step 10 again: what came after it is of a run that was abandoned, also for a reader
        # that has seen it.
        before = EventAccumulator(str(job.model_dir))
        before.Reload()
        pepnet("train", "--pipeline_config_path", job.config, "--continue_train",
               "--checkpoint_path", job.model_dir / "model.ckpt-10")
        self.assert_log_and_events_agree(job)
        before.Reload()
        self.assertEqual([event.step for event in before.Scalars("loss/total")], [5, 10, 15, 20])

    def test_train_metrics_of_the_last_window_the_lifetime_and_slices(self):
        job = SmallJob(self.scratch)
        pepnet("train", "--pipeline_config_path", job.config,
               "--edit_config_json", '{"eval_config.slice_by": ["uid"]}')
        log, steps = lines(job.model_dir / "metrics.jsonl"), read(job.model_dir)
        for name in ("window_auc_ctr", "lifetime_auc_ctr"):
            logged = [(line["step"], line[name]) for line in log if line.get(name) is not None]
            self.assertTrue(logged)
            self.assert_same(steps[f"metric/{name}"], logged)
        slices = lines(job.model_dir / "train_slices.jsonl")
        self.assertEqual({line["step"] for line in slices}, {5, 10, 15, 20})
        for step in (5, 10, 15, 20):
            of_step = [line for line in slices if line["step"] == step]
            # Each row lies in one slice; 200 rows in batches of 16, so that step 13 has 8; windows
            # of 5 steps.
            rows = [8 if number == 13 else 16 for number in range(1, step + 1)]
            self.assertEqual(sum(line["window"]["rows"] for line in of_step), sum(rows[-5:]))
            self.assertEqual(sum(line["lifetime"]["rows"] for line in of_step), sum(rows))
        value = slices[0]["value"]
        for name in ("window", "lifetime"):
            logged = [(line["step"], line[name]["value"]) for line in slices
                      if line.get("value") == value and line[name]["value"] is not None]
            self.assert_same(steps[f"slice/uid={value}/{name}_auc_ctr"], logged)

    def test_calibration_and_grouped_aucs_of_training_rows(self):
        job = SmallJob(self.scratch)
        asked = ("train_metrics { auc {} decay_step: 5 } train_metrics { pcoc {} decay_step: 5 } "
                 "train_metrics { ece {} decay_step: 5 } "
                 "train_metrics { logloss {} decay_step: 5 } "
                 "train_metrics { normalized_entropy {} decay_step: 5 } "
                 'train_metrics { grouped_auc { grouping_key: "uid" } decay_step: 5 }')
        job.config.write_text(job.config.read_text().replace(
            "train_metrics { auc {} decay_step: 5 }", asked))
        textfile = job.directory / "pepnet.prom"
        pepnet("train", "--pipeline_config_path", job.config,
               "--edit_config_json", '{"eval_config.slice_by": ["uid"]}',
               "--metrics_textfile", textfile)
        log, steps = lines(job.model_dir / "metrics.jsonl"), read(job.model_dir)
        slices, prometheus = lines(job.model_dir / "train_slices.jsonl"), textfile.read_text()
        for name in ("pcoc_ctr", "ece_ctr", "logloss_ctr", "normalized_entropy_ctr",
                     "grouped_auc_ctr", "grouped_auc_ctr_by_impressions"):
            for prefix in ("", "window_", "lifetime_"):
                logged = [(line["step"], line[prefix + name]) for line in log]
                self.assertEqual([step for step, _ in logged], [5, 10, 15, 20])
                self.assert_same(steps[f"metric/{prefix}{name}"], logged)
                last = re.search(rf'^pepnet_train_metric{{.*name="{prefix}{name}"}} (.*)$',
                                 prometheus, re.M)
                self.assertAlmostEqual(float(last[1]), logged[-1][1], places=12)
            of_metric = [line for line in slices if line["metric"] == name]
            for step in (5, 10, 15, 20):
                self.assertEqual(
                    sum(line["window"]["rows"] for line in of_metric if line["step"] == step),
                    80 if step != 15 else 72)
            for line in of_metric:
                for which in ("window", "lifetime"):
                    self.assertEqual("why" in line[which], line[which]["value"] is None)
        # Of users with few rows some windows have rows of one class.
        reasons = {line["window"].get("why") for line in slices
                   if line["metric"].startswith("grouped_auc")}
        self.assertIn("every label is 0", reasons)
        page = pepnet("report", job.model_dir, "-o", "-").stdout
        self.assertIn("1 is calibrated", page)
        self.assertIn("pcoc_ctr of the training rows", page)

    def test_the_hparams_plugin_lays_runs_side_by_side(self):
        job = SmallJob(self.scratch)
        for name, rate in (("slow", 0.001), ("fast", 0.25)):
            pepnet("train", "--pipeline_config_path", job.config,
                   "--model_dir", job.directory / "runs" / name,
                   "--edit_config_json", json.dumps(
                       {"train_config.sparse_optimizer.adagrad_optimizer.lr": rate}))
        groups = session_groups(job.directory / "runs")
        self.assertEqual(len(groups), 2)
        for name, rate in (("slow", 0.001), ("fast", 0.25)):
            group = next(group for group in groups.values()
                         if group.sessions[0].name.rstrip("/") == name)
            hparams = {key: value.number_value or value.string_value
                       for key, value in group.hparams.items()}
            self.assertTrue(math.isclose(hparams["sparse_optimizer.lr"], rate, rel_tol=1e-6),
                            hparams)
            self.assertEqual(hparams["sparse_optimizer"], "adagrad")
            self.assertEqual((hparams["batch_size"], hparams["workers"]), (16, 1))
            self.assertIn("ctr.hidden_units", hparams)
            self.assertIn("embedding_dim", hparams)
            self.assertEqual(group.sessions[0].status, api_pb2.STATUS_SUCCESS)
            metrics = {(metric.name.group, metric.name.tag): metric.value
                       for metric in group.metric_values}
            evaluations = lines(job.directory / "runs" / name / "train_eval_result.txt")
            for tag, best in (("metric/auc_ctr", max), ("loss/binary_cross_entropy_cvr", min)):
                metric = tag.split("/")[1]
                self.assertAlmostEqual(metrics["eval_val", tag], evaluations[-1][metric], places=5)
                self.assertAlmostEqual(metrics["", f"best/{metric}"],
                                       best(line[metric] for line in evaluations), places=5)

    def test_what_is_asked_for(self):
        job = SmallJob(self.scratch,
                       'tensorboard_summaries: ["global_gradient_norm", "gradient_norm"]')
        pepnet("train", "--pipeline_config_path", job.config)
        steps = read(job.model_dir)
        self.assertNotIn("loss/total", steps)
        self.assertNotIn("lr/g0", steps)
        squares = [0.0] * 4
        for tag, scalars in steps.items():
            if tag.endswith("/gradient_norm"):
                squares = [total + value**2 for total, (_, value) in zip(squares, scalars)]
        for total, (_, norm) in zip(squares, steps["global_gradient_norm"]):
            self.assertTrue(math.isclose(math.sqrt(total), norm, rel_tol=1e-5), (total, norm))
            self.assertGreater(norm, 0)

    def test_none_and_a_prometheus_file(self):
        job = SmallJob(self.scratch, "use_tensorboard: false")
        textfile = job.directory / "run.prom"
        pepnet("train", "--pipeline_config_path", job.config, "--metrics_textfile", textfile)
        self.assertEqual(list(job.model_dir.glob("**/*tfevents*")), [])
        samples = dict(line.rsplit(" ", 1) for line in textfile.read_text().splitlines()
                       if not line.startswith("#"))
        last = lines(job.model_dir / "metrics.jsonl")[-1]
        run = f'run="{job.model_dir.resolve()}"'
        self.assertEqual(float(samples[f"pepnet_step{{{run}}}"]), 20)
        self.assertEqual(float(samples[f'pepnet_loss{{{run},name="total"}}']), last["total_loss"])
        self.assertEqual(samples[f'pepnet_run_state{{{run},state="done"}}'], "1")
        self.assertEqual(samples[f'pepnet_run_state{{{run},state="running"}}'], "0")
        evaluation = lines(job.model_dir / "train_eval_result.txt")[-1]
        self.assertEqual(float(samples[f'pepnet_eval_metric{{{run},name="auc_ctr"}}']),
                         evaluation["auc_ctr"])
        error = pepnet("train", "--pipeline_config_path", job.config,
                       "--model_dir", job.directory / "other",
                       "--metrics_textfile", "/nowhere/run.prom", status=1).stderr
        self.assertIn("--metrics_textfile", error)
        self.assertIn("/nowhere/run.prom", error)


if __name__ == "__main__":
    unittest.main()
