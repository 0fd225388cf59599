#!/usr/bin/env python3
"""Draws what training runs logged: losses, metrics, throughput and stage times, as PNG.

Usage: scripts/plot_run.py --output run.png [--title TEXT] MODEL_DIR...

Reads metrics.jsonl and train_eval_result.txt of each MODEL_DIR; several runs share the panels, a
colour per run. Stage times are seconds of worker 0 per logged interval, stacked, of the first run.
Needs matplotlib: `scripts/setup.sh --tests` makes an environment that has it ($PEPNET_VENV-tools).
"""

import argparse
import json
import pathlib
import sys


def read_lines(path):
    """Objects of a file of JSON lines; a line that a crash cut short ends it."""
    lines = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines


class Run:
    def __init__(self, directory):
        self.name = directory.name or str(directory)
        self.steps = read_lines(directory / "metrics.jsonl")
        self.evaluations = read_lines(directory / "train_eval_result.txt")
        if not self.steps:
            sys.exit(f"plot_run.py: {directory} holds no metrics.jsonl with a logged step; "
                     "pass the model_dir of a run")

    def series(self, key, lines=None, step="step"):
        points = [(line[step], line[key]) for line in (self.steps if lines is None else lines)
                  if line.get(key) is not None]
        return [s for s, _ in points], [value for _, value in points]

    def evaluation(self, key):
        return self.series(key, self.evaluations, "global_step")


def is_loss(name):
    return "cross_entropy" in name or "_loss" in name


def names_of(lines, wanted, skip=()):
    """Names in order of appearance."""
    found = {name: None for line in lines for name in line if name not in skip and wanted(name)}
    return list(found)


def draw(runs, output, title):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, ((losses, metrics), (speed, stages)) = plt.subplots(2, 2, figsize=(13, 8),
                                                                layout="constrained")
    styles = ["-", "--", ":", "-."]
    for number, run in enumerate(runs):
        colour = f"C{number % 10}"
        for i, name in enumerate(names_of(run.steps, is_loss)):
            losses.plot(*run.series(name), styles[i % 4], color=colour, label=f"{run.name}: {name}")
        for i, name in enumerate(names_of(run.evaluations, lambda n: not is_loss(n),
                                          skip=("global_step",))):
            metrics.plot(*run.evaluation(name), styles[i % 4], marker="o", color=colour,
                         label=f"{run.name}: {name}")
        for i, name in enumerate(names_of(run.steps, lambda n: n.startswith("auc_"))):
            metrics.plot(*run.series(name), styles[i % 4], color=colour, alpha=0.4,
                         label=f"{run.name}: {name} (training batches)")
        speed.plot(*run.series("samples_per_second"), color=colour, label=run.name)
    first = runs[0]
    totals = [line["stage_seconds"] for line in first.steps]
    names = names_of(totals, lambda _: True)
    # A total that has become smaller is that of a run that was continued, which counts from 0.
    shares = [[now.get(name, 0)
               - (then.get(name, 0) if then.get(name, 0) <= now.get(name, 0) else 0)
               for now, then in zip(totals, [{}] + totals[:-1])] for name in names]
    stages.stackplot([line["step"] for line in first.steps], shares, labels=names)
    for panel, name, unit in ((losses, "training losses", "loss"),
                              (metrics, "metrics of the evaluations", ""),
                              (speed, "throughput", "samples/s"),
                              (stages, f"where worker 0 spends its time: {first.name}", "s")):
        panel.set_title(name)
        panel.set_xlabel("step")
        panel.set_ylabel(unit)
        if panel.get_legend_handles_labels()[0]:
            panel.legend(fontsize="x-small")
    speed.set_ylim(bottom=0)
    figure.suptitle(title)
    figure.savefig(output, format="png", dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dirs", type=pathlib.Path, nargs="+", metavar="MODEL_DIR")
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--title", default="")
    args = parser.parse_args()
    runs = [Run(directory) for directory in args.model_dirs]
    try:
        draw(runs, args.output, args.title)
    except ImportError as error:
        sys.exit(f"plot_run.py: {error}; run it with $PEPNET_VENV-tools/bin/python3 "
                 "(scripts/setup.sh --tests makes it)")


if __name__ == "__main__":
    main()
