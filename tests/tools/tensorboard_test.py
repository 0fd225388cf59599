"""Training's event files, read with TensorBoard's own reader."""

import json
import math
import tempfile
import unittest

from small_job import SmallJob, pepnet
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def read(directory):
    events = EventAccumulator(str(directory))
    events.Reload()
    tags = events.Tags()["scalars"]
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags}


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
            self.assertTrue(math.isclose(value, expected, rel_tol=1e-6, abs_tol=1e-12), (value, expected))

    def assert_log_and_events_agree(self, job):
        log = lines(job.model_dir / "metrics.jsonl")
        steps = read(job.model_dir)
        for tag, key in (("loss/binary_cross_entropy_ctr", "binary_cross_entropy_ctr"), ("loss/total", "total_loss"),
                         ("lr/g0", "lr_sparse"), ("lr/g1", "lr_dense"), ("metric/auc_ctr", "auc_ctr"),
                         ("speed/samples_per_second", "samples_per_second")):
            self.assert_same(steps[tag], [(line["step"], line[key]) for line in log if key in line])
        self.assertEqual([line["step"] for line in log], [5, 10, 15, 20])
        self.assertIn("seconds/compute", steps)
        evaluations = lines(job.model_dir / "train_eval_result.txt")
        self.assertEqual([line["global_step"] for line in evaluations], [10, 20])
        validation = read(job.model_dir / "eval_val")
        for name in ("auc_ctr", "auc_cvr", "binary_cross_entropy_cvr"):
            self.assert_same(validation[f"metric/{name}"], [(line["global_step"], line[name]) for line in evaluations])

    def test_a_run_and_its_continuation(self):
        job = SmallJob(self.scratch)
        pepnet("train", "--pipeline_config_path", job.config)
        self.assert_log_and_events_agree(job)
        self.assertNotIn("global_gradient_norm", read(job.model_dir))
        # From step 10 again: what came after it is of a run that was abandoned, also for a reader that has seen it.
        before = EventAccumulator(str(job.model_dir))
        before.Reload()
        pepnet("train", "--pipeline_config_path", job.config, "--continue_train", "--checkpoint_path",
               job.model_dir / "model.ckpt-10")
        self.assert_log_and_events_agree(job)
        before.Reload()
        self.assertEqual([event.step for event in before.Scalars("loss/total")], [5, 10, 15, 20])

    def test_what_is_asked_for(self):
        job = SmallJob(self.scratch, 'tensorboard_summaries: ["global_gradient_norm", "gradient_norm"]')
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
        samples = dict(line.rsplit(" ", 1) for line in textfile.read_text().splitlines() if not line.startswith("#"))
        last = lines(job.model_dir / "metrics.jsonl")[-1]
        run = f'run="{job.model_dir.resolve()}"'
        self.assertEqual(float(samples[f"pepnet_step{{{run}}}"]), 20)
        self.assertEqual(float(samples[f'pepnet_loss{{{run},name="total"}}']), last["total_loss"])
        self.assertEqual(samples[f'pepnet_run_state{{{run},state="done"}}'], "1")
        self.assertEqual(samples[f'pepnet_run_state{{{run},state="running"}}'], "0")
        evaluation = lines(job.model_dir / "train_eval_result.txt")[-1]
        self.assertEqual(float(samples[f'pepnet_eval_metric{{{run},name="auc_ctr"}}']), evaluation["auc_ctr"])
        error = pepnet("train", "--pipeline_config_path", job.config, "--model_dir", job.directory / "other",
                       "--metrics_textfile", "/nowhere/run.prom", status=1).stderr
        self.assertIn("--metrics_textfile", error)
        self.assertIn("/nowhere/run.prom", error)


if __name__ == "__main__":
    unittest.main()
