#!/usr/bin/env python3
"""Usage: tests/scripts/launchers_test.py REPOSITORY BUILD

The launchers as far as they can be checked without their systems: shell scripts with shellcheck,
the MPIJob against the essential part of its schema, the Dockerfile against its rules and the
libraries that pepnet links to, the Slurm script by a job that is told to stop and is queued again,
and launch.sh by jobs that are interrupted at a terminal. A missing tool skips its check and says
how to get it.
"""
import fcntl
import json
import os
import pathlib
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import time
import unittest

import tiny_data

REPOSITORY, BUILD = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
try:
    import yaml
except ImportError:
    yaml = None


class ShellTest(unittest.TestCase):
    def test_shellcheck_has_nothing_to_say(self):
        beside = pathlib.Path(sys.executable).with_name("shellcheck")
        shellcheck = beside if beside.exists() else shutil.which("shellcheck")
        if not shellcheck:
            self.skipTest("there is no shellcheck: scripts/setup.sh --tests")
        patterns = ("scripts/*.sh", "scripts/*/*.sh", "scripts/*/*.sbatch", "scripts/*.bash",
                    "tests/scripts/*.sh", ".ci/run")
        scripts = [path for pattern in patterns for path in REPOSITORY.glob(pattern)]
        self.assertGreater(len(scripts), 10)
        done = subprocess.run(
            [shellcheck, "-x", "-P", "SCRIPTDIR", "-S", "warning", "-f", "gcc", *scripts],
            capture_output=True, text=True)
        self.assertEqual(done.stdout + done.stderr, "")


# ---- Kubernetes ----------------------------------------------------------------------------------

# The part of the MPIJob's and the pod's schema that this job uses: {field: type or sub-schema}; "!"
# marks required fields, [x] a list, {"*": x} any name. A field that is not here is an error, as it
# is for a strict API server.
QUANTITIES = {"*": str}
CONTAINER = {"name!": str, "image!": str, "command": [str],
             "resources": {"requests": QUANTITIES, "limits": QUANTITIES},
             "volumeMounts": [{"name!": str, "mountPath!": str}]}
POD = {"containers!": [CONTAINER], "restartPolicy": str, "terminationGracePeriodSeconds": int,
       "volumes": [{"name!": str, "persistentVolumeClaim": {"claimName!": str}}],
       "topologySpreadConstraints": [{"maxSkew!": int, "topologyKey!": str,
                                      "whenUnsatisfiable!": str,
                                      "labelSelector": {"matchLabels": {"*": str}}}]}
REPLICA = {"replicas": int, "restartPolicy": str, "template!": {"spec!": POD}}
MPIJOB = {"apiVersion!": str, "kind!": str, "metadata!": {"name!": str},
          "spec!": {"slotsPerWorker": int, "sshAuthMountPath": str, "mpiImplementation": str,
                    "runPolicy": {"cleanPodPolicy": str, "backoffLimit": int,
                                  "activeDeadlineSeconds": int},
                    "mpiReplicaSpecs!": {"Launcher!": REPLICA, "Worker": REPLICA}}}


def schema_errors(value, schema, path="MPIJob"):
    if isinstance(schema, type):
        return [] if type(value) is schema else [f"{path} is {value!r}, expected {schema.__name__}"]
    if isinstance(schema, list):
        if not isinstance(value, list):
            return [f"{path} is {value!r}, expected a list"]
        return [error for i, one in enumerate(value)
                for error in schema_errors(one, schema[0], f"{path}[{i}]")]
    if not isinstance(value, dict):
        return [f"{path} is {value!r}, expected fields"]
    known = {name.rstrip("!"): one for name, one in schema.items()}
    errors = [f"{path}.{name.rstrip('!')} is missing"
              for name in schema if name.endswith("!") and name[:-1] not in value]
    for name, one in value.items():
        if name not in known and "*" not in known:
            errors.append(f"{path}.{name} is no field")
        else:
            errors += schema_errors(one, known.get(name, known.get("*")), f"{path}.{name}")
    return errors


