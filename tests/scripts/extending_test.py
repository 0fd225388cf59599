#!/usr/bin/env python3
"""Usage: tests/scripts/extending_test.py REPOSITORY BUILD

Follows the recipes of docs/extending.md. Each has a patch in tests/extending that adds a type; here

  - the patch touches no more product files than the recipe says,
  - with all patches, what they touch compiles, and tests/extending/added_types.cc uses the added
    types,
  - with a patch that leaves one of its files out, a file does not compile, a program does not link,
    or it does not start.

The patches are applied to copies of the sources; objects of BUILD stand in for files that no patch
reaches.
"""
import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import time

REPOSITORY, BUILD = (pathlib.Path(argument).resolve() for argument in sys.argv[1:3])
PATCHES = REPOSITORY / "tests/extending"
# Always the same place, so that ccache knows the files of the last run.
SCRATCH = BUILD / "extending"
MOST_FILES = {"sparse_optimizer": 3, "loss": 3, "metric": 3, "activation": 3, "feature_kind": 4,
              "file_format": 4}
PROTOS = ("data", "feature", "model", "optimizer", "pipeline", "train")

# A file that a recipe must not leave out, and the file that does not compile without it.
DOES_NOT_COMPILE = [
    ("sparse_optimizer", "common/job_config/sparse_optimizer.h", "ps/table/sparse_optimizer.cc"),
    ("sparse_optimizer", "ps/table/sparse_optimizer.cc", "ps/table/sparse_optimizer.cc"),
    ("loss", "common/job_config/loss.h", "worker/model/fused/row_loss.cc"),
    ("loss", "worker/model/fused/row_loss.cc", "worker/model/fused/row_loss.cc"),
    ("metric", "common/job_config/metric.h", "worker/metrics/metric_counts.cc"),
    ("metric", "worker/metrics/metric_counts.cc", "worker/metrics/metric_counts.cc"),
    ("activation", "common/job_config/activation.h", "worker/model/fused/kernels/fused_kernels.cc"),
    ("activation", "worker/model/fused/kernels/fused_kernels.cc",
     "worker/model/fused/kernels/fused_kernels.cc"),
    ("feature_kind", "common/job_config/feature.h", "worker/data/encode/token_sinks.cc"),
    ("feature_kind", "worker/data/encode/token_sinks.cc", "worker/data/encode/token_sinks.cc"),
    ("feature_kind", "common/config/convert_features.cc", "common/config/convert_features.cc"),
    ("feature_kind", "proto/feature.proto", "common/config/convert_features.cc"),
    ("file_format", "common/job_config/data_config.h", "worker/data/files/tsv_reader.cc"),
]
# Those whose schema is left out: the program does not start, and says this.
DOES_NOT_START = {
    "sparse_optimizer": "SparseOptimizer has no optimizer momentum_optimizer",
    "loss": "LossConfig has no loss huber_loss",
    "metric": "MetricConfig has no metric root_mean_squared_error",
    "feature_kind": "FeatureConfig has no feature length_feature",
    "file_format": "DatasetType has no value TsvDataset",
}
# And those whose description is left out.
NOT_DESCRIBED = {
    "sparse_optimizer": "SparseOptimizer.momentum_optimizer has no description",
    "loss": "LossConfig.huber_loss has no description",
}
USED = """
common/config/convert_data.cc common/config/convert_embedding.cc common/config/convert_features.cc
common/config/convert_groups.cc common/config/convert_model.cc common/config/convert_optimizer.cc
common/config/convert_parameters.cc common/config/convert_table.cc common/config/convert_towers.cc
common/config/convert_train.cc common/config/derived_features.cc common/config/descriptions.cc
common/config/effective_text.cc common/config/field_support.cc
common/config/parse/legacy_dialect.cc common/config/load.cc common/config/parse/config_source.cc
common/config/parse/edit_config.cc common/config/parse/field_paths.cc
common/config/parse/json_fields.cc common/config/parse/json_parser.cc
common/config/parse/text_parser.cc common/config/unused_features.cc
common/config/values/tokenizer_file.cc common/config/values/value_strings.cc
common/config/values/vocabulary.cc common/expression/expression.cc common/expression/function.cc
common/expression/name_pattern.cc common/job_config/best_rule.cc
common/job_config/evaluation_metrics.cc common/job_config/table.cc common/tokenizer/characters.cc
common/tokenizer/word_tokenizer.cc ps/table/sparse_optimizer.cc tests/extending/added_types.cc
worker/data/derive/bool_mask.cc worker/data/derive/cell_deriver.cc
worker/data/derive/column_operator.cc worker/data/derive/combine.cc worker/data/derive/combo.cc
worker/data/derive/edit_distance.cc worker/data/derive/expr.cc worker/data/derive/input_cell.cc
worker/data/derive/kv_dot_product.cc worker/data/derive/lookup.cc worker/data/derive/match.cc
worker/data/derive/overlap.cc worker/data/derive/tokenize.cc worker/data/encode/feature_encoder.cc
worker/data/encode/sequence_cells.cc worker/data/encode/token_sinks.cc
worker/data/files/column_view.cc worker/data/files/csv_reader.cc worker/data/files/input_files.cc
worker/data/files/number_text.cc worker/data/files/parquet_reader.cc
worker/data/files/row_reader.cc worker/data/files/tsv_reader.cc worker/data/rows/row_selection.cc
worker/metrics/grouped_auc.cc worker/metrics/metric_counts.cc worker/metrics/scored_rows.cc
worker/metrics/slices.cc worker/model/dropout_mask.cc worker/model/fused/kernels/fused_kernels.cc
worker/model/fused/row_loss.cc
""".split()


