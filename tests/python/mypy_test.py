"""The types of pepnet_trainer hold: mypy in strict mode, set up in pyproject.toml, with the types
of the torch that the virtual environment has.

Usage: mypy_test.py PYTHON_WITH_TORCH
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(os.environ["PEPNET_SOURCE_DIR"])
PYTHON = sys.argv.pop(1)


class MypyTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory()
        cls.addClassCleanup(scratch.cleanup)
        cls.scratch = pathlib.Path(scratch.name)

    def mypy(self, *arguments):
        command = [
            sys.executable,
            "-m",
            "mypy",
            "--cache-dir",
            self.scratch / "cache",
            "--python-executable",
            PYTHON,
        ]
        result = subprocess.run([*command, *arguments], cwd=SOURCE, capture_output=True, text=True)
        return result.stdout + result.stderr

    def test_the_package_is_clean(self):
        self.assertRegex(self.mypy(), r"^Success: no issues found in \d\d source files\n$")

    def test_a_caller_is_told_of_a_wrong_type(self):
        program = self.scratch / "program.py"
        program.write_text(
            "import pepnet_trainer as pt\n"
            'run = pt.train("shop.config", edits={"train_config.num_epochs": 2})\n'
            'print(run.evaluate("later.parquet")["auc_click"] + 1)\n'
            'run.predict("later.parquet", workers="two")\n'
            'pt.load_torch("export").encode({"user_id": ["a"]}).keys()\n'
            'pt.load_torch("export", 5)\n'
        )
        told = self.mypy(program).splitlines()
        self.assertRegex(
            told[0],
            r'program.py:4: error: Argument "workers" to "predict" of "Run" has incompatible type',
        )
        self.assertRegex(told[1], 'program.py:6: error: Too many arguments for "load_torch"')
        self.assertEqual(told[2:], ["Found 2 errors in 1 file (checked 1 source file)"])


if __name__ == "__main__":
    try:
        import mypy  # noqa: F401
    except ImportError:
        print("skipped: there is no mypy; scripts/setup.sh --tests installs it")
        sys.exit(77)
    unittest.main()
