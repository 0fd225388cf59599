"""Shared code of the tests of load_torch()."""

import pathlib
import tempfile
import unittest

import numpy as np

import pepnet_trainer as pt


class ExportTest(unittest.TestCase):
    """A scratch directory, and the comparison of an export with what `pepnet predict` gives."""

    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = pathlib.Path(scratch.name)

    def compare(self, export, expected, rows):
        """Outputs of the loaded module are `expected`, and its state_dict holds every tensor of the
        export."""
        model = pt.load_torch(export)
        found = model.predict(rows, batch_size=64)
        self.assertEqual(found.column_names, expected.column_names)
        self.assertGreater(len(found), 0)
        for name in found.column_names:
            np.testing.assert_allclose(
                np.array(found[name].to_pylist(), np.float32),
                np.array(expected[name].to_pylist(), np.float32),
                rtol=1e-5,
                atol=1e-5,
                err_msg=name,
            )
        names = {
            name.removeprefix("model.")
            for name in pt.read_safetensors(export / "model.safetensors")
        }
        self.assertEqual(set(model.state_dict()), names)
        return model
