#!/usr/bin/env python3
"""Usage: tests/scripts/docs_test.py REPOSITORY BUILD VENV [PAGE...]

Runs the commands of the documentation on tiny data. In a page of docs/ a comment in front of a code
block (fenced or indented) says what to do with it:

  <!-- test: run -->            bash, in a scratch repository: build/release, scripts, configs,
                                docs, .venv, and under data/ tiny files in the formats of MovieLens,
                                Taobao and census-income. Blocks of a page follow each other in one
                                directory; a command that fails stops the test.
  <!-- test: run, A => B -->    the same with text A replaced by B (smaller numbers); several are
                                separated by commas
  <!-- test: run if MODULE -->  the same, where Python has the module
  <!-- test: python if MODULE --> with the Python of VENV or of VENV-tools, whichever has it
  <!-- test: cluster -->        the same, but mpirun leaves its hosts out and runs the ranks here;
                                sbatch, scontrol, kubectl and docker only check the files that they
                                are given
  <!-- test: python -->         the same for Python
  <!-- test: no, REASON -->     not run; the reason is listed
  <!-- text -->                 not a command: output, a fragment of a config

A page with one such comment must have one in front of every block. In all pages the flags behind
`pepnet COMMAND` must be flags of that command, and links and file names must lead somewhere.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import tiny_data

REPOSITORY, BUILD, VENV = (pathlib.Path(argument).resolve() for argument in sys.argv[1:4])
MARK = re.compile(r"^<!-- (?:test: (run|cluster|python|no)\b(?: if (\w+))?,?\s*(.*)|(text)) -->$")
TIMEOUT_S = 120

# The file behind -f must be there.
GIVEN_FILES = """
previous=
for word in "$@"; do
  [[ $previous != -f || -r $word ]] || { echo "no file $word"; exit 1; }
  previous=$word
done
"""
STAND_INS = {
    # Drops what names other machines; the ranks run here.
    "mpirun": r"""
options=()
while (($#)); do
  case $1 in
    --hostfile) [[ -r $2 ]] || { echo "no host file $2"; exit 1; }; shift ;;
    --host | --map-by) shift ;;
    -x) shift ;;
    *) options+=("$1") ;;
  esac
  shift
done
exec "$REAL_MPIRUN" "${options[@]}"
""",
    "sbatch": r"""
while [[ $1 == -* ]]; do shift; done
grep -q '^#SBATCH ' "$1" && bash -n "$1" && echo "Submitted batch job 1"
""",
    "scancel": "true",
    "scontrol": "true",
    "kubectl": GIVEN_FILES,
    "docker": GIVEN_FILES,
}


class Block:
    def __init__(self, line, mark, module, detail, text):
        self.line, self.mark, self.module, self.detail, self.text = line, mark, module, detail, text


def blocks(path):
    """The code blocks of a page, each with the mark in front of it (None: there is none)."""
    lines = path.read_text().split("\n")
    none = (None, None, "")
    found, at, marked = [], 0, none
    while at < len(lines):
        line = lines[at]
        matched = MARK.match(line)
        start = at
        at += 1
        if matched:
            marked = (matched[1] or matched[4], matched[2], matched[3] or "")
            continue
        if line.startswith("```"):
            while at < len(lines) and lines[at] != "```":
                at += 1
            text = lines[start + 1:at]
            at += 1
        elif line.startswith("    ") and (start == 0 or not lines[start - 1].strip()
                                          or MARK.match(lines[start - 1])):
            while at < len(lines) and (lines[at].startswith("    ") or not lines[at].strip()):
                at += 1
            text = [one[4:] for one in lines[start:at]]
        else:
            if line.strip():
                marked = none
            continue
        found.append(Block(start + 1, *marked, "\n".join(text).rstrip() + "\n"))
        marked = none
    return found


def replaced(block):
    """The block's text after its A => B."""
    text = block.text
    for pair in filter(None, (part.strip() for part in block.detail.split(","))):
        old, arrow, new = (part.strip() for part in pair.partition("=>"))
        if not arrow or old not in text:
            raise SystemExit(f"line {block.line}: the mark says '{pair}', "
                             f"but the block has no '{old}'")
        text = text.replace(old, new)
    return text


def lay_out(scratch):
    """The scratch repository."""
    (scratch / "build").mkdir()
    (scratch / "build/release").symlink_to(BUILD)
    (scratch / ".venv").symlink_to(VENV)
    for name in ("common", "python", "tests", "Dockerfile"):
        (scratch / name).symlink_to(REPOSITORY / name)
    for name in ("configs", "docs", "proto", "scripts"):  # a command may write here
        shutil.copytree(REPOSITORY / name, scratch / name)
    tiny_data.write_movielens(scratch / "data/ml-100k")
    tiny_data.write_taobao(scratch / "data/ali_display_ad_click", tiny_data.taobao())
    tiny_data.write_shop(scratch / "data/shop.csv")
    tiny_data.write_census(scratch / "data/census-income")
    stand_ins = scratch / ".stand_ins"
    stand_ins.mkdir()
    for name, body in STAND_INS.items():
        (stand_ins / name).write_text("#!/usr/bin/env bash\nset -euo pipefail\n" + body + "\n")
        (stand_ins / name).chmod(0o755)


def has_module(python, module):
    return python.exists() and subprocess.run([python, "-c", f"import {module}"],
                                              capture_output=True).returncode == 0


