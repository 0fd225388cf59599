#!/usr/bin/env python3
"""Draws the reports of `pepnet bench --json` and of the scripts beside it as PNG files.

Usage: scripts/bench/plot_bench.py [--out_dir runs/bench] REPORT.json ...

A comparison of compare.sh becomes compare.png (speeds) and compare_ratios.png, one of the jobs of
sparse.py sparse.png, one of the policies of churn.py churn.png; a report of `pepnet bench WHAT`
becomes bench_WHAT.png with one panel for each column that has a unit, over the sizes of its first
column. A trace (--trace_path of pepnet train) becomes trace.png: the busiest threads over
--trace_ms milliseconds in the middle. Plans (`pepnet plan --up_to_workers --json`) become plan.png:
predicted throughput over workers, one line per file, marked by what binds. Needs matplotlib;
compare.sh installs it.
"""
import argparse
import collections
import json
import pathlib
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

CONTESTANTS = {"eager": "eager PyTorch", "compile": "torch.compile",
               "torchrec": "TorchRec + FBGEMM", "pepnet": "pepnet"}
VARIANTS = {"routed": "example config", "no_weights": "no task-space\nweights",
            "every_row": "every row\neverywhere"}
COLOURS = {"eager": "#9aa5b1", "compile": "#6b7a8c", "torchrec": "#3e4c5c", "pepnet": "#d1495b"}
SPARSE = {"eager": ("eager EmbeddingBag, Adagrad", "#9aa5b1"),
          "fbgemm": ("FBGEMM, Adagrad", "#3e4c5c"),
          "adagrad_made": ("pepnet, Adagrad, rows being made", "#edae9f"),
          "adagrad_exist": ("pepnet, Adagrad, rows exist", "#d1495b"),
          "fbgemm_rowwise": ("FBGEMM, rowwise Adagrad", "#6b7a8c"),
          "rowwise_made": ("pepnet, rowwise, rows being made", "#f2cf8f"),
          "rowwise_exist": ("pepnet, rowwise, rows exist", "#d08a1d")}
TARGETS = {"routed": 2.5, "no_weights": 1.4, "every_row": 1.15}


def save(figure, path, rect=None):
    """`rect`: the part of the figure that its panels fill; None: all of it."""
    figure.tight_layout(rect=rect)
    figure.savefig(path, dpi=80)
    plt.close(figure)
    print(path)


def errors(spread):
    return [[spread["median"] - spread["least"]], [spread["most"] - spread["median"]]]


def grouped_bars(axes, variants, names, spread_of):
    width = 0.8 / max(len(names), 1)
    for i, name in enumerate(names):
        for j, variant in enumerate(variants):
            spread = spread_of(variant, name)
            if spread is None:
                continue
            at = j + (i - (len(names) - 1) / 2) * width
            axes.bar(at, spread["median"], width * 0.92, color=COLOURS[name],
                     label=CONTESTANTS[name] if j == 0 else None)
            axes.errorbar(at, spread["median"], yerr=errors(spread), color="black", linewidth=1,
                          capsize=2)
    axes.set_xticks(range(len(variants)), [VARIANTS[variant] for variant in variants])
    axes.spines[["top", "right"]].set_visible(False)


def plot_comparison(report, out_dir):
    peers = report["peers"]
    figure, axes = plt.subplots(figsize=(8, 4))
    grouped_bars(axes, list(peers), list(CONTESTANTS),
                 lambda variant, name: peers[variant]["rate"].get(name))
    axes.set_ylabel("samples/s")
    axes.set_title(f"Training, one process, {report['machine']['cores']} cores, "
                   f"batch {report['batch_size']}: median, least, most")
    axes.legend(frameon=False)
    save(figure, out_dir / "compare.png")
    figure, axes = plt.subplots(figsize=(8, 4))
    names = [name for name in CONTESTANTS if name != "pepnet"]
    grouped_bars(axes, list(peers), names, lambda variant, name: peers[variant]["ratio"].get(name))
    for j, variant in enumerate(peers):
        axes.hlines(TARGETS[variant], j - 0.45, j + 0.45, color=COLOURS["pepnet"], linestyle="--",
                    label="target against the best" if j == 0 else None)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_ylabel("pepnet's speed / peer's, same round")
    axes.legend(frameon=False)
    save(figure, out_dir / "compare_ratios.png")


