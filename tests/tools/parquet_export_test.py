"""Exported Parquet tables through pyarrow, as pandas, DuckDB and Spark read them, against
model.safetensors."""

import json
import pathlib
import struct
import tempfile
import unittest

import numpy as np
import pyarrow.parquet as pq
from small_job import SmallJob, pepnet

PREFIX = "model.embedding_group.emb_impls.__BASE__.ebc.embedding_bags."


def safetensors(path):
    content = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    for name, entry in json.loads(content[8 : 8 + length]).items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        yield name, np.frombuffer(content[begin:end], np.float32).reshape(entry["shape"])


class ParquetExportTest(unittest.TestCase):
    def test_rows_are_those_of_the_full_tables(self):
        with tempfile.TemporaryDirectory() as scratch:
            job = SmallJob(scratch)
            pepnet("train", "--pipeline_config_path", job.config)
            target = job.directory / "export"
            pepnet("export", "--pipeline_config_path", job.config, "--export_dir", target,
                   "--format", "parquet,safetensors")
            weights = dict(safetensors(target / "model.safetensors"))
            for table in ("uid_emb", "iid_emb"):
                file = pq.ParquetFile(target / f"tables/{table}.parquet")
                self.assertEqual(file.schema_arrow.metadata[b"pepnet.table"], table.encode())
                self.assertEqual([str(field.type) for field in file.schema_arrow],
                                 ["int64", "list<element: float not null>", "int64", "int64"])
                rows = file.read()
                full = weights[f"{PREFIX}{table}.weight"]
                ids = rows["id"].to_pylist()
                self.assertEqual(len(ids), len(set(ids)))
                self.assertGreater(len(ids), 30)
                np.testing.assert_array_equal(np.array(rows["value"].to_pylist(), np.float32),
                                              full[ids])
                self.assertGreater(min(rows["frequency"].to_pylist()), 0)
                self.assertEqual(max(rows["last_step"].to_pylist()), 20)
            dense = pq.read_table(target / "dense.parquet").to_pylist()
            for row in dense:
                np.testing.assert_array_equal(
                    np.array(row["value"], np.float32).reshape(row["shape"]), weights[row["name"]])
            self.assertEqual(len(dense) + 2, len(weights))


if __name__ == "__main__":
    unittest.main()
