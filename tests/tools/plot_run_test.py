"""scripts/plot_run.py on real runs, and on what is none."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

from small_job import SmallJob, pepnet

SCRIPT = pathlib.Path(os.environ["PEPNET_SOURCE_DIR"]) / "scripts/plot_run.py"


def plot(*arguments):
    return subprocess.run([sys.executable, SCRIPT, *map(str, arguments)],
                          capture_output=True, text=True, timeout=120)


class PlotRunTest(unittest.TestCase):
    def test_one_run_and_two(self):
        with tempfile.TemporaryDirectory() as scratch:
            job = SmallJob(scratch)
            second = job.directory / "second"
            pepnet("train", "--pipeline_config_path", job.config)
            pepnet("train", "--pipeline_config_path", job.config, "--model_dir", second,
                   "--seed", 2)
            with open(second / "metrics.jsonl", "a") as log:
                log.write('{"step": 25, "lo')  # a crash in the middle of a line
            sizes = []
            for runs in ([job.model_dir], [job.model_dir, second]):
                image = job.directory / "run.png"
                result = plot("--output", image, *runs)
                self.assertEqual(result.returncode, 0, result.stderr)
                self.assertEqual(image.read_bytes()[:8], b"\x89PNG\r\n\x1a\n")
                sizes.append(image.stat().st_size)
            self.assertGreater(sizes[1], sizes[0], "the second run shows")

    def test_no_run(self):
        with tempfile.TemporaryDirectory() as scratch:
            result = plot("--output", pathlib.Path(scratch) / "run.png", scratch)
            self.assertNotEqual(result.returncode, 0)
            self.assertIn("holds no metrics.jsonl", result.stderr)
            self.assertFalse((pathlib.Path(scratch) / "run.png").exists())


if __name__ == "__main__":
    unittest.main()