def run(command, **more):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          **more)


def must(command, **more):
    result = run(command, **more)
    if result.returncode != 0:
        raise SystemExit(f"{shlex.join(map(str, command))}\n{result.stdout[-4000:]}")
    return result.stdout


def files_of(recipe):
    return re.findall(r"^\+\+\+ b/(\S+)", (PATCHES / f"{recipe}.patch").read_text(), re.MULTILINE)


class Tree:
    """A copy of the sources with patches: [(recipe, file that is left out or None)]."""

    def __init__(self, name, patches):
        self.root = SCRATCH / name
        shutil.rmtree(self.root, ignore_errors=True)
        for folder in ("common", "proto", "ps", "worker", "tests/extending"):
            shutil.copytree(REPOSITORY / folder, self.root / folder)
        self.generates = False
        for recipe, left_out in patches:
            exclude = [f"--exclude={left_out}"] if left_out else []
            must(["git", "apply", *exclude, str(PATCHES / f"{recipe}.patch")], cwd=self.root,
                 env={**os.environ, "GIT_CEILING_DIRECTORIES": str(SCRATCH)})
            self.generates = self.generates or any(
                f.endswith(".proto") and f != left_out for f in files_of(recipe))
        if self.generates:
            must([PROTOC, f"--proto_path={self.root}", f"--cpp_out={self.root}",
                  *(str(self.root / f"proto/{stem}.proto") for stem in PROTOS)])

    def compile(self, source, arguments):
        command = [*LAUNCHER, *FLAGS[flag_key(source)], f"-I{self.root}", f"-I{BUILD}", *arguments,
                   "-c", str(self.root / source)]
        return run(command, cwd=self.root,
                   env={**os.environ, "CCACHE_BASEDIR": str(SCRATCH), "CCACHE_NOHASHDIR": "true"})

    def object(self, source):
        out = self.root / (source.replace("/", "__") + ".o")
        result = self.compile(source, ["-o", str(out)])
        if result.returncode != 0:
            raise SystemExit(f"{source} does not compile:\n{result.stdout[-4000:]}")
        return str(out)

    def link(self, objects, name, libraries):
        program = self.root / name
        return program, run([*LINK[0], *objects, "-o", str(program), *libraries, *LINK[1]],
                            cwd=BUILD)


def flag_key(source):
    """Files that are compiled only here have the flags of a neighbour."""
    if source in FLAGS:
        return source
    if source.startswith("proto"):
        return os.path.relpath(BUILD / "proto/pipeline.pb.cc", REPOSITORY)
    return "worker/data/files/csv_reader.cc"


def read_flags():
    """Maps a source to compiler and options, without paths of ours, precompiled header,
    optimisation and output."""
    flags = {}
    for entry in json.loads((BUILD / "compile_commands.json").read_text()):
        words = shlex.split(entry["command"])
        kept = []
        words = iter(words)
        for word in words:
            if word in ("-o", "-c", "-include"):
                next(words)
            elif (word not in (f"-I{REPOSITORY}", f"-I{BUILD}", "-g1", "-Winvalid-pch")
                  and not re.match("-O[0-3s]", word)):
                kept.append(word)
        flags[os.path.relpath(entry["file"], REPOSITORY)] = [*kept, "-O0"]
    return flags


