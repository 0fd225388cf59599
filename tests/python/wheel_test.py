#!/usr/bin/env python3
"""Usage: tests/python/wheel_test.py REPOSITORY

The wheel in dist/: what it holds, which foreign libraries it carries or expects, and that it works
in a fresh virtual environment and in a layout as of conda, in a notebook, with the mpirun of pip
and of the system, and in the quickstart. Skipped (status 77) where scripts/wheel.sh has not built
it. PEPNET_PIP_ARGS: more arguments for `pip install`, for example an index with smaller torch
builds.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
import unittest
import zipfile

SOURCE = pathlib.Path(sys.argv.pop(1)).resolve()
WHEELS = sorted((SOURCE / "dist").glob("pepnet_trainer-*.whl"))

# The wheel carries these of the system it was built on, and no others; a new one is a decision.
CARRIED = re.compile(r"lib(absl_\w+|gflags|glog|lzma|unwind|xxhash)\.so\.[\d.]+")
# The wheels that it depends on have these.
OF_WHEELS = re.compile(r"lib(torch_cpu|c10|arrow|parquet|mpi)\.so(\.\d+)?")
# Every Linux system with the glibc of the wheel's tag has these.
OF_SYSTEM = {
    "ld-linux-x86-64.so.2", "libc.so.6", "libdl.so.2", "libgcc_s.so.1", "libm.so.6",
    "libpthread.so.0", "librt.so.1", "libstdc++.so.6", "libz.so.1"}  # fmt: skip
# Must not be needed.
FRESH = {"LD_LIBRARY_PATH", "PEPNET_BINARY", "PEPNET_VENV", "PYTHONPATH", "PYTHONHOME"}


def said(*command, **options):
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)
    if result.returncode != 0:
        raise AssertionError(
            f"{command} ended with {result.returncode}:\n{result.stdout}\n{result.stderr}"
        )
    return result.stdout


def environment_of(prefix):
    """The environment of a shell in which only the commands in `prefix` come before the
    system's."""
    result = {name: value for name, value in os.environ.items() if name not in FRESH}
    result |= {
        f"{who}_ALLOW_RUN_AS_ROOT{what}": "1"
        for who in ("OMPI", "PRTE")
        for what in ("", "_CONFIRM")
    }
    return {**result, "PATH": f"{prefix}/bin:{result['PATH']}", "OMP_NUM_THREADS": "1"}


class WheelTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.wheel = WHEELS[-1]
        scratch = tempfile.TemporaryDirectory()
        cls.addClassCleanup(scratch.cleanup)
        cls.scratch = pathlib.Path(scratch.name)
        with zipfile.ZipFile(cls.wheel) as archive:
            archive.extractall(cls.scratch / "unpacked")
            cls.names = archive.namelist()
        cls.package = cls.scratch / "unpacked/pepnet_trainer"

    def dynamic(self, path, tag):
        return re.findall(rf"\({tag}\).*\[(.*)\]", said("readelf", "-d", path))

    def test_one_place_has_the_version(self):
        version = re.search(
            r"project\(pepnet VERSION ([\d.]+)", (SOURCE / "CMakeLists.txt").read_text()
        )[1]
        self.assertEqual(len(WHEELS), 1)
        self.assertRegex(
            self.wheel.name, rf"^pepnet_trainer-{version}-py3-none-manylinux_\d+_\d+_\w+\.whl$"
        )

    def test_it_holds_the_package_and_the_programs(self):
        package = {
            f"pepnet_trainer/{path.name}"
            for path in (SOURCE / "python/pepnet_trainer").iterdir()
            if path.is_file()
        }
        found = {
            name
            for name in self.names
            if ".dist-info/" not in name and not name.startswith("pepnet_trainer/lib/")
        }
        self.assertEqual(
            found, package | {"pepnet_trainer/bin/pepnet", "pepnet_trainer/bin/pepnet_ps"}
        )
        self.assertLess(self.wheel.stat().st_size, 12 << 20)  # stripped

    def test_foreign_libraries_are_the_known_ones(self):
        libraries = {path.name for path in (self.package / "lib").iterdir()}
        self.assertEqual([name for name in libraries if not CARRIED.fullmatch(name)], [])
        files = [*(self.package / "bin").iterdir(), *(self.package / "lib").iterdir()]
        expected = set()
        for path in files:
            for name in self.dynamic(path, "NEEDED"):
                if name not in libraries and name not in OF_SYSTEM:
                    self.assertRegex(name, OF_WHEELS, path)
                    expected.add(name)
        print("carries", *sorted(libraries))
        print("expects of other wheels", *sorted(expected))

    def test_an_sdist_holds_what_a_build_needs(self):
        archives = sorted((SOURCE / "dist").glob("pepnet_trainer-*.tar.gz"))
        if not archives:
            self.skipTest("there is no sdist; scripts/wheel.sh --sdist builds it")
        with tarfile.open(archives[-1]) as archive:
            found = {name.partition("/")[2] for name in archive.getnames()}
        folders = ["cli", "cmake", "common", "proto", "ps", "python", "worker"]
        listed = said("git", "-C", SOURCE, "ls-files", *folders).split()
        self.assertEqual({"CMakeLists.txt", "LICENSE", "pyproject.toml", *listed} - found, set())

    def test_paths_are_relative(self):
        for path in [*(self.package / "bin").iterdir(), *(self.package / "lib").iterdir()]:
            for paths in self.dynamic(path, "RPATH"):
                for one in paths.split(":"):
                    self.assertRegex(one, r"^\$ORIGIN(/\.\.|/lib|/torch|/pyarrow)*$", path)
            self.assertEqual(self.dynamic(path, "RUNPATH"), [], path)

    def test_glibc_is_that_of_the_tag(self):
        tag = tuple(map(int, re.search(r"manylinux_(\d+)_(\d+)", self.wheel.name).groups()))
        for path in [*(self.package / "bin").iterdir(), *(self.package / "lib").iterdir()]:
            versions = re.findall(r"GLIBC_(\d+)\.(\d+)", said("readelf", "-V", path))
            self.assertLessEqual(
                max((tuple(map(int, one)) for one in versions), default=(0, 0)), tag, path
            )


