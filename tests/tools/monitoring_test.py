"""Compares scripts/monitoring with a run's --metrics_textfile: every series that the dashboard and
the alerts read exists."""

import json
import os
import pathlib
import re
import tempfile
import unittest

import yaml
from small_job import SmallJob, pepnet

MONITORING = pathlib.Path(os.environ["PEPNET_SOURCE_DIR"]) / "scripts/monitoring"
# A metric of ours with its selector, if it has one.
SELECTION = re.compile(r"(pepnet_\w+)(?:\{([^}]*)\})?")


class MonitoringTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory() as scratch:
            job = SmallJob(scratch)
            textfile = job.directory / "run.prom"
            pepnet("train", "--pipeline_config_path", job.config, "--metrics_textfile", textfile)
            cls.series = {}  # metric -> the values of each of its labels
            for line in textfile.read_text().splitlines():
                if line.startswith("#"):
                    continue
                name, labels = re.match(r"(\w+)\{(.*)\} ", line).groups()
                for label, value in re.findall(r'(\w+)="([^"]*)"', labels):
                    cls.series.setdefault(name, {}).setdefault(label, set()).add(value)

    def check(self, expression):
        selections = SELECTION.findall(expression)
        self.assertTrue(selections, expression)
        for name, selector in selections:
            self.assertIn(name, self.series, expression)
            for label, how, value in re.findall(r'(\w+)(=~|=)"([^"]*)"', selector):
                self.assertIn(label, self.series[name], expression)
                known = self.series[name][label] | (
                    {"done", "failed", "running"} if label == "state" else set())
                if how == "=":
                    self.assertIn(value, known, expression)
                elif not value.startswith("$"):
                    self.assertTrue(any(re.fullmatch(value, one) for one in known), expression)
        self.assertEqual(expression.count("("), expression.count(")"), expression)

    def test_dashboard(self):
        dashboard = json.loads((MONITORING / "grafana.json").read_text())
        variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
        self.check(variables["run"]["query"]["query"])
        shown, places = set(), set()
        for panel in dashboard["panels"]:
            self.assertTrue(panel["title"] and panel["description"])
            at = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"])
                     for y in range(at["y"], at["y"] + at["h"])}
            self.assertFalse(cells & places, f"{panel['title']} lies over another panel")
            self.assertLessEqual(at["x"] + at["w"], 24)
            places |= cells
            for target in panel["targets"]:
                self.check(target["expr"])
                names = [name for name, _ in SELECTION.findall(target["expr"])]
                shown.update(names)
                for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                    self.assertIn(label, self.series[names[0]], panel["title"])
        self.assertEqual(len({panel["id"] for panel in dashboard["panels"]}),
                         len(dashboard["panels"]))
        self.assertEqual(set(self.series) - shown, {"pepnet_eval_step"},
                         "a series that no panel shows")

    def test_alerts(self):
        groups = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        self.assertEqual(len({rule["alert"] for rule in rules}), len(rules))
        for rule in rules:
            self.check(rule["expr"])
            self.assertIn(rule["labels"]["severity"], ("info", "warning", "critical"))
            for text in (rule["annotations"]["summary"], rule["annotations"]["description"]):
                labels = {"run", "instance", "file"}.union(
                    *(self.series[name] for name, _ in SELECTION.findall(rule["expr"])))
                for label in re.findall(r"\$labels\.(\w+)", text):
                    self.assertIn(label, labels, rule["alert"])


if __name__ == "__main__":
    unittest.main()
