#!/usr/bin/env python3
"""Usage: tests/scripts/compare_scripts_test.py REPOSITORY PEPNET

The comparison with peers (scripts/bench) at a tiny size: the plain PyTorch peer starts from
pepnet's weights and must have its losses, every part runs, and the tables say what was measured.
TorchRec, torch.compile and plots need packages that the project does not; where matplotlib is at
hand the plots are drawn too.
"""
import importlib.util
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT, PEPNET = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])


def run(*command, status=0):
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True)
    if done.returncode != status:
        sys.exit(f"{command} ended with status {done.returncode}, expected {status}:\n"
                 f"{done.stdout}\n{done.stderr}")
    return done.stdout + done.stderr


def expect(condition, what):
    if not condition:
        sys.exit(f"FAILED: {what}")
    print(f"ok     {what}")


def main():
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        data, work = scratch / "data", scratch / "work"
        run(ROOT / "scripts/data/make_taobao_like.py", "--out_dir", data, "--rows", 2000,
            "--test_rows", 200, "--files", 2)
        compare = [ROOT / "scripts/bench/compare.py", "--pepnet", PEPNET, "--data_dir", data,
                   "--work_dir", work, "--rounds", 1, "--steps", 2, "--warmup_steps", 1,
                   "--batch_size", 64, "--max_foreign_percent", 100]
        page = scratch / "page.md"
        page.write_text("before\n<!-- compare -->\nold\n<!-- /compare -->\nafter\n")
        output = run(*compare, "--docs", page, "--threads", 1, "--peers", "eager",
                     "--variants", "routed,every_row", "--parts", "check,peers,reader")
        expect("has pepnet's first three losses" in output,
               "the PyTorch peer and pepnet train the same model")
        result = json.loads((work / "compare.json").read_text())
        for variant in ("routed", "every_row"):
            rates = result["peers"][variant]["rate"]
            expect(rates["eager"]["median"] > 0 and rates["pepnet"]["median"] > 0,
                   f"{variant}: both have a speed")
            ratio = result["peers"][variant]["ratio"]["eager"]["median"]
            expect(abs(ratio - rates["pepnet"]["median"] / rates["eager"]["median"]) < 1e-9,
                   f"{variant}: the ratio is theirs")
        expect(result["reader"]["csv"]["share"] > 0, "the reader has a share")
        text = page.read_text()
        expect(text.startswith("before\n") and text.endswith("after\n")
               and "old" not in text and "| pepnet |" in text,
               "the page holds the tables of this run")
        expect("by processor time" in text, "one thread: ratios by processor time too")
        table = (work / "compare.md").read_text()
        expect("| pepnet |" in table and "not to be had" in table,
               "the table names who ran and who did not")
        routed, every_row = ((work / f"{v}.config").read_text() for v in ("routed", "every_row"))
        expect("task_domain_num" in routed and "task_domain_num" not in every_row,
               "every_row has no domain towers")
        expect("task_space" in routed and "task_space" not in every_row,
               "every_row has no task-space weights")
        scaling = [ROOT / "scripts/bench/scaling.py", "--program", PEPNET,
                   "--pipeline_config_path", work / "routed.config",
                   "--train_input_path", data / "train-*.parquet",
                   "--rounds", 1, "--steps", 2, "--out_dir", work / "scaling"]
        run(*scaling, "--mode", "strong", "--workers", "1,2")
        one, two = json.loads((work / "scaling/scaling.json").read_text())["rows"]
        expect(two["workers"] == 2 and two["rows_per_worker"] == one["rows_per_worker"] // 2,
               "strong scaling shares the batch")
        expect(abs(two["efficiency"] - two["samples_per_second"]["median"]
                   / one["samples_per_second"]["median"] / 2) < 1e-9,
               "efficiency is relative to as many times one worker")
        expect(two["slowest_worker"] in (0, 1) and two["slowest_times_mean"] >= 1,
               "the slowest worker is named")
        expect(not list((work / "scaling").glob("scratch*")), "runs leave nothing behind")
        expect("expected 1" in run(*scaling, "--workers", "2,4", status=1),
               "scaling needs one worker to compare with")
        growth = run(ROOT / "scripts/bench/growth.py", "--pepnet", PEPNET, "--data_dir", data,
                     "--work_dir", work / "growth", "--rows", "500,3000", "--batch_sizes", 64,
                     "--rounds", 2, "--steps", 2)
        small, large = json.loads((work / "growth/growth.json").read_text())["speeds"]["64"]
        expect(len(small) == len(large) == 2 and min(small + large) > 0 and "| 64 |" in growth,
               "both tables were trained in turn")
        reports = {}
        for bench, flags in {
                "train": ["--pipeline_config_path", work / "routed.config",
                          "--train_input_path", data / "train-*.parquet", "--batch_sizes", 64,
                          "--steps", 2, "--scratch_dir", work / "scratch"],
                "service": ["--rows", 1000, "--keys", 100],
                "allreduce": ["--floats", 1000]}.items():
            reports[bench] = work / f"{bench}.json"
            done = subprocess.run([str(w) for w in (PEPNET, "bench", bench, *flags, "--quick",
                                                    "--json", reports[bench])],
                                  capture_output=True)
            expect(done.returncode == 0, f"bench {bench} leaves a report")
        reading = run(ROOT / "scripts/bench/reading.py", "--pepnet", PEPNET, "--data_dir", data,
                      "--work_dir", work / "reading",
                      "--calibration", ",".join(map(str, reports.values())),
                      "--rows", 1000, "--batch_size", 16, "--workers", "1,3", "--rounds", 1)
        expect(reading.count("| calibration |") == 4 and reading.count("| 3 |") == 4,
               "four ways to read, predicted and measured")
        page.write_text(page.read_text() + "<!-- limits -->\nold\n<!-- /limits -->\n")
        text = page.read_text()
        short = (f"import sys; sys.path.insert(0, {str(ROOT / 'scripts/bench')!r}); "
                 "import compare; compare.LIMITS = [(['table', '--rows', '20000'], "
                 "[('memory', None, '')])]; compare.main()")
        run("-c", short, *compare[1:], "--docs", page, "--parts", "limits")
        expect(page.read_text().startswith(text[:text.index("<!-- limits")])
               and "| table | 20000 rows | memory |" in page.read_text()
               and json.loads((work / "compare.json").read_text()) == result,
               "limits alone leave the comparison as it is")
        equal = [*compare, "--parts", "peers", "--variants", "routed", "--peers", "eager",
                 "--peers_avx512"]
        if "avx512vl" in pathlib.Path("/proc/cpuinfo").read_text():
            expect("The peers were given AVX-512 products." in run(*equal),
                   "the table says that the peers have equal products")
            answer = (f"import sys; sys.path.insert(0, {str(ROOT / 'scripts/bench')!r})\n"
                      "import pathlib, subprocess, support\n"
                      f"support.give_peers_avx512(pathlib.Path({str(work)!r}))\n"
                      "support.run([sys.executable, '-c', 'import ctypes; "
                      "assert ctypes.CDLL(None).mkl_serv_intel_cpu_true() == 1'])")
            run("-c", answer)
            blank = [*equal, "--work_dir", scratch / "a b"]
            expect("give another --work_dir" in run(*blank, status=1),
                   "a path that cannot be preloaded is refused")
        else:
            expect("this processor has no avx512" in run(*equal, status=1),
                   "without AVX-512 --peers_avx512 is refused")
        expect("unknown word 'x'" in run(*compare, "--variants", "x", status=1),
               "an unknown variant is named")
        wire = run(ROOT / "scripts/bench/wire.py", "--pepnet", PEPNET, "--data_dir", data,
                   "--work_dir", work / "wire", "--tables", "bytes", "--batch_sizes", "64,256")
        totals = [float(line.split(" = ")[1].split(" ")[0])
                  for line in wire.splitlines() if " = " in line]
        expect(len(totals) == 5 and totals == sorted(totals, reverse=True),
               "every measure takes bytes off the wire")
        types = run(ROOT / "scripts/bench/row_types.py", "--pepnet", PEPNET, "--rows", 3000,
                    "--test_rows", 1000, "--seeds", 1, "--threads", 1,
                    "--work_dir", work / "row_types")
        sizes = [float(line.split("|")[2]) for line in types.splitlines()
                 if line.startswith(("| FP", "| BF", "| INT"))]
        expect(sizes == [128, 96, 96, 84, 96, 64, 52],
               f"a row of each type takes its bytes with adagrad's state: {sizes}")
        churn = run(ROOT / "scripts/bench/churn.py", "--pepnet", PEPNET, "--days", 4,
                    "--steps_per_day", 8, "--only", "LRU", "--work_dir", work / "churn")
        kept = [line.split("|") for line in churn.splitlines() if line.startswith("| LRU")]
        expect(len(kept) == 2 and all(0 < int(row[2].replace(",", "")) < 50_000 for row in kept),
               f"tables stay below the limit while ids come and go: {kept}")
        sparse = [ROOT / "scripts/bench/sparse.py", "--pepnet", PEPNET,
                  "--work_dir", work / "sparse", "--jobs", "C", "--rounds", 1, "--rows", 4096,
                  "--steps", 2, "--threads", 1, "--peers", "eager", "--max_foreign_percent", 100]
        page.write_text("<!-- sparse -->\nold\n<!-- /sparse -->\n")
        output = run(*sparse, "--parts", "check,peers,stages", "--docs", page)
        expect("job C, eager EmbeddingBag, Adagrad has pepnet's first three losses" in output,
               "jobs of rows: the peer trains the same model")
        rates = json.loads((work / "sparse/sparse.json").read_text())["peers"]["C"]
        expect(abs(rates["ratio"]["adagrad_exist"]["median"]
                   - rates["rates"]["adagrad_exist"]["median"]
                   / rates["rates"]["eager"]["median"]) < 1e-9
               and "not to be had" in page.read_text() and "old" not in page.read_text(),
               "jobs of rows: ratio and table")
        stages = json.loads((work / "sparse/sparse.json").read_text())["stages"]["C"]
        expect(list(stages)[-1] == "all: rows"
               and 0 < stages["all: rows"]["share"] < stages["update: rows"]["share"]
               and "| all: rows |" in page.read_text(), "jobs of rows: stages beside their limits")
        expect("part mpi measures job A" in run(*sparse, "--parts", "mpi", status=1),
               "jobs of rows: mpi needs job A")
        few = [ROOT / "scripts/bench/peers.py", "--peer", "eager", "--data_dir", data,
               "--batch_size", 64, "--steps", 100]
        expect("rows from scripts/data/make_taobao_like.py" in run(*few, status=1),
               "too few rows are said")
        if importlib.util.find_spec("matplotlib"):
            output = run(ROOT / "scripts/bench/plot_bench.py", "--out_dir", scratch / "plots",
                         work / "compare.json")
            expect((scratch / "plots/compare.png").stat().st_size > 1000, "the comparison is drawn")


if __name__ == "__main__":
    main()