class KubernetesTest(unittest.TestCase):
    def setUp(self):
        if yaml is None:
            self.skipTest("there is no PyYAML: pip install PyYAML")
        self.text = (REPOSITORY / "scripts/kubernetes/mpijob.yaml").read_text()
        self.job = yaml.safe_load(self.text)

    def test_the_manifest_fits_the_schema(self):
        self.assertEqual(schema_errors(self.job, MPIJOB), [])
        self.assertEqual((self.job["apiVersion"], self.job["kind"]),
                         ("kubeflow.org/v2beta1", "MPIJob"))
        self.assertIn(self.job["spec"]["runPolicy"]["cleanPodPolicy"], ("None", "Running", "All"))
        # The check itself sees what is wrong.
        self.job["spec"]["slotPerWorker"] = self.job["spec"].pop("slotsPerWorker")
        del (self.job["spec"]["mpiReplicaSpecs"]["Launcher"]["template"]
             ["spec"]["containers"][0]["image"])
        self.assertEqual(len(schema_errors(self.job, MPIJOB)), 2)

    def test_its_parts_fit_together(self):
        spec = self.job["spec"]
        pods = {name: replica["template"]["spec"]
                for name, replica in spec["mpiReplicaSpecs"].items()}
        command = shlex.split(pods["Launcher"]["containers"][0]["command"][2])
        servers, workers = (int(command[command.index(flag) + 1])
                            for flag in ("--servers", "--workers"))
        self.assertEqual(servers + workers,
                         spec["slotsPerWorker"] * spec["mpiReplicaSpecs"]["Worker"]["replicas"])
        self.assertTrue((REPOSITORY / command[command.index("bash") + 1]).exists())
        help_text = subprocess.run([BUILD / "pepnet", "train", "--help"],
                                   capture_output=True, text=True).stdout
        for flag in (word for word in command[command.index("train"):] if word.startswith("--")):
            self.assertIn(flag, help_text)
        self.assertEqual(len({pod["containers"][0]["image"] for pod in pods.values()}), 1)
        for pod in pods.values():
            names = {volume["name"] for volume in pod["volumes"]}
            for mount in pod["containers"][0]["volumeMounts"]:
                self.assertIn(mount["name"], names)
        labels = pods["Worker"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"]
        self.assertEqual(labels["training.kubeflow.org/job-name"], self.job["metadata"]["name"])


# ---- Docker --------------------------------------------------------------------------------------


class DockerTest(unittest.TestCase):
    def setUp(self):
        text = (REPOSITORY / "Dockerfile").read_text()
        joined = re.sub(r"\\\n", " ", "\n".join(line for line in text.split("\n")
                                                if not line.startswith("#")))
        self.instructions = [line.split(None, 1) for line in joined.split("\n") if line.strip()]

    def test_the_file_keeps_the_rules(self):
        known = {"FROM", "ARG", "WORKDIR", "COPY", "RUN", "ENV", "CMD"}
        self.assertEqual({name for name, _ in self.instructions} - known, set())
        self.assertEqual(self.instructions[0][0], "FROM")
        ignored = (REPOSITORY / ".dockerignore").read_text().split()
        for name, rest in self.instructions:
            if name == "FROM":
                self.assertRegex(rest, r"^[\w./-]+:(?!latest)[\w.-]+( AS \w+)?$",
                                 "an image with a version")
            elif name == "WORKDIR":
                self.assertTrue(rest.startswith("/"), "an absolute path")
            elif name == "CMD":
                self.assertIsInstance(json.loads(rest), list)
            elif name == "COPY" and "--from" not in rest:
                for source in rest.split()[:-1]:
                    self.assertTrue((REPOSITORY / source).exists(), source)
                    self.assertNotIn(source, ignored)
            elif name == "RUN":
                self.assertEqual(subprocess.run(["bash", "-n", "-c", rest]).returncode, 0, rest)
                if "apt-get install" in rest:
                    for part in ("apt-get update", "install -y --no-install-recommends",
                                 "rm -rf /var/lib/apt/lists/*"):
                        self.assertIn(part, rest)

    def test_the_image_has_what_the_programs_link_to(self):
        if not shutil.which("dpkg-query"):
            self.skipTest("there is no dpkg, which knows what library is in what package")
        last = [rest for name, rest in self.instructions if name == "RUN"][-1]
        waiting = re.search(r"--no-install-recommends(.*?)&&", last)[1].split()
        installed = set()  # with what they depend on
        while waiting:
            package = waiting.pop()
            if package in installed:
                continue
            installed.add(package)
            depends = subprocess.run(
                ["dpkg-query", "-W", "-f", "${Depends},${Pre-Depends}", package],
                capture_output=True, text=True)
            waiting += [name for name in re.findall(r"(?:^|[,|])\s*([\w.+-]+)", depends.stdout)
                        if name not in installed]
        linked = subprocess.run(["ldd", BUILD / "pepnet", BUILD / "pepnet_ps"],
                                capture_output=True, text=True).stdout
        libraries = {os.path.realpath(path) for path in re.findall(r"=> (/\S+)", linked)
                     if "site-packages" not in path}
        owners = subprocess.run(["dpkg-query", "-S", *libraries],
                                capture_output=True, text=True).stdout
        owned = {path: package
                 for package, path in re.findall(r"^([\w.+-]+)(?::\w+)?: (\S+)$", owners, re.M)}
        self.assertGreater(len(owned), 5)
        for path in libraries & set(owned):
            self.assertIn(owned[path], installed, f"{path}: add {owned[path]} to the Dockerfile")


# ---- Slurm ---------------------------------------------------------------------------------------


def prepare_movielens(directory):
    """A clone as far as a launcher needs one, with a few rows of MovieLens."""
    (directory / "build").mkdir()
    (directory / "build/release").symlink_to(BUILD)
    shutil.copytree(REPOSITORY / "scripts", directory / "scripts")
    shutil.copytree(REPOSITORY / "configs", directory / "configs")
    tiny_data.write_movielens(directory / "data/ml-100k")
    subprocess.run([sys.executable, "scripts/data/prepare_movielens.py",
                    "--input_dir", "data/ml-100k", "--output_dir", "data/movielens"],
                   cwd=directory, check=True, stdout=subprocess.DEVNULL)


class SlurmTest(unittest.TestCase):
    SCRIPT = "scripts/slurm/train.sbatch"

    def test_directives_are_options_of_sbatch(self):
        known = {"job-name", "nodes", "ntasks-per-node", "cpus-per-task", "time", "output",
                 "open-mode", "requeue", "signal"}
        lines = (REPOSITORY / self.SCRIPT).read_text().split("\n")
        options = [line[len("#SBATCH --"):].split("=")[0]
                   for line in lines if line.startswith("#SBATCH")]
        self.assertEqual(set(options), known)
        first_command = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
        self.assertGreater(
            first_command, max(i for i, line in enumerate(lines) if line.startswith("#SBATCH")))

    def test_a_job_that_is_told_to_stop_is_queued_again_and_goes_on(self):
        with tempfile.TemporaryDirectory() as scratch:
            scratch = pathlib.Path(scratch)
            prepare_movielens(scratch)
            (scratch / "bin").mkdir()
            (scratch / "bin/scontrol").write_text('#!/usr/bin/env bash\necho "$@" >>requeued\n')
            (scratch / "bin/scontrol").chmod(0o755)
            environment = {**os.environ, "PATH": f"{scratch}/bin:{os.environ['PATH']}",
                           "SLURM_SUBMIT_DIR": str(scratch), "SLURM_JOB_ID": "17",
                           "SLURM_JOB_NUM_NODES": "1", "OMPI_MCA_ras": "^slurm",
                           "OMPI_MCA_plm": "^slurm", "OMPI_MCA_rmaps_base_oversubscribe": "1"}

            def start(steps):
                edits = {"train_config.num_epochs": 0, "train_config.num_steps": steps,
                         "data_config.batch_size": 64, "train_config.save_checkpoints_epochs": 0}
                return subprocess.Popen(
                    ["bash", self.SCRIPT, "configs/pepnet_movielens.config", "runs/slurm",
                     "--edit_config_json", json.dumps(edits)],
                    cwd=scratch, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                    text=True)

            job = start(1_000_000)
            try:
                log = scratch / "runs/slurm/metrics.jsonl"
                for _ in range(1200):
                    if job.poll() is not None or (log.exists() and log.stat().st_size):
                        break
                    time.sleep(0.05)
                self.assertIsNone(job.poll(), "the job ended by itself")
                job.send_signal(signal.SIGUSR1)
                output, _ = job.communicate(timeout=60)
            finally:
                job.kill()
            self.assertEqual(job.returncode, 75, output)
            self.assertEqual((scratch / "requeued").read_text(), "requeue 17\n")
            (checkpoint,) = (scratch / "runs/slurm").glob("model.ckpt-*")
            done = int(checkpoint.name.split("-")[1])

            job = start(done + 3)
            output, _ = job.communicate(timeout=60)
            self.assertEqual(job.returncode, 0, output)
            self.assertTrue((scratch / f"runs/slurm/model.ckpt-{done + 3}/manifest.json").exists(),
                            output)
            self.assertEqual((scratch / "requeued").read_text(), "requeue 17\n")


class InterruptTest(unittest.TestCase):
    """Ctrl-C at the terminal on which launch.sh runs, which reaches all that runs in its
    foreground."""

    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory()
        cls.addClassCleanup(scratch.cleanup)
        cls.scratch = pathlib.Path(scratch.name)
        prepare_movielens(cls.scratch)

    def on_terminal(self, command, typed, environment=os.environ):
        """Types Ctrl-C whenever a function of `typed`, which takes what has been written so far,
        says that it is time."""
        leader, follower = pty.openpty()

        def take_terminal():
            os.setsid()
            fcntl.ioctl(follower, termios.TIOCSCTTY, 0)

        job = subprocess.Popen(command, cwd=self.scratch, env=environment, stdin=follower,
                               stdout=follower, stderr=follower, preexec_fn=take_terminal)
        os.close(follower)
        os.set_blocking(leader, False)
        written, deadline = "", time.monotonic() + 120
        try:
            while job.poll() is None and time.monotonic() < deadline:
                try:
                    written += os.read(leader, 65536).decode()
                except (BlockingIOError, OSError):
                    time.sleep(0.02)
                if typed and typed[0](written):
                    typed.pop(0)
                    os.write(leader, b"\x03")
            self.assertIsNotNone(job.poll(),
                                 f"still running; {len(typed)} left to type:\n{written}")
        finally:
            job.kill()
        try:
            while piece := os.read(leader, 65536):
                written += piece.decode()
        except OSError:  # nothing is left
            pass
        os.close(leader)
        return job.returncode, written

    def test_the_first_one_saves_and_stops(self):
        edits = {"train_config.num_epochs": 1_000_000, "train_config.save_checkpoints_epochs": 0}
        for servers in (0, 1):
            with self.subTest(servers=servers):
                model = self.scratch / f"runs/servers{servers}"
                log = model / "metrics.jsonl"
                status, written = self.on_terminal(
                    ["bash", "scripts/launch.sh", "--servers", str(servers), "--workers", "1", "--",
                     "train", "--pipeline_config_path", "configs/pepnet_movielens.config",
                     "--model_dir", str(model), "--edit_config_json", json.dumps(edits)],
                    [lambda _: log.exists() and log.stat().st_size > 0])
                self.assertEqual(status, 75, written)
                self.assertIn("a second Ctrl-C ends it at once", written)
                self.assertIn("training stops after the next step, with a checkpoint", written)
                self.assertRegex(written, r"stopped on request .*--continue_train")
                self.assertEqual(len(list(model.glob("model.ckpt-*/manifest.json"))), 1, written)

    def test_the_second_one_ends_what_does_not_stop(self):
        binaries = self.scratch / "slow"
        binaries.mkdir()
        (binaries / "mpirun").write_text(
            "#!/usr/bin/env bash\n"
            "trap 'echo asked to stop' USR1\ntrap 'echo ends; exit 9' INT\necho ready\n"
            "while :; do sleep 0.05; done\n")
        (binaries / "mpirun").chmod(0o755)
        environment = {**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}"}
        for command, expected in (("train", ["ready", "asked to stop", "ends"]),
                                  ("eval", ["ready", "ends"])):
            with self.subTest(command=command):
                status, written = self.on_terminal(
                    ["bash", "scripts/launch.sh", "--servers", "1", "--workers", "1",
                     "--max_restarts", "3", "--", command, "--model_dir", "m"]
                    if command == "train" else
                    ["bash", "scripts/launch.sh", "--servers", "1", "--workers", "1", "--",
                     command],
                    [lambda text, one=one: f"\n{one}\r" in text for one in expected[:-1]],
                    environment)
                self.assertEqual(status, 130, written)
                # The terminal's echo.
                lines = written.replace("\r", "").replace("^C", "").split("\n")
                said = [line for line in lines if line in (*expected, "asked to stop")]
                self.assertEqual(said, expected, f"no restart, and each signal once:\n{written}")
                self.assertIn("launch.sh: Ctrl-C ended the job", written)
                self.assertEqual("--continue_train" in written, command == "train")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
