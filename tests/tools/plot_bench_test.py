"""scripts/bench/plot_bench.py on real reports, traces and plans, and on what is none."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

from small_job import SmallJob, pepnet

SCRIPT = pathlib.Path(os.environ["PEPNET_SOURCE_DIR"]) / "scripts/bench/plot_bench.py"


def plot(*arguments):
    return subprocess.run([sys.executable, SCRIPT, *map(str, arguments)],
                          capture_output=True, text=True, timeout=120)


class PlotBenchTest(unittest.TestCase):
    def test_reports_traces_and_plans(self):
        with tempfile.TemporaryDirectory() as scratch:
            scratch = pathlib.Path(scratch)
            job = SmallJob(scratch)
            trace, table, plan = (scratch / "trace.json", scratch / "table.json",
                                  scratch / "plan.json")
            pepnet("train", "--pipeline_config_path", job.config, "--trace_path", trace)
            pepnet("bench", "table", "--quick", "--rounds", 2, "--rows", "1000,2000",
                   "--keys", 500, "--json", table)
            plan.write_text(json.dumps({"growth": [
                {"workers": 1, "samples_per_second": 100, "efficiency": 1.0,
                 "bound_by": "worker"},
                {"workers": 2, "samples_per_second": 150, "efficiency": 0.75,
                 "bound_by": "link"}]}))
            result = plot("--out_dir", scratch / "plots", trace, table, plan)
            self.assertEqual(result.returncode, 0, result.stderr)
            for name in ("trace.png", "bench_table.png", "plan.png"):
                self.assertEqual((scratch / "plots" / name).read_bytes()[:8],
                                 b"\x89PNG\r\n\x1a\n", name)

    def test_something_else(self):
        with tempfile.TemporaryDirectory() as scratch:
            path = pathlib.Path(scratch) / "other.json"
            path.write_text("{}")
            result = plot("--out_dir", scratch, path)
            self.assertNotEqual(result.returncode, 0)
            self.assertIn("neither a report", result.stderr)


if __name__ == "__main__":
    unittest.main()
