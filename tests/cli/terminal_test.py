#!/usr/bin/env python3
"""Usage: terminal_test.py PEPNET

What a person sees who trains with PEPNET on a terminal: the program runs under a pseudo-terminal of
several widths, and what it writes is shown by a small terminal of our own, which wraps and
overwrites as a real one does. Without a terminal the lines of the log are counted.
"""
import fcntl
import json
import os
import pathlib
import pty
import random
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest

import pyarrow.csv as pv
import pyarrow.parquet as pq

PEPNET = sys.argv[1]
EPOCHS = 3
ROWS = 4000
BATCH = 50

CONFIG = """
train_input_path: "{0}/train.{3}"
eval_input_path: "{0}/eval.{3}"
model_dir: "{0}/model"
train_config {{
  sparse_optimizer {{ adagrad_optimizer {{ lr: 0.05 }} constant_learning_rate {{}} }}
  dense_optimizer {{ adam_optimizer {{ lr: 0.001 }} constant_learning_rate {{}} }}
  num_epochs: {1}
  save_checkpoints_epochs: 1
  log_step_count_steps: 5
}}
data_config {{
  batch_size: {2}
  dataset_type: {4}
  with_header: {5}
  fg_mode: FG_DAG
  label_fields: ["like", "love"]
}}
feature_configs {{ id_feature {{
  feature_name: "user" expression: "user:user" num_buckets: 50 embedding_dim: 4 }} }}
feature_configs {{ id_feature {{
  feature_name: "item" expression: "item:item" num_buckets: 40 embedding_dim: 4 }} }}
model_config {{
  feature_groups {{ group_name: "all" feature_names: ["user", "item"] group_type: DEEP }}
  pepnet {{
    task_towers {{ tower_name: "like" label_name: "like" mlp {{ hidden_units: [8] }}
      metrics {{ auc {{}} }} losses {{ binary_cross_entropy {{}} }} }}
    task_towers {{ tower_name: "love" label_name: "love" mlp {{ hidden_units: [8] }}
      metrics {{ auc {{}} }} losses {{ binary_cross_entropy {{}} }} }}
  }}
}}
"""

PROGRESS = re.compile(r"step \d+/(\d+)  \d+ %  epoch \d+/3(  [\d.]+[kM]? rows/s)?(  \d+:\d\d left)?"
                      r"(  like \S+)?(  love \S+)?")
LOG = re.compile(r"[IWE] \d\d:\d\d:\d\d ")


def write_job(directory):
    rng = random.Random(7)
    for name in ("train", "eval"):
        with open(directory / f"{name}.csv", "w") as file:
            file.write("like,love,user,item\n")
            for _ in range(ROWS):
                user, item = rng.randrange(50), rng.randrange(40)
                like = int(rng.random() < 0.2 + 0.6 * ((user * 7 + item * 3) % 10) / 10)
                file.write(f"{like},{int(like and rng.random() < 0.5)},{user},{item}\n")
        pq.write_table(pv.read_csv(directory / f"{name}.csv"), directory / f"{name}.parquet")
    for kind, dataset, header in (("csv", "CsvDataset", "true"),
                                  ("parquet", "ParquetDataset", "false")):
        (directory / f"{kind}.config").write_text(
            CONFIG.format(directory, EPOCHS, BATCH, kind, dataset, header))


class Terminal:
    """Rows of characters, as `columns` of them fit: CR, LF, erase to the end of the line, and
    wrapping."""

    def __init__(self, columns):
        self.columns, self.rows, self.row, self.column = columns, [[]], 0, 0

    def feed(self, text):
        for piece in re.findall(r"\x1b\[K|\r|\n|[^\x1b\r\n]|\x1b", text):
            if piece == "\r":
                self.column = 0
            elif piece == "\n":
                self.row += 1
                if self.row == len(self.rows):
                    self.rows.append([])
            elif piece == "\x1b[K":
                del self.rows[self.row][self.column:]
            elif piece == "\x1b":
                raise AssertionError("an escape sequence that is not erase to the end of the line")
            else:
                if self.column == self.columns:
                    self.feed("\r\n")
                line = self.rows[self.row]
                line.extend(" " * (self.column + 1 - len(line)))
                line[self.column] = piece
                self.column += 1

    def text(self):
        return ["".join(row).rstrip() for row in self.rows]


