"""Shared code of the benchmark scripts."""
import argparse
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "configs/pepnet_taobao_example.config"  # the reference's public example


def whole_numbers(text):
    """A comma list of an argument."""
    values = [int(part) for part in text.split(",")]
    if any(value < 1 for value in values):
        raise argparse.ArgumentTypeError(f"{text}: expected whole numbers from 1")
    return values


def fbgemm_tables(shapes, lr, rowwise=False):
    """FBGEMM's table-batched CPU operator over tables of (rows, width), which sums bags; its
    backward pass applies exact Adagrad, with one sum a row if rowwise."""
    from fbgemm_gpu.split_embedding_configs import EmbOptimType
    from fbgemm_gpu.split_table_batched_embeddings_ops_common import EmbeddingLocation, PoolingMode
    from fbgemm_gpu.split_table_batched_embeddings_ops_training import (
        ComputeDevice, SplitTableBatchedEmbeddingBagsCodegen)
    return SplitTableBatchedEmbeddingBagsCodegen(
        [(rows, width, EmbeddingLocation.HOST, ComputeDevice.CPU) for rows, width in shapes],
        optimizer=EmbOptimType.EXACT_ROWWISE_ADAGRAD if rowwise else EmbOptimType.EXACT_ADAGRAD,
        learning_rate=lr, eps=1e-8, pooling_mode=PoolingMode.SUM)


def mpirun(ranks, core_each=False):
    """The words that start so many ranks on this host, on its cores as they come. core_each: each
    on a core of its own where there are enough: the system may leave two ranks that wait for each
    other on one core for seconds, and messages then take twice as long."""
    # mpirun refuses to run as root without both.
    os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    bind = "core:overload-allowed" if core_each and ranks <= os.cpu_count() else "none"
    return ["mpirun", "-q", "--bind-to", bind, "--oversubscribe", "-n", str(ranks)]


def give_peers_avx512(work_dir):
    """Lets libtorch's MKL take AVX-512 products in every program started from now on, as pepnet
    does by itself (docs/decisions/0029-products-with-avx512.md); needs g++ and a processor that has
    them."""
    flags = re.search(r"^flags\s*:(.*)", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    has = set(flags[1].split() if flags else [])
    missing = {"avx512f", "avx512bw", "avx512dq", "avx512vl"} - has
    if missing:
        sys.exit(f"--peers_avx512: this processor has no {', '.join(sorted(missing))}")
    source = work_dir / "takes_avx512.cc"
    library = str(source.with_suffix(".so").resolve())
    if re.search(r"[\s:]", library):
        sys.exit(f"--peers_avx512: LD_PRELOAD takes no path with blanks or ':', as '{library}'; "
                 "give another --work_dir")
    work_dir.mkdir(parents=True, exist_ok=True)
    source.write_text('extern "C" int mkl_serv_intel_cpu_true() { return 1; }\n')
    run(["g++", "-shared", "-fPIC", source, "-o", library])
    os.environ["LD_PRELOAD"] = f"{library} {os.environ.get('LD_PRELOAD', '')}".strip()


def peers_note(result):
    """What a table says behind its machine of peers that give_peers_avx512() was called for."""
    return " The peers were given AVX-512 products." if result["peers_avx512"] else ""


def run(command):
    """Runs it and returns its output; if it fails, so does the script, with its last words."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(words)}\nended with status {done.returncode}:\n{done.stderr[-3000:]}")
    return done