def read_link():
    """(what stands before the objects, libraries behind them that no patch reaches), as
    metrics_test has them."""
    command = must(["ninja", "-C", str(BUILD), "-t", "commands", "-s",
                    "tests/metrics_test"]).splitlines()[-1]
    words = [word for word in shlex.split(command) if word not in ("&&", ":")]
    touched = ("pepnet_metrics", "pepnet_test", "pepnet_data", "pepnet_config",
               "pepnet_job_config", "pepnet_proto", "pepnet_net", "pepnet_checkpoint",
               "gtest", "gmock", ".o")
    compiler = words[0]
    out = words.index("-o")
    kept = [word for i, word in enumerate(words[1:], 1)
            if i not in (out, out + 1)
            and not any(word.endswith(name) or name + ".a" in word or name + "_" in word
                        for name in touched)]
    return [compiler], kept


def report(lines):
    for line in lines:
        print(line, flush=True)


def main():
    global FLAGS, LINK, LAUNCHER, PROTOC
    begin = time.monotonic()
    FLAGS, LINK = read_flags(), read_link()
    ccache = shutil.which("ccache")
    LAUNCHER = [ccache] if ccache else []
    PROTOC = shutil.which("protoc") or "protoc"
    wrong = []

    page = (REPOSITORY / "docs/extending.md").read_text()
    for recipe, most in MOST_FILES.items():
        files = files_of(recipe)
        report([f"{recipe}: {len(files)} files: {' '.join(files)}"])
        if len(files) > most:
            wrong.append(f"{recipe} touches {len(files)} files, the recipe says {most}")
        wrong += [f"docs/extending.md does not name {name}, which {recipe}.patch touches"
                  for name in files if name not in page and not name.endswith("tsv_reader.cc")]

    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        # Everything added.
        tree = Tree("all", [(recipe, None) for recipe in MOST_FILES])
        sources = [*USED, *(f"proto/{stem}.pb.cc" for stem in PROTOS)]
        objects = dict(zip(sources, pool.map(tree.object, sources)))
        program, linked = tree.link(objects.values(), "added_types", [])
        if linked.returncode != 0:
            wrong.append(f"added_types does not link: {linked.stdout[-2000:]}")
        else:
            ran = run([str(program)], cwd=tree.root)
            if ran.returncode != 0:
                wrong.append(f"added_types: {ran.stdout}")

        # A format without its reader.
        others = [name for source, name in objects.items() if not source.endswith("tsv_reader.cc")]
        _, linked = tree.link(others, "without_reader", [])
        if linked.returncode == 0 or "ReaderOfFormat" not in linked.stdout:
            wrong.append("file_format without tsv_reader.cc links")
        report(["file_format without tsv_reader.cc: does not link"])

        def does_not_compile(case):
            recipe, left_out, source = case
            half = Tree(f"{recipe}-{left_out.replace('/', '_')}", [(recipe, left_out)])
            result = half.compile(source, ["-fsyntax-only"])
            if result.returncode == 0:
                return [f"{recipe} without {left_out}: {source} compiles"]
            reason = next((line for line in result.stdout.splitlines() if "error" in line), "?")
            report([f"{recipe} without {left_out}: {reason.split('/')[-1][:110]}"])
            return []

        def does_not_start(case):
            recipe, left_out, says = case
            half = Tree(f"{recipe}-{left_out.replace('/', '_')}", [(recipe, left_out)])
            made = [half.object(source) for source in
                    ("common/config/descriptions.cc", "common/config/field_support.cc",
                     "tests/extending/starts.cc",
                     *((f"proto/{stem}.pb.cc" for stem in PROTOS) if half.generates else ()))]
            libraries = [str(BUILD / "common/config/libpepnet_config.a")]
            if not half.generates:
                libraries.append(str(BUILD / "proto/libpepnet_proto.a"))
            program, linked = half.link(made, "starts", libraries)
            if linked.returncode != 0:
                return [f"{recipe} without {left_out}: {linked.stdout[-2000:]}"]
            ran = run([str(program)])
            if ran.returncode != 1 or says not in ran.stdout:
                return [f"{recipe} without {left_out}: ends with {ran.returncode}: {ran.stdout}"]
            report([f"{recipe} without {left_out}: {ran.stdout.strip()}"])
            return []

        starts = [(recipe, next(f for f in files_of(recipe) if f.endswith(".proto")), says)
                  for recipe, says in DOES_NOT_START.items()]
        starts += [(recipe, next(f for f in files_of(recipe) if f.startswith("common/job_config")),
                    says)
                   for recipe, says in NOT_DESCRIBED.items()]
        for found in [*pool.map(does_not_compile, DOES_NOT_COMPILE),
                      *pool.map(does_not_start, starts)]:
            wrong += found

    report([f"{time.monotonic() - begin:.0f} s"] + [f"WRONG: {line}" for line in wrong])
    return 1 if wrong else 0


sys.exit(main())