def on_terminal(columns, command, stdout_too=False, term="xterm"):
    """Runs the command with stderr (and stdout) on a terminal: what it wrote there, stdout
    otherwise, the status."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(command, stderr=follower,
                               stdout=follower if stdout_too else subprocess.PIPE,
                               stdin=subprocess.DEVNULL, env={**os.environ, "TERM": term})
    os.close(follower)
    written = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:  # the last writer has gone
            break
        if not piece:
            break
        written += piece
    out = b""
    if not stdout_too:
        with process.stdout:
            out = process.stdout.read()
    os.close(leader)
    return written.decode(), out.decode(), process.wait()


class ScreenTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory()
        cls.addClassCleanup(scratch.cleanup)
        cls.directory = pathlib.Path(scratch.name)
        write_job(cls.directory)
        cls.steps = EPOCHS * ROWS // BATCH

    def command(self, model, *flags, kind="parquet"):
        return [PEPNET, "train", "--pipeline_config_path", str(self.directory / f"{kind}.config"),
                "--threads", "1", "--model_dir", str(self.directory / model), *flags]

    def log_of(self, model, *flags, kind="parquet"):
        done = subprocess.run(self.command(model, *flags, kind=kind),
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stderr, done.stdout

    def test_no_line_is_torn_at_any_width(self):
        for columns in (60, 80, 120, 200):
            with self.subTest(columns=columns):
                written, out, status = on_terminal(columns, self.command(f"wide{columns}"))
                self.assertEqual(status, 0, written)
                terminal = Terminal(columns)
                for line in written.replace("\r\n", "\n").split("\n"):
                    drawn = [text for text in re.split(r"\r", line) if text.startswith("step ")]
                    for text in drawn:
                        text = text.replace("\x1b[K", "")
                        self.assertLess(len(text), columns)
                        self.assertRegex(text, f"^{PROGRESS.pattern}$")
                terminal.feed(written)
                progress = [line for line in terminal.text() if line.startswith("step ")]
                self.assertGreater(written.count("\rstep "), len(progress),
                                   "no line was drawn again")
                self.assertTrue(progress)
                for line in progress:
                    self.assertRegex(line, f"^{PROGRESS.pattern}$")
                for line in terminal.text():
                    if " step " in line and not LOG.match(line):
                        self.assertNotRegex(line, r"\d [IWE] \d\d:\d\d:\d\d")
                self.assertRegex(progress[-1],
                                 rf"^step {self.steps}/{self.steps}  100 %  epoch 3/3")
                if columns >= 80:
                    self.assertRegex(progress[-1], r"  like \.\d{3}  love \.\d{3}$")
                json.loads(out)

    def test_tmux_shows_whole_lines_at_any_width(self):
        if shutil.which("tmux") is None:
            self.skipTest("there is no tmux; `apt-get install tmux` brings it")
        for columns in (60, 80, 120, 200):
            with self.subTest(columns=columns):
                server = ["tmux", "-L", f"pepnet{os.getpid()}_{columns}", "-f", "/dev/null"]
                out, done = (self.directory / f"tmux{columns}.json",
                             self.directory / f"tmux{columns}.done")
                command = (
                    f"{shlex.join(self.command(f'tmux{columns}'))} >{shlex.quote(str(out))}; "
                    f"echo $? >{shlex.quote(str(done))}; sleep 100")
                subprocess.run([*server, "new-session", "-d", "-x", str(columns), "-y", "30",
                                command], check=True)
                try:
                    subprocess.run([*server, "set-option", "-g", "history-limit", "5000"],
                                   check=True)
                    deadline = time.monotonic() + 60
                    while not done.exists() or not done.read_text():
                        self.assertLess(time.monotonic(), deadline, "the training does not end")
                        time.sleep(0.05)
                    time.sleep(0.2)  # until tmux has read what was written last
                    # All lines since the start, those that the terminal wrapped as one.
                    shown = subprocess.run(
                        [*server, "capture-pane", "-p", "-J", "-S", "-"],
                        check=True, capture_output=True, text=True).stdout.splitlines()
                finally:
                    subprocess.run([*server, "kill-server"], check=False, stderr=subprocess.DEVNULL)
                self.assertEqual(done.read_text(), "0\n", shown)
                progress = [line.rstrip() for line in shown if line.startswith("step ")]
                self.assertRegex(progress[-1],
                                 rf"^step {self.steps}/{self.steps}  100 %  epoch 3/3")
                for line in progress:
                    self.assertRegex(line, f"^{PROGRESS.pattern}$")
                    self.assertLess(len(line), columns)
                # Below the log lines stands one table, and nothing that was left over from a line
                # drawn before.
                table = re.compile(r"   step  epoch  auc_like|\s+\d+\s+\d\s+0\.\d{4}")
                # An evaluation shows how far it has got where it takes long enough, as on a busy
                # machine.
                evaluation = re.compile(r"evaluating step \d+  \d+/\d+ rows +\d+ %$")
                other = [line for line in shown if line.strip() and line.rstrip() not in progress
                         and not LOG.match(line) and not table.match(line)
                         and not evaluation.match(line.rstrip())]
                self.assertEqual(other, [])

    def test_a_diff_is_ten_lines_a_table(self):
        self.log_of("left")
        self.log_of("right", "--seed", "5")
        left, right = self.directory / "left", self.directory / "right"

        def diff(*arguments):
            done = subprocess.run([PEPNET, "inspect", *map(str, arguments)],
                                  capture_output=True, text=True, check=False)
            return done.returncode, done.stdout, done.stderr

        status, out, error = diff(left, "--diff", right)
        self.assertEqual(status, 1, error)
        self.assertRegex(error.splitlines()[-1], "^pepnet: .* are not equal: 2 of 2 tables and")
        blocks = re.split(r"^(?=\S)", out, flags=re.M)
        for table, ids in (("user_emb", 10), ("item_emb", 10)):
            (block,) = (block for block in blocks if block.startswith(f"{table}: "))
            self.assertRegex(
                block,
                rf"^{table}: 0 rows only left, 0 only right, \d+ in both: \d+ with other values")
            self.assertRegex(block, r"moved by \d+ % of their norm")
            self.assertEqual(len(re.findall(r"\d+ by [\d.]+ \(norm", block)), ids)
            self.assertLessEqual(len(block.splitlines()), 10, block)
        (dense,) = (block for block in blocks if block.startswith("dense layers: "))
        self.assertNotIn("exp_avg", dense)
        self.assertEqual(diff(left, "--diff", right, "--quiet")[:2], (1, ""))
        self.assertEqual(diff(left, "--diff", left, "--quiet"), (0, "", ""))

    def test_slices_are_a_table_at_the_end(self):
        edits = ["--edit_config_json",
                 '{"eval_config.slice_by": ["user"], "eval_config.slice_top": 3}']
        said, _ = self.log_of("sliced", *edits)
        self.assertEqual(re.findall(r"evaluation of step (\d+) by user", said), ["240"])
        self.assertEqual(len(re.findall(r"^like +\S+ +\d+ ", said, re.M)), 3 + 2,
                         "the rest and all rows")
        self.assertLess(said.rfind("evaluation of step 240:"),
                        said.find("evaluation of step 240 by user"))
        verbose, _ = self.log_of("sliced_verbose", "--verbose", *edits)
        self.assertEqual(re.findall(r"evaluation of step (\d+) by user", verbose),
                         ["80", "160", "240"])

    def test_an_evaluation_shows_its_total(self):
        for kind in ("parquet", "csv"):
            written, _, status = on_terminal(80, self.command(f"evaluated_{kind}", kind=kind))
            self.assertEqual(status, 0, written)
            shown = re.findall(
                r"evaluating step (\d+)  (\d+)(?:/(\d+))? rows(?:  (\d+) %)?\x1b\[K", written)
            self.assertEqual({step for step, *_ in shown}, {"80", "160", "240"}, written)
            for step, rows, total, percent in shown:
                # The rows of a CSV file are known behind the first evaluation.
                known = kind == "parquet" or step != "80"
                self.assertEqual(
                    (total, percent),
                    (str(ROWS), str(100 * int(rows) // ROWS)) if known else ("", ""))
        limited, _ = self.log_of("limited", "--verbose",
                                 "--edit_config_json", '{"eval_config.num_steps": 20}')
        self.assertIn(f"evaluating step 80, {BATCH * 10}/{BATCH * 20} rows, 50 %, batch 10",
                      limited)

    def test_the_result_stands_on_a_line_of_its_own(self):
        written, _, status = on_terminal(100, self.command("both"), stdout_too=True)
        self.assertEqual(status, 0, written)
        results = [line for line in written.replace("\r\n", "\n").split("\n")
                   if line.startswith("{")]
        self.assertEqual(len(results), 1, written)
        json.loads(results[0])

    def test_an_error_stands_on_a_line_of_its_own(self):
        bad = self.directory / "bad.csv"
        lines = (self.directory / "train.csv").read_text().splitlines()
        lines[3001] = "2,0,1,1"
        bad.write_text("\n".join(lines) + "\n")
        written, _, status = on_terminal(
            100, self.command("failed", "--train_input_path", str(bad), kind="csv"))
        self.assertEqual(status, 1, written)
        last = written.replace("\r\n", "\n").rstrip("\n").split("\n")[-1]
        self.assertRegex(last, r"^pepnet: .*row 3001")

    def test_a_terminal_that_cannot_draw_gets_lines(self):
        written, _, status = on_terminal(80, self.command("dumb", kind="csv"),
                                         stdout_too=True, term="dumb")
        self.assertEqual(status, 0, written)
        self.assertNotIn("\x1b", written)
        # The number of rows of a CSV file is known after the first pass.
        self.assertRegex(written, r"I \d\d:\d\d:\d\d step 5  epoch 1/3  ")
        self.assertRegex(written,
                         rf"I \d\d:\d\d:\d\d step {self.steps}/{self.steps}  100 %  epoch 3/3")

    def test_a_short_job_says_what_matters_in_about_a_dozen_lines(self):
        text = (self.directory / "parquet.config").read_text()
        (self.directory / "short.config").write_text(
            text.replace("log_step_count_steps: 5", "log_step_count_steps: 100"))
        said, out = self.log_of("short", kind="short")
        messages = [line for line in said.splitlines() if LOG.match(line)]
        steps = [line for line in messages if " step " in line and " % " in line]
        self.assertEqual(len(steps), self.steps // 100 + (self.steps % 100 > 0), said)
        self.assertLessEqual(len(messages) - len(steps), 14, said)
        self.assertLessEqual(len(said.splitlines()), 30, said)
        for expected in ("2 tables", "evaluation of step 80", "evaluation of step 240", "saved",
                         "model.ckpt-240", "auc_like", "inspect"):
            self.assertIn(expected, said)
        self.assertNotRegex(said, r"\b1 (steps|tables|checkpoints|workers|servers|threads|files|"
                                  r"epochs|evaluations)\b")
        self.assertNotIn("(s)", said)
        self.assertEqual(len(out.splitlines()), 1)

    def test_verbose_says_more_and_quiet_nothing(self):
        verbose, _ = self.log_of("verbose", "--verbose")
        for expected in ("the plan", "lr_g0", "server 0", "binary_cross_entropy_like",
                         "worker 0 spent read",
                         f"evaluating step 80, {BATCH * 10}/{ROWS} rows, 12 %, batch 10"):
            self.assertIn(expected, verbose)
        quiet, out = self.log_of("quiet", "--quiet")
        self.assertEqual([line for line in quiet.splitlines() if not line.startswith("W ")], [])
        json.loads(out)
        written, _, status = on_terminal(80, self.command("quiet2", "--quiet"))
        self.assertEqual(status, 0)
        self.assertNotIn("step ", written)
        command = self.command("both_flags", "--quiet", "--verbose")
        both = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual(both.returncode, 2)

    def test_one_of_a_thing_is_not_several(self):
        said, _ = self.log_of("one", "--edit_config_json",
                              '{"train_config.num_epochs": 1, "data_config.batch_size": 4000}')
        self.assertIn("epoch 1/1", said)
        self.assertNotRegex(said, r"\b1 (steps|tables|checkpoints|workers|servers|threads|files|"
                                  r"epochs|evaluations)\b")


if __name__ == "__main__":
    sys.argv = sys.argv[:1]
    unittest.main(verbosity=2)