def plot_sparse(report, out_dir):
    """Speeds of the jobs limited by rows, and pepnet's ratios to the best peer."""
    jobs = report["peers"]
    figure, (speeds, ratios) = plt.subplots(1, 2, figsize=(10, 3.8), width_ratios=[2, 1])
    names = [name for name in SPARSE if any(name in job["rates"] for job in jobs.values())]
    width = 0.8 / len(names)
    for i, name in enumerate(names):
        for j, job in enumerate(jobs.values()):
            if name not in job["rates"]:
                continue
            at, rate = j + (i - (len(names) - 1) / 2) * width, job["rates"][name]
            speeds.bar(at, rate["median"], width * 0.92, color=SPARSE[name][1],
                       label=SPARSE[name][0] if j == 0 else None)
            speeds.errorbar(at, rate["median"], yerr=errors(rate), color="black", linewidth=1,
                            capsize=2)
    speeds.set_ylabel("samples/s")
    speeds.legend(frameon=False, fontsize=8)
    kinds = [name for name in SPARSE if any(name in job["ratio"] for job in jobs.values())]
    for i, kind in enumerate(kinds):
        for j, job in enumerate(jobs.values()):
            if kind not in job["ratio"]:
                continue
            at, ratio = j + (i - (len(kinds) - 1) / 2) * 0.2, job["ratio"][kind]
            ratios.bar(at, ratio["median"], 0.18, color=SPARSE[kind][1])
            ratios.errorbar(at, ratio["median"], yerr=errors(ratio), color="black", linewidth=1,
                            capsize=2)
    ratios.axhline(1, color="black", linewidth=0.8)
    ratios.set_ylabel("pepnet / best peer, same rule", fontsize=9)
    for axes in (speeds, ratios):
        axes.set_xticks(range(len(jobs)), [f"job {name}" for name in jobs])
        axes.spines[["top", "right"]].set_visible(False)
    save(figure, out_dir / "sparse.png")


def plot_churn(report, out_dir):
    """What each policy of a table kept from day to day."""
    figure, panels = plt.subplots(1, 3, figsize=(11, 3.8))
    colours = ["black", *plt.get_cmap("tab10").colors]
    first = report["policies"][0]
    measures = {
        "lookups with a row, next day": lambda policy: policy["hit_rate_by_day"],
        f"AUC of a day before its training, less \"{first['policy']}\"": lambda policy: [
            (day, value - base) for day, (value, base)
            in enumerate(zip(policy["auc_by_day"], first["auc_by_day"]), 1)],
        "memory of the process, GB": lambda policy: [
            (day, size / 1e9) for day, size in policy["bytes_by_day"]]}
    for axes, (title, points_of) in zip(panels, measures.items()):
        for policy, colour in zip(report["policies"], colours):
            axes.plot(*zip(*points_of(policy)), color=colour, linewidth=1.2,
                      label=policy["policy"])
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("day", fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    panels[2].set_ylim(bottom=0)
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, fontsize=8, ncols=3,
                  loc="lower center")
    save(figure, out_dir / "churn.png", rect=(0, 0.2, 1, 1))


def number_of(cell):
    return cell["median"] if isinstance(cell, dict) else cell


def plot_bench(report, out_dir):
    """One panel per measured column, one line per value of the text columns."""
    size = report["columns"][0]["name"]
    measured = [c for c in report["columns"][1:]
                if c["unit"] and isinstance(number_of(report["rows"][0][c["name"]]), (int, float))]
    texts = [c["name"] for c in report["columns"] if isinstance(report["rows"][0][c["name"]], str)]
    lines = collections.defaultdict(list)
    for row in report["rows"]:
        lines[" ".join(row[name] for name in texts)].append(row)
    figure, panels = plt.subplots(1, len(measured), figsize=(2.6 * len(measured), 2.8),
                                  squeeze=False)
    for axes, column in zip(panels[0], measured):
        for label, rows in lines.items():
            x = [row[size] for row in rows]
            cells = [row[column["name"]] for row in rows]
            axes.plot(x, [number_of(cell) for cell in cells], marker="o", label=label or None)
            for at, cell in zip(x, cells):
                if isinstance(cell, dict):
                    axes.errorbar(at, cell["median"], yerr=errors(cell), color="black", linewidth=1,
                                  capsize=2)
        if len(report["rows"]) > 1:
            axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_title(f"{column['name']} ({column['unit']})", fontsize=9)
        axes.set_xlabel(f"{size} ({report['columns'][0]['unit']})", fontsize=8)
    if texts:
        panels[0][0].legend(frameon=False, fontsize=8)
    save(figure, out_dir / f"bench_{report['bench']}.png")