def run_page(path, scratch):
    """Runs the marked blocks of a page; returns (blocks run, reasons of those that are not,
    failures)."""
    lay_out(scratch)
    if path.name == "README.md":  # whose reader has run scripts/quickstart.sh
        subprocess.run([VENV / "bin/python3", "scripts/data/prepare_movielens.py",
                        "--input_dir", "data/ml-100k", "--output_dir", "data/movielens"],
                       cwd=scratch, check=True, stdout=subprocess.DEVNULL)
    environment = {**os.environ, "PATH": f"{VENV}/bin:{os.environ['PATH']}",
                   "PEPNET_VENV": str(VENV),
                   "PYTHONPATH": str(REPOSITORY / "python"), "PEPNET_BINARY": str(BUILD / "pepnet"),
                   "PYTHONDONTWRITEBYTECODE": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1",
                   "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_rmaps_base_oversubscribe": "1",
                   "OMPI_MCA_hwloc_base_binding_policy": "none",
                   "REAL_MPIRUN": shutil.which("mpirun") or "mpirun"}
    clustered = {**environment, "PATH": f"{scratch}/.stand_ins:{environment['PATH']}"}
    ran, reasons = 0, []
    for block in blocks(path):
        if block.mark is None:
            return ran, reasons, [f"{path.name}:{block.line}: "
                                  "a code block without a mark; see docs_test.py"]
        if block.mark == "text":
            continue
        if block.mark == "no":
            reasons.append(f"{path.name}:{block.line}: {block.detail}")
            continue
        python = VENV / "bin/python3"
        if block.module:
            candidates = ([python] if block.mark == "run"
                          else [python, pathlib.Path(f"{VENV}-tools/bin/python3")])
            python = next((one for one in candidates if has_module(one, block.module)), None)
            if python is None:
                reasons.append(f"{path.name}:{block.line}: there is no {block.module}")
                continue
        text = replaced(block)
        command = ([python, "-c", text] if block.mark == "python"
                   else ["bash", "-euo", "pipefail", "-c", text])
        start = time.monotonic()
        try:
            done = subprocess.run(command, cwd=scratch,
                                  env=clustered if block.mark == "cluster" else environment,
                                  text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  stdin=subprocess.DEVNULL, timeout=TIMEOUT_S)
            status, output = done.returncode, done.stdout
        except subprocess.TimeoutExpired as error:
            status, output = "none (out of time)", str(error.stdout)
        ran += 1
        print(f"{path.name}:{block.line}: status {status}, {time.monotonic() - start:.1f} s",
              flush=True)
        if status != 0:
            return ran, reasons, [f"{path.name}:{block.line}: status {status}\n"
                                  f"{text}\n{output[-3000:]}"]
    return ran, reasons, []


def help_of(*command):
    return subprocess.run([BUILD / "pepnet", *command, "--help"], capture_output=True, text=True,
                          check=True).stdout


def subcommands(text):
    return re.findall(r"^  ([a-z-]+) ", text.partition("Subcommands:")[2], re.M)


def all_help_of(command):
    """With the help of the command's own commands: `pepnet bench dense`."""
    text = help_of(command)
    return text + "".join(help_of(command, name) for name in subcommands(text))


def wrong_flags(path, commands):
    """Flags behind `pepnet COMMAND` that the command's --help does not list. `commands`: command ->
    its help."""
    wrong = []
    for block in blocks(path):
        for line in re.sub(r"\\\n", " ", block.text).split("\n"):
            matched = re.search(rf"(?:\bpepnet|launch\.sh .*? --) ({'|'.join(commands)})\b(.*)",
                                line.split(" #")[0])
            if not matched:
                continue
            for flag in re.findall(r"(?<!\S)--[a-z_]+", re.sub(r"'[^']*'", "''", matched[2])):
                if not re.search(rf"(?<!\S){flag}\b", commands[matched[1]]):
                    wrong.append(f"{path.name}:{block.line}: pepnet {matched[1]} has no {flag}")
    return wrong


def broken_names(path):
    """Links and file names in backquotes that lead nowhere."""
    text = path.read_text()
    broken = []
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text):
        if not (path.parent / target).exists():
            broken.append(f"{path.name}: a link to {target}")
    for name in re.findall(r"`((?:scripts|configs|docs|proto|python|tests|common|worker|ps|cli)"
                           r"/[\w./-]*\w\.\w+)`", text):
        if not (REPOSITORY / name).exists():
            broken.append(f"{path.name}: there is no {name}")
    return broken


def main():
    pages = [pathlib.Path(page) for page in sys.argv[4:]] or sorted(
        [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md",
         *(REPOSITORY / "docs").rglob("*.md"), *(REPOSITORY / "configs").glob("*.md")])
    commands = {name: all_help_of(name) for name in subcommands(help_of())}
    failures, total, not_run, unmarked = [], 0, [], []
    for path in pages:
        if path.name != "design.md":  # `pepnet plan ...` and the like stand for more
            failures += wrong_flags(path, commands)
        failures += broken_names(path)
        if not any(block.mark for block in blocks(path)):
            if blocks(path):
                unmarked.append(path.name)
            continue
        with tempfile.TemporaryDirectory() as scratch:
            ran, reasons, failed = run_page(path, pathlib.Path(scratch))
        total += ran
        not_run += reasons
        failures += failed
    for reason in not_run:
        print("not run:", reason)
    if unmarked:
        print("no marks, only flags and names checked:", ", ".join(unmarked))
    for failure in failures:
        print("FAILED", failure)
    print(f"{total} blocks ran")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
