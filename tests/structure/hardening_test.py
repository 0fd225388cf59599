#!/usr/bin/env python3
"""Usage: hardening_test.py PROGRAM... [--compile-commands FILE]

What the linker has made of each program: position independent, no memory that is written and run,
the loader's tables read-only before main(), and an RPATH whose entries are absolute paths or
$ORIGIN: the loader reads an empty entry as the current directory, and would run a library that
somebody has put there. That is tried, too. With --compile-commands every file of the product must
be compiled so that a write beyond a local array or a buffer of known size ends the process; the
programs do not show it, since libraries that they link statically have the same checks.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile


def readelf(option, program):
    return subprocess.run(["readelf", "--wide", option, program],
                          capture_output=True, text=True, check=True).stdout


def faults(program):
    """Returns a sentence for each thing that is not as it should be."""
    wrong = []
    header, segments, dynamic = (readelf(option, program) for option in ("-h", "-l", "-d"))
    if not re.search(r"Type: +DYN", header):
        wrong.append("is not position independent")
    if "GNU_RELRO" not in segments:
        wrong.append("has no segment that becomes read-only (RELRO)")
    if not re.search(r"\((FLAGS|FLAGS_1|BIND_NOW)\).*(NOW)", dynamic):
        wrong.append("binds functions while it runs: no BIND_NOW")
    stack = re.search(r"GNU_STACK .* (R?W?E?) +0x", segments)
    if stack is None or "E" in stack.group(1):
        wrong.append("has a stack that may be run")
    paths = re.findall(r"\((?:RPATH|RUNPATH)\).*\[(.*)\]", dynamic)
    if not paths:
        wrong.append("has no RPATH, so this test says nothing")
    for entry in ":".join(paths).split(":"):
        if not entry.startswith(("/", "$ORIGIN")):
            wrong.append(f"has the RPATH entry '{entry}', which depends on the current directory")
    return wrong


def unchecked_files(compile_commands):
    """Returns a sentence for each file of the product whose writes are not checked."""
    with open(compile_commands, encoding="utf-8") as file:
        entries = json.load(file)
    product = [entry for entry in entries
               if re.search(r"/(common|ps|worker|cli)/[^/].*\.cc$", entry["file"])
               and "/tests/" not in entry["file"]]
    if not product:
        sys.exit(f"{compile_commands} names no file of the product")
    return [f"{entry['file']} is compiled without {option}" for entry in product
            for option in ("-fstack-protector-strong", "-D_FORTIFY_SOURCE=3")
            if option not in entry["command"].split()]


def runs_what_lies_here(program):
    """Whether the loader looks for libraries in the current directory."""
    environment = dict(os.environ, LD_DEBUG="libs")
    with tempfile.TemporaryDirectory(prefix="pepnet-loader-") as here:
        done = subprocess.run([program, "--version"], cwd=here, env=environment,
                              capture_output=True, text=True, errors="replace", check=False)
    tried = re.findall(r"trying file=(.*)", done.stderr)
    if not tried:
        sys.exit(f"{program}: the loader does not say what it tries")
    return [path for path in tried if not path.startswith("/")]


def main():
    arguments = argparse.ArgumentParser(description=__doc__,
                                        formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("programs", nargs="+")
    arguments.add_argument("--compile-commands")
    arguments = arguments.parse_args()
    failed = False
    for program in map(os.path.abspath, arguments.programs):
        wrong = faults(program)
        here = runs_what_lies_here(program)
        if here:
            wrong.append(f"looks for libraries in the current directory: {here[0]}")
        for fault in wrong:
            print(f"{program} {fault}")
        failed |= bool(wrong)
    if arguments.compile_commands:
        wrong = unchecked_files(arguments.compile_commands)
        print("\n".join(wrong))
        failed |= bool(wrong)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