def plot_trace(report, out_dir, trace_ms):
    events = [event for event in report["traceEvents"] if event["ph"] == "X"]
    names = {event["tid"]: event["args"]["name"] for event in report["traceEvents"]
             if event["name"] == "thread_name"}
    if not events:
        sys.exit("the trace holds no events")
    updates = sorted(event["ts"] for event in events if event["name"] == "update")
    begin = updates[len(updates) // 2] if updates else events[len(events) // 2]["ts"]
    end = begin + 1000 * trace_ms
    shown = [event for event in events if event["ts"] < end and event["ts"] + event["dur"] > begin]
    threads = sorted({event["tid"] for event in shown},
                     key=lambda tid: (names[tid] != "worker", names[tid]))
    # A span that encloses others says less than the enclosed ones.
    kinds = sorted({event["name"] for event in shown} - {"compute", "read"})
    colours = dict(zip(kinds, plt.get_cmap("tab20").colors))
    figure, axes = plt.subplots(figsize=(10, 0.6 * len(threads) + 2))
    for kind in kinds:
        for place, tid in enumerate(threads):
            spans = [((event["ts"] - begin) / 1000, event["dur"] / 1000)
                     for event in shown if event["tid"] == tid and event["name"] == kind]
            axes.broken_barh(spans, (place - 0.4, 0.8), color=colours[kind], label=None)
        axes.plot([], [], color=colours[kind], linewidth=6, label=kind)
    axes.set_yticks(range(len(threads)), [names[tid] or "thread" for tid in threads])
    axes.set_xlim(0, trace_ms)
    axes.invert_yaxis()
    axes.set_xlabel("ms")
    axes.legend(frameon=False, ncols=6, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.18))
    save(figure, out_dir / "trace.png")


def plot_plans(plans, out_dir):
    """plans: {name: the JSON of pepnet plan}."""
    markers = {"worker": "o", "link": "s", "server": "^", "reader": "D"}
    figure, axes = plt.subplots(figsize=(7, 4.2))
    for name, plan in plans.items():
        points = plan["growth"]
        line = axes.plot([p["workers"] for p in points],
                         [p["samples_per_second"] for p in points], label=name)[0]
        for p in points:
            axes.plot(p["workers"], p["samples_per_second"], markers[p["bound_by"]],
                      color=line.get_color(), markersize=5)
    first = next(iter(plans.values()))["growth"]
    axes.plot([p["workers"] for p in first],
              [p["samples_per_second"] / p["efficiency"] for p in first], ":", color="grey",
              label="as many times one worker")
    for bound, marker in markers.items():
        axes.plot([], [], marker, color="black", markersize=5, label=f"bound by the {bound}")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("workers")
    axes.set_ylabel("predicted samples/s")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    save(figure, out_dir / "plan.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", nargs="+", type=pathlib.Path)
    parser.add_argument("--out_dir", type=pathlib.Path, default=pathlib.Path("runs/bench"))
    parser.add_argument("--trace_ms", type=float, default=500)
    args = parser.parse_args()
    args.out_dir.mkdir(parents=True, exist_ok=True)
    plans = {}
    for path in args.reports:
        report = json.loads(path.read_text())
        if "traceEvents" in report:
            plot_trace(report, args.out_dir, args.trace_ms)
        elif "bench" in report:
            plot_bench(report, args.out_dir)
        elif report.get("what") == "sparse":
            if "peers" in report:  # not with --parts mpi alone
                plot_sparse(report, args.out_dir)
        elif report.get("what") == "churn":
            plot_churn(report, args.out_dir)
        elif "peers" in report:
            plot_comparison(report, args.out_dir)
        elif "growth" in report:
            plans[path.stem] = report
        elif "machine" not in report:
            sys.exit(f"{path} is neither a report of `pepnet bench`, nor of compare.sh or "
                     "churn.py, nor a trace, nor a plan with --up_to_workers")
    if plans:
        plot_plans(plans, args.out_dir)


if __name__ == "__main__":
    main()
