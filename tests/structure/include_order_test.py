#!/usr/bin/env python3
"""Usage: include_order_test.py REPOSITORY

Compares the includes of the tree with tests/structure/folders.txt: the order of the folders, the
folders that stay apart, the one door of each third-party library, folders that nobody declared, and
folders that have grown too large. Prints each violation with its file and line. The rules
themselves are tested first, on small trees with one violation.
"""
import os
import re
import sys
import tempfile
import unittest

PRODUCT = ("common", "ps", "worker", "cli")
INCLUDE = re.compile(r'\s*#\s*include\s*[<"]([^>"]+)[>"]')


class Rules:
    """folders.txt, parsed."""

    def __init__(self, path):
        self.path = path
        self.folders = []  # from the bottom up
        self.apart = []
        self.doors = []  # (regular expression, places)
        self.most_files = 0
        section = ""
        with open(path, encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                line = line.strip()
                if not line or line.startswith("#"):
                    continue
                words = line.split()
                if line.startswith("["):
                    section = line
                elif section == "[folders]" and len(words) > 1:
                    self.folders.append(words[0])
                elif section == "[apart]" and len(words) == 2:
                    self.apart.append(words)
                elif section == "[doors]" and len(words) > 1:
                    self.doors.append((re.compile(words[0]), words[1:]))
                elif section == "[sizes]" and words[0] == "most_files":
                    self.most_files = int(words[1])
                else:
                    sys.exit(f"{path}:{number}: '{line}' is no line of the section "
                             f"{section or 'of none'}")


def sources(root, tops):
    for top in tops:
        for folder, below, files in os.walk(os.path.join(root, top)):
            below.sort()
            for name in sorted(files):
                if name.endswith((".cc", ".h")):
                    yield os.path.relpath(os.path.join(folder, name), root)


def below(folder, top):
    return folder == top or folder.startswith(top + "/")


def passes(place, file):
    return file.startswith(place) if place.endswith("/") else file == place


def violations(root, rules):
    """One line of text per violation."""
    height = {folder: i for i, folder in enumerate(rules.folders)}
    count = {}
    for file in sources(root, PRODUCT + ("tests",)):
        folder = os.path.dirname(file)
        product = not below(folder, "tests")
        count[folder] = count.get(folder, 0) + 1
        with open(os.path.join(root, file), encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                match = INCLUDE.match(line)
                if match is None:
                    continue
                included, where = match.group(1), f"{file}:{number}"
                for pattern, places in rules.doors:
                    if (pattern.fullmatch(included)
                            and not any(passes(place, file) for place in places)):
                        yield f"{where}: only {', '.join(places)} may include {included}"
                if not product:
                    continue
                target = os.path.dirname(included)
                if below(target, "tests"):
                    yield f"{where}: the product includes a test's file, {included}"
                for one, other in rules.apart:
                    if (below(folder, one) and below(target, other)
                            or below(folder, other) and below(target, one)):
                        yield (f"{where}: {one} and {other} never include each other, "
                               f"and here is {included}")
                if folder in height and target in height and height[target] > height[folder]:
                    yield f"{where}: {folder} is below {target} and must not include {included}"
    for folder, files in sorted(count.items()):
        if files > rules.most_files:
            yield (f"{folder}: {files} source files; at most {rules.most_files}, "
                   "so that a folder holds one idea")
        if folder not in height and not below(folder, "tests"):
            yield f"{folder}: no line of {os.path.relpath(rules.path, root)} declares this folder"
    for folder in rules.folders:
        if not os.path.isdir(os.path.join(root, folder)):
            yield f"{os.path.relpath(rules.path, root)}: there is no folder {folder}"


class RulesTest(unittest.TestCase):
    """Each rule, on a tree with one violation of it."""

    FOLDERS = """[folders]
common/base the bottom
common/net above it
ps a role
worker/data the other role
[apart]
ps worker
[doors]
mpi\\.h common/net/
glog/.* common/base/logging.h
[sizes]
most_files 2
"""

    def violations(self, files):
        with tempfile.TemporaryDirectory() as root:
            for folder in ("common/base", "common/net", "ps", "worker/data", "tests"):
                os.makedirs(os.path.join(root, folder))
            for name, text in {"tests/folders.txt": self.FOLDERS, **files}.items():
                path = os.path.join(root, name)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "w", encoding="utf-8") as out:
                    out.write(text)
            return list(violations(root, Rules(os.path.join(root, "tests/folders.txt"))))

    def test_a_tree_in_order(self):
        files = {"common/base/logging.h": "#include <glog/logging.h>\n",
                 "common/base/a.cc": '#include "common/base/a.h"\n',
                 "common/net/b.cc": '#include <mpi.h>\n#include "common/base/a.h"\n',
                 "worker/data/c.cc": '#include "common/net/b.h"\n',
                 "tests/d.cc": '#include "worker/data/c.h"\n'}
        self.assertEqual(self.violations(files), [])

    def test_an_include_against_the_order(self):
        found = self.violations({"common/base/a.cc": '// words\n#include "common/net/b.h"\n'})
        self.assertEqual(found, [("common/base/a.cc:2: common/base is below common/net "
                                  "and must not include common/net/b.h")])

    def test_the_two_roles(self):
        for one, other in (("ps", "worker/data"), ("worker/data", "ps")):
            found = self.violations({f"{one}/a.cc": f'#include "{other}/b.h"\n'})
            self.assertIn(f"{one}/a.cc:1: ps and worker never include each other, "
                          f"and here is {other}/b.h", found)

    def test_doors(self):
        self.assertEqual(self.violations({"ps/a.cc": "#include <mpi.h>\n"}),
                         ["ps/a.cc:1: only common/net/ may include mpi.h"])
        self.assertEqual(
            self.violations({"common/base/a.h": "#  include <glog/logging.h>\n"}),
            ["common/base/a.h:1: only common/base/logging.h may include glog/logging.h"])
        self.assertEqual(len(self.violations({"tests/a.cc": "#include <mpi.h>\n"})), 1)

    def test_a_test_file_in_the_product(self):
        self.assertEqual(self.violations({"ps/a.cc": '#include "tests/support/a.h"\n'}),
                         ["ps/a.cc:1: the product includes a test's file, tests/support/a.h"])

    def test_a_folder_without_a_line(self):
        self.assertEqual(self.violations({"worker/sparse/a.h": ""}),
                         ["worker/sparse: no line of tests/folders.txt declares this folder"])

    def test_a_folder_that_is_too_large(self):
        self.assertEqual(self.violations({f"ps/{name}.h": "" for name in "abc"}),
                         ["ps: 3 source files; at most 2, so that a folder holds one idea"])


def main():
    root = os.path.abspath(sys.argv[1])
    result = unittest.TextTestRunner().run(
        unittest.defaultTestLoader.loadTestsFromTestCase(RulesTest))
    found = list(violations(root, Rules(os.path.join(root, "tests/structure/folders.txt"))))
    for line in found:
        print(line)
    print(f"{len(found)} violations of tests/structure/folders.txt")
    return 1 if found or not result.wasSuccessful() else 0


if __name__ == "__main__":
    sys.exit(main())