class InstalledTest(unittest.TestCase):
    """In a fresh virtual environment, away from the repository."""

    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory()
        cls.addClassCleanup(scratch.cleanup)
        cls.scratch = pathlib.Path(scratch.name)
        cls.fresh = cls.scratch / "fresh"
        cls.environment = environment_of(cls.fresh)
        said(sys.executable, "-m", "venv", cls.fresh)
        arguments = os.environ.get("PEPNET_PIP_ARGS", "").split()
        packages = [WHEELS[-1], "pandas", "onnxruntime", "nbclient", "ipykernel"]
        arguments += ["--disable-pip-version-check", *packages]
        said(cls.fresh / "bin/pip", "install", *arguments, env=cls.environment)
        print(said(cls.fresh / "bin/pip", "list", "--format", "freeze", env=cls.environment))

    def work(self, name):
        """A folder, and the options with which said() runs a command in it."""
        folder = self.scratch / name
        folder.mkdir()
        return folder, {"cwd": folder, "env": self.environment}

    def test_the_notebook(self):
        work, options = self.work("notebook")
        options["env"] = {**self.environment, "HOME": str(work)}  # Jupyter keeps its files there
        job = SOURCE / "tests/python/execute_notebook.py"
        output = said(self.fresh / "bin/python3", job, SOURCE / "docs/first_model.ipynb", **options)
        print(output)
        self.assertRegex(output, r"\\rstep \d+  epoch \d/3  loss")  # a line that is written over
        self.assertIn("status 'done'", output)

    def test_an_own_frame_and_mpirun(self):
        work, options = self.work("work")
        fresh = self.fresh
        print(said(fresh / "bin/python3", SOURCE / "tests/python/wheel_job.py", work, **options))
        said(fresh / "bin/pepnet_ps", "--help", **options)

        # The commands on PATH, under both Open MPIs.
        data = ["--train_input_path", max((work / "shop/data").glob("train-*")),
                "--eval_input_path", max((work / "shop/data").glob("eval-*"))]  # fmt: skip
        results = {}
        for name, mpirun in (
            ("of pip", fresh / "bin/mpirun"),
            ("of the system", shutil.which("mpirun", path="/usr/bin")),
        ):
            if mpirun is None:
                print("there is no mpirun of the system")
                continue
            print(name, said(mpirun, "--version", **options).splitlines()[0])
            start = [mpirun, "--oversubscribe", "--bind-to", "none", "-n"]
            job = ["pepnet", "train", "--pipeline_config_path", "shop.config", *data]
            for kind, ranks in {
                "colocated": ["4", *job, "--placement=colocated"],
                "apart": ["1", "pepnet_ps", ":", "-n", "2", *job],
            }.items():
                output = said(*start, *ranks, "--model_dir", f"{kind} {name}", **options)
                results[f"{kind} {name}"] = re.search(r'"auc_click":[\d.]+', output)[0]
        print(results)
        self.assertEqual(
            results["colocated of pip"],
            results.get("colocated of the system", results["colocated of pip"]),
        )
        refused = subprocess.run(
            [fresh / "bin/pepnet", "train"], capture_output=True, text=True, **options
        )
        self.assertEqual(refused.returncode, 2)
        self.assertRegex(refused.stderr.splitlines()[-1], "^pepnet: ")

    def test_a_layout_as_of_conda(self):
        """The interpreter and its library lie in the prefix, without a virtual environment; no
        other path holds."""
        work, options = self.work("conda")
        prefix, away = self.scratch / "prefix", self.scratch / "away"
        shutil.copytree(self.fresh, prefix, symlinks=True, copy_function=os.link)
        (prefix / "pyvenv.cfg").unlink()
        for path in (prefix / "bin").glob("python*"):
            path.unlink()
        shutil.copy(os.path.realpath(sys.executable), prefix / "bin/python3")
        library = pathlib.Path(sysconfig.get_path("stdlib"))
        for path in library.iterdir():
            if path.name not in ("site-packages", "dist-packages"):
                (prefix / "lib" / library.name / path.name).symlink_to(path)
        # Debian's Python would look for dist-packages.
        options["env"] = {
            **environment_of(prefix),
            "PYTHONPATH": str(prefix / "lib" / library.name / "site-packages"),
        }
        self.fresh.rename(away)
        self.addCleanup(away.rename, self.fresh)
        print(said(prefix / "bin/python3", SOURCE / "tests/python/wheel_job.py", work, **options))

    def test_the_quickstart(self):
        """Runs scripts/quickstart.sh --wheel in a clone that holds nothing else, then the commands
        that it ends with."""
        clone, options = self.work("clone")
        for name in ("configs", "scripts"):
            shutil.copytree(SOURCE / name, clone / name)
        # The script sets what root needs.
        options["env"] = {
            name: value
            for name, value in self.environment.items()
            if "ALLOW_RUN_AS_ROOT" not in name
        }
        start = time.monotonic()
        output = said("bash", "scripts/quickstart.sh", "--wheel", WHEELS[-1], **options)
        print(f"the quickstart took {time.monotonic() - start:.0f} s")
        # Alone and under mpirun, by the training and at the end.
        self.assertEqual(len(re.findall(r'"auc_like":0\.7', output)), 4, output)
        commands = output.partition("Next, for example:\n")[2].splitlines()
        self.assertEqual(len(commands), 3, output)
        for command in commands:
            said("bash", "-c", command, **options)
        said("runs/wheel_venv/bin/pepnet", "train", "runs/own.config", **options)


if __name__ == "__main__":
    if not WHEELS:
        print("skipped: there is no dist/pepnet_trainer-*.whl; scripts/wheel.sh builds it")
        sys.exit(77)
    unittest.main()
