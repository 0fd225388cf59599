"""The parts of pepnet_trainer that need no program: the text format, data in and out, configs from
columns."""

import datetime
import io
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import numpy as np
import pandas as pd
import pyarrow as pa
from shop_frame import shop_frame

import pepnet_trainer as pt
from pepnet_trainer import (
    column_statistics,
    frames,
    initial_rows,
    onnx_inputs,
    program,
    progress,
    run,
    text_format,
    vocabulary,
)

SOURCE = pathlib.Path(os.environ["PEPNET_SOURCE_DIR"])


class TextFormatTest(unittest.TestCase):
    def test_reads_every_config_of_the_repository(self):
        found = [*SOURCE.glob("configs/*.config"), *SOURCE.glob("tests/golden/*/pipeline.config")]
        self.assertGreater(len(found), 8)
        for path in found:
            message = text_format.parse(path.read_text())
            self.assertGreater(len(message.all("feature_configs")), 1, path)
            self.assertTrue(
                message.message("model_config").message("pepnet").all("task_towers"), path
            )

    def test_resolves_escapes_lists_and_comments(self):
        message = text_format.parse(r"""
            a: "x\035\x1d\303\244\n\"" 'y'  # the end
            b: [1, 2.5, -3e-2f]; b: 4, c { d: true } c: < d: FG_DAG > e: [{f: 1}, {f: 2}] """)
        self.assertEqual(message.first("a"), 'x\x1d\x1dä\n"y')
        self.assertEqual(message.all("b"), [1, 2.5, -0.03, 4])
        self.assertEqual([one.first("d") for one in message.all("c")], [True, "FG_DAG"])
        self.assertEqual([one.first("f") for one in message.all("e")], [1, 2])

    def test_quotes_what_it_reads_back(self):
        for text in ("", 'a"b\\c', "\x1d\x03\n\t", "ä日本", "'"):
            self.assertEqual(text_format.parse(f"a: {text_format.quote(text)}").first("a"), text)

    def test_errors_name_the_line(self):
        for text, line in (("a: 1\nb 2", 2), ("a {\n b: 1\n", 3), ("a: ~", 1), ("a:\n}", 2)):
            with self.assertRaisesRegex(ValueError, f"line {line} of the config"):
                text_format.parse(text)


class FramesTest(unittest.TestCase):
    def test_types_become_those_of_the_program(self):
        table = frames.to_arrow(
            pd.DataFrame(
                {
                    "flag": [True, False],
                    "when": [pd.Timestamp("2026-01-01"), None],
                    "part": pd.Categorical(["a", "b"]),
                    "some": [1.5, np.nan],
                    "list": [np.array([1, 2]), None],
                    "code": pd.array([1, None], dtype="Int64"),
                }
            )
        )
        self.assertEqual(table["flag"].to_pylist(), [1, 0])
        self.assertTrue(pa.types.is_int64(table["when"].type))
        self.assertEqual(table["part"].to_pylist(), ["a", "b"])
        self.assertEqual(table["some"].to_pylist(), [1.5, None])
        self.assertEqual(table["list"].to_pylist(), [[1, 2], None])
        self.assertEqual(table["code"].to_pylist(), [1, None])
        table = frames.to_arrow(
            pa.table({"x": [float("nan"), 1.0], "d": [datetime.date(2026, 1, 1)] * 2})
        )
        self.assertEqual(table["x"].to_pylist(), [None, 1.0])
        views = pa.table({"a": pa.array(["x", None], pa.string_view())})
        self.assertEqual(frames.to_arrow(views)["a"].type, pa.large_string())
        self.assertEqual(frames.to_arrow({"a": [1, 2]})["a"].to_pylist(), [1, 2])
        # has __arrow_c_stream__, as frames of polars and DuckDB do.
        stream = pa.table({"a": [1, 2]}).to_reader()
        self.assertEqual(frames.to_arrow(stream)["a"].to_pylist(), [1, 2])

    def test_whole_numbers_beside_missing_cells_are_ids(self):
        table = frames.to_arrow(pd.DataFrame({"brand": [7.0, np.nan, 9.0], "price": [1.5, 2, 3]}))
        self.assertEqual(frames.fit(table, ["brand", "absent"])["brand"].to_pylist(), [7, None, 9])
        with self.assertRaisesRegex(ValueError, "column 'price' holds ids, but also 1.5"):
            frames.fit(table, ["price"])

    def test_errors_say_what_is_wrong(self):
        with self.assertRaisesRegex(TypeError, "rows are a DataFrame"):
            frames.to_arrow(7)
        with self.assertRaisesRegex(TypeError, "several types.*mixed"):
            frames.to_arrow(pd.DataFrame({"mixed": [1, "a"]}))
        with self.assertRaisesRegex(ValueError, "column.*a are there twice"):
            frames.to_arrow(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]))
        with self.assertRaisesRegex(FileNotFoundError, "'nowhere/.*' names no file"):
            frames.expand("nowhere/*.parquet")

    def test_csv_cells_are_those_of_the_program(self):
        with tempfile.TemporaryDirectory() as name:
            path = pathlib.Path(name) / "rows.csv"
            path.write_text("id,zip,flag,note,price\n7,01234,true,NA,1.5\n,2345,false,,\n")
            table = frames.read_csv(path)
        self.assertEqual(table["id"].to_pylist(), [7, None])
        self.assertEqual(table["zip"].to_pylist(), ["01234", "2345"])
        self.assertEqual(table["flag"].to_pylist(), ["true", "false"])
        self.assertEqual(table["note"].to_pylist(), ["NA", None])
        self.assertEqual(table["price"].to_pylist(), [1.5, None])

    def test_names_are_a_list_or_a_text(self):
        self.assertEqual(frames.names("click"), ["click"])
        self.assertEqual(frames.names(" click,buy ,"), ["click", "buy"])
        self.assertEqual(frames.names(("a,b", "c")), ["a,b", "c"])

    def test_the_same_rows_are_the_same_file(self):
        with tempfile.TemporaryDirectory() as name:
            first = frames.write_rows(pa.table({"a": [1, 2]}), pathlib.Path(name), "train")
            self.assertEqual(
                frames.write_rows(pa.table({"a": [1, 2]}), pathlib.Path(name), "train"), first
            )
            self.assertNotEqual(
                frames.write_rows(pa.table({"a": [1, 3]}), pathlib.Path(name), "train"), first
            )
            self.assertEqual(len(os.listdir(name)), 2)

    def test_split_takes_the_last_rows_in_time(self):
        frame = pd.DataFrame({"t": [3, 1, 2, 5, 4], "x": list("cabed")})
        train, later = pt.split(frame, 0.4, time="t")
        self.assertEqual(("".join(train.x), "".join(later.x)), ("abc", "de"))
        train, other = pt.split(pa.Table.from_pandas(frame), 0.4, seed=3)
        self.assertEqual(sorted(train["x"].to_pylist() + other["x"].to_pylist()), list("abcde"))
        self.assertEqual(len(other), 2)


class TokensTest(unittest.TestCase):
    def test_numbers_are_those_of_the_program(self):
        for text, number in (("007", 7), ("-3", -3), (5, 5), (5.0, 5), (2**62, 2**62)):
            self.assertEqual(onnx_inputs.integer_of(text), number)
        for text in ("1_0", " 5", "+5", "1e1", "5.0", "", "\u0665", 5.5, float("nan")):
            with self.assertRaisesRegex(ValueError, "is not a whole number; correct the data"):
                onnx_inputs.integer_of(text)
        for text, number in (
            ("1e1", 10),
            ("-.5", -0.5),
            ("3.", 3),
            ("007", 7),
            (2, 2),
            (0.25, 0.25),
        ):
            self.assertEqual(onnx_inputs.real_of(text), number)
        for text in ("1_0", " 5", "+5", "1e", "nan", "inf", "-", ".", "0x1", "1e999", float("inf")):
            with self.assertRaisesRegex(
                ValueError, "is not a finite decimal number; correct the data"
            ):
                onnx_inputs.real_of(text)

    def test_the_column_of_a_wrong_cell_is_named(self):
        item = {
            "input": "p",
            "column": "price",
            "separator": "|",
            "weighted": False,
            "bucketizer": "none",
            "values": 1,
        }
        export = {
            "string_hash": "std",
            "inputs": [{**item, "feature": "p", "type": "double", "rows": 0}],
        }
        self.assertEqual(onnx_inputs.feeds(export, {"price": ["0.5"]})["p"].tolist(), [[0.5]])
        with self.assertRaisesRegex(
            ValueError, "column 'price': '1_0' is not a finite decimal number"
        ):
            onnx_inputs.feeds(export, {"price": ["1_0"]})


class InitialRowsTest(unittest.TestCase):
    """The values that tests/ps/table/row_initializer_test.cc freezes, and rounding by hand."""

    def rows(self, ids, *init, table="n", width=6, seed=42, data_type="FP32"):
        made = initial_rows.InitialRows(
            table, width, initial_rows.Initializer(*init), data_type, seed
        )
        return made.rows(np.array(ids, np.int64))

    def test_values_are_those_of_the_servers(self):
        bound = 0.001**0.5
        expected = """
            -0x1.47bc9p-6 0x1.bb422p-8 -0x1.c7e90cp-7 -0x1.e7cbbp-8 0x1.0123p-10 0x1.84293p-7
            0x1.fea0e8p-6 -0x1.615a6p-10 0x1.5185b4p-6 0x1.1f5488p-6 0x1.1eac78p-7 0x1.450a2p-9
            0x1.fc33bp-6 -0x1.7aa758p-7 0x1.50b3cp-9 0x1.2a7e38p-6 0x1.02b688p-5 -0x1.61e4ccp-6"""
        found = self.rows([0, 1, 999], "uniform", -bound, bound, table="user_id_emb")
        self.assertEqual(found.ravel().tolist(), [float.fromhex(text) for text in expected.split()])
        found = self.rows(
            [(1 << 40) + 5], "uniform", -0.01, 0.01, table="cate_id_emb", width=3, seed=7
        )
        self.assertEqual(
            found[0].tolist(),
            [float.fromhex(x) for x in "0x1.4207acp-7 0x1.406488p-7 -0x1.91a9acp-9".split()],
        )
        expected = [0.5043212, 0.49563727, 0.49695545, 0.46566665, 0.49474114, 0.48948663]
        np.testing.assert_allclose(self.rows([3], "normal", 0.5, 0.02)[0], expected, rtol=2e-7)
        self.assertEqual(self.rows([-3, 8], "constant", 0.25, seed=None).tolist(), [[0.25] * 6] * 2)
        with self.assertRaisesRegex(
            ValueError, "id 9 has no row in table 'n', and its initial value needs the seed"
        ):
            self.rows([9], "uniform", 0, 1, seed=None)

    def test_values_of_fewer_bits(self):
        for kind, value, nearest in (
            ("FP16", 0.1, 0.0999755859375),
            ("FP16", 1e6, 65504),
            ("FP16", 2.0**-25, 0),  # as near to 2^-24, which is odd
            ("BF16", 0.1, 0.10009765625),
            ("BF16", 1 + 2.0**-8, 1),
            ("BF16", 1 + 3 * 2.0**-8, 1 + 2.0**-6),
            ("INT8", -127, -127),
            ("INT8", 127.5, 128),
            ("INT8", 0, 0),
        ):
            self.assertEqual(
                self.rows([1], "constant", value, data_type=kind).tolist(),
                [[nearest] * 6],
                (kind, value),
            )
        row = initial_rows._rounded("INT8", np.array([[1.0, 0.3, -0.004, 0.0]], np.float32))
        self.assertEqual(row.tolist(), [[1.0, 19 / 64, 0.0, 0.0]])

    def test_initializers_of_features(self):
        for text, expected in (
            ("dynamic_table { max_rows: 5000 }", ("uniform", -0.01, 0.01)),
            ("zch { zch_size: 100 }", ("uniform", -0.1, 0.1)),
            (
                "dynamicemb { max_capacity: 100 initializer_args { lower: -0.3 } }",
                ("uniform", -0.3, 0.1),
            ),
            (
                'dynamicemb { max_capacity: 9 initializer_args { mode: "NORMAL" mean: 2 } }',
                ("normal", 2, 0.5),
            ),
            (
                'dynamicemb { max_capacity: 9 initializer_args { mode: "CONSTANT" value: 0.1 } }',
                ("constant", 0.1, 0),
            ),
            (
                'dynamic_table { expected_rows: 46 } init_fn: "nn.init.xavier_normal_,gain=2"',
                ("normal", 0, 0.4),
            ),
            ('dynamic_table { expected_rows: 50 } init_fn: "nn.init.ones_"', ("constant", 1, 0)),
        ):
            found = initial_rows.initializer_of(text_format.parse(text), 4)
            self.assertEqual(found.kind, expected[0], text)
            np.testing.assert_allclose([found.a, found.b], expected[1:], rtol=1e-12, err_msg=text)
        kaiming = (
            "dynamic_table { expected_rows: 50 } "
            "init_fn: \"nn.init.kaiming_uniform_,mode='fan_in',nonlinearity='relu'\""
        )
        self.assertAlmostEqual(initial_rows.initializer_of(text_format.parse(kaiming), 6).b, 1)
        refused = text_format.parse('dynamic_table { expected_rows: 50 } init_fn: "nn.init.eye_"')
        with self.assertRaisesRegex(
            ValueError, "nn.init.eye_, which a torch module does not compute; expected nn.init"
        ):
            initial_rows.initializer_of(refused, 4)


class VocabularyTest(unittest.TestCase):
    def read(self, text, directory="."):
        return vocabulary.vocabulary_of(text_format.parse(text), pathlib.Path(directory))

    def test_lists_and_dicts(self):
        self.assertEqual(self.read('vocab_list: ["a", "b"]'), ({"a": 2, "b": 3}, 1))
        self.assertEqual(
            self.read('vocab_list: ["a", "b"] default_value: "b|c" separator: "|"'),
            ({"a": 2, "b": 3, "c": 0}, 1),
        )
        self.assertEqual(
            self.read('vocab_list: "a" default_value: "c" default_bucketize_value: 0'),
            ({"a": 0}, 0),
        )
        entries = 'vocab_dict { key: "a" value: 5 } vocab_dict { key: "b" value: 2 }'
        self.assertEqual(self.read(entries + ' default_value: "b"'), ({"a": 5, "b": 0}, 1))
        self.assertIsNone(self.read("num_buckets: 5"))

    def test_files_have_words_or_words_and_rows(self):
        text = 'vocab_file: "words" default_bucketize_value: 1'
        with tempfile.TemporaryDirectory() as name:
            for contents, expected in (
                ("a\nb c\nd 1\n", {"a": 0, "b c": 1, "d 1": 2}),
                ("\ufeffa 7\r\nb c\t3\n", {"a": 7, "b c": 3}),
            ):
                (pathlib.Path(name) / "words").write_bytes(contents.encode())
                self.assertEqual(self.read(text, name), (expected, 1))
            (pathlib.Path(name) / "words").write_text("a 7\nb")
            with self.assertRaisesRegex(
                ValueError, "words': 'b' lacks a row number, unlike the first line"
            ):
                self.read(text, name)

    def test_domains_are_words_in_the_order_of_their_rows(self):
        config = """
            data_config { fg_mode: FG_DAG }
            feature_configs {
              id_feature { feature_name: "n" expression: "user:scene" num_buckets: 9 } }
            feature_configs {
              id_feature { feature_name: "w" expression: "user:scene" default_value: "none"
                vocab_dict { key: "home" value: 4 } vocab_dict { key: "cart" value: 2 } } }"""
        words = vocabulary.domain_words(pt.Config(config), "scene", pathlib.Path("."))
        self.assertEqual(words, ["cart", "home"])
        self.assertEqual(vocabulary.domain_words(pt.Config(config), "other", pathlib.Path(".")), [])
        finished = config.replace("FG_DAG", "FG_NONE")
        self.assertEqual(vocabulary.domain_words(pt.Config(finished), "w", pathlib.Path(".")), [])


class SuggestTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.frame = shop_frame()

    def features(self, config):
        return {
            feature.first("feature_name"): (kind, feature) for kind, feature in config.features()
        }

    def test_the_shop(self):
        config = pt.Config.from_dataframe(self.frame, ["click", "buy"], "scene")
        features = self.features(config)
        self.assertEqual(
            list(features),
            ["user_id", "item_id", "tags", "keywords", "price", "scene", "new_customer"],
        )
        self.assertEqual(
            features["user_id"][1].first("hash_bucket_size", 0)
            or len(features["user_id"][1].all("vocab_list")),
            60,
        )
        self.assertEqual(features["item_id"][1].first("hash_bucket_size"), 2000)
        self.assertEqual(
            sorted(features["keywords"][1].all("vocab_list")),
            ["books", "food", "garden", "home", "sport", "toys"],
        )
        self.assertEqual(features["keywords"][1].first("separator"), "|")
        self.assertNotIn("separator", features["tags"][1])
        self.assertEqual(features["tags"][1].first("pooling"), "mean")
        kind, price = features["price"]
        self.assertEqual((kind, price.first("default_value")), ("raw_feature", ""))
        self.assertEqual(price.all("boundaries"), sorted(price.all("boundaries")))
        self.assertGreater(len(price.all("boundaries")), 10)
        groups = {
            group.first("group_name"): group.all("feature_names")
            for group in config.parsed().message("model_config").all("feature_groups")
        }
        self.assertEqual((groups["domain"], groups["uia"]), (["scene"], ["user_id", "item_id"]))
        click, buy = config.parsed().message("model_config").message("pepnet").all("task_towers")
        self.assertNotIn("task_space_indicator_label", click)
        self.assertEqual(buy.first("task_space_indicator_label"), "click")
        self.assertIn("paid", " ".join(config.notes))
        self.assertRegex(config.text, r"#   paid: it tells 'buy' with certainty")
        self.assertRegex(config.text, r"#   time: times do not come again")
        self.assertRegex(config.text, r"#   country: it is 'AT' in every row")
        self.assertLess(max(map(len, config.text.splitlines())), 250)

    def test_a_leak_that_is_asked_for_stays(self):
        config = pt.Config.from_dataframe(self.frame, ["click", "buy"], "scene", numbers=["paid"])
        self.assertIn("paid", self.features(config))
        self.assertRegex(" ".join(config.notes), "column 'paid' tells 'buy'")

    def test_a_rare_label_gets_a_weight(self):
        frame = self.frame.assign(rare=(np.arange(len(self.frame)) % 100 == 0).astype(int)).drop(
            columns="paid"
        )
        config = pt.Config.from_dataframe(frame, ["click", "rare"])
        weights = {
            tower.first("tower_name"): tower.first("weight")
            for tower in config.parsed()
            .message("model_config")
            .message("pepnet")
            .all("task_towers")
        }
        self.assertEqual(weights["click"], None)
        self.assertEqual(weights["rare"], 3.5)  # the root of how many times its loss is smaller
        self.assertRegex(" ".join(config.notes), "no domain is named")

    def test_ids_that_hardly_come_again_are_seen_once(self):
        self.assertIn("num_epochs: 3\n", pt.Config.from_dataframe(self.frame, ["click"]).text)
        visitors = [f"v{i % 3000}" for i in range(len(self.frame))]
        text = pt.Config.from_dataframe(
            self.frame.assign(visitor_id=visitors), ["click"], uia=["visitor_id"]
        ).text
        self.assertIn("num_epochs: 1  # a word of visitor_id comes 2.0 times on average", text)

    def test_what_cannot_be_decided_is_asked(self):
        frame = self.frame.assign(
            foo=np.arange(len(self.frame)) % 700, bar=np.arange(len(self.frame)) % 900
        )
        sentence = (
            r"  foo: 700 whole numbers, 0 to 699\n  bar: 900 .*\n"
            r"say it with ids=.*--ids foo,bar, or ignore them$"
        )
        with self.assertRaisesRegex(ValueError, sentence):
            pt.Config.from_dataframe(frame, ["click"])
        config = pt.Config.from_dataframe(frame, ["click"], ids=["fo*"], ignore=["[!fcu]*"])
        self.assertEqual(list(self.features(config)), ["user_id", "foo"])
        config = pt.Config.from_dataframe(frame, ["click"], ids=["foo"], numbers=["bar"])
        self.assertEqual(self.features(config)["foo"][0], "id_feature")
        self.assertEqual(self.features(config)["bar"][0], "raw_feature")
        self.assertEqual(
            pt.Config.from_dataframe(frame, "click", uia="", ids="foo", numbers="bar").labels,
            ["click"],
        )

    def test_words_and_bools_are_labels(self):
        words = {
            "word": ["Yes", "no"] * (len(self.frame) // 2),
            "flag": [True, False, False] * (len(self.frame) // 3),
        }
        config = pt.Config.from_dataframe(
            self.frame.assign(**words), ["word", "flag"], ignore=["click"]
        )
        self.assertIn('label_fields: ["word", "flag"]', config.text)
        with self.assertRaisesRegex(ValueError, "'word' is yes in every row"):
            pt.Config.from_dataframe(self.frame.assign(word="yes"), ["word"])

    def test_labels_that_are_none_are_refused(self):
        frame = self.frame
        for labels, extra, sentence in (
            (
                ["rating"],
                {"rating": np.arange(len(frame)) % 5},
                "'rating' holds 0, 1, 2, 3, 4, and a label is 0 or 1",
            ),
            (
                ["word"],
                {"word": ["gold", "plain"] * (len(frame) // 2)},
                (
                    "'word' holds 'gold', 'plain'.*"
                    "make a column of 0 and 1 of it, as `word == 'plain'`$"
                ),
            ),
            (["none"], {"none": 0}, "'none' is 0 in every row"),
            (["gap"], {"gap": [1.0, np.nan] * (len(frame) // 2)}, "'gap' is empty in 3,000 rows"),
            (["absent"], {}, "no column 'absent'; there are time, user_id.*, buy"),
            (["clik"], {}, r"no column 'clik'; there are .*, buy.* \(did you mean 'click'\?\)$"),
            ([], {}, "at least one label"),
            (["click", "click"], {}, "named twice"),
        ):
            with self.assertRaisesRegex(ValueError, sentence):
                pt.Config.from_dataframe(frame.assign(**extra), labels)
        with self.assertRaisesRegex(ValueError, "group.*time.*times do not come again"):
            pt.Config.from_dataframe(frame, ["click"], "time")

    def test_numbers_beyond_those_of_floats_are_names(self):
        hashes = (np.arange(len(self.frame)) % 50) + 2**62
        features = self.features(
            pt.Config.from_dataframe(self.frame.assign(odd=hashes, brand=hashes), ["click"])
        )
        for name in ("odd", "brand"):
            self.assertEqual(
                sorted(features[name][1].all("vocab_list")), [str(2**62 + i) for i in range(50)]
            )

    def test_columns_that_are_no_features_are_left_out_with_a_reason(self):
        rows = len(self.frame)
        frame = self.frame.assign(
            request=[f"r{i}" for i in range(rows)],
            empty=None,
            created_at=1_700_000_000 + np.arange(rows) * 60,
            text=[
                f"a long sentence about the thing number {i % 50} that nobody reads"
                for i in range(rows)
            ],
            day=["2026-01-01"] * rows,
            vector=[np.array([1.5, 2.5])] * rows,
            weighted=[f"b:{i % 7}.5" if i % 2 else f"a:0.{i % 9}|b:1.5" for i in range(rows)],
        )
        config = pt.Config.from_dataframe(frame, ["click"])
        for name in ("request", "empty", "created_at", "text", "day"):
            self.assertRegex(config.text, rf"#   {name}: ")
        features = self.features(config)
        self.assertEqual(features["vector"][1].first("value_dim"), 2)
        self.assertTrue(features["weighted"][1].first("weighted"))
        self.assertEqual(features["weighted"][1].all("vocab_list"), ["b", "a"])

    def test_boundaries_part_neighbours_and_peaks(self):
        def boundaries(values):
            return column_statistics.quantile_boundaries(
                column_statistics.Column("x", pa.chunked_array([values]), pa.float64(), len(values))
            )

        self.assertEqual(boundaries([1.0, 2.0, 4.0]), [1.5, 3.0])
        self.assertEqual(boundaries([0.0] * 990 + [float(i) for i in range(100, 130)]), [50.0])
        found = boundaries([float(i) for i in range(1000)])
        self.assertEqual((len(found), found[0]), (19, 50.0))
        self.assertEqual(boundaries([7.0] * 5), [])
        self.assertEqual(boundaries([1e12, 1e12 + 1]), [])  # too close for float32

    def test_the_auc_of_values_needs_other_rows(self):
        draw = np.random.default_rng(5)
        label = (draw.random(4000) < 0.3).astype(float)
        self.assertAlmostEqual(
            column_statistics.value_auc(draw.integers(0, 200, 4000), label), 0.5, delta=0.05
        )
        self.assertGreater(column_statistics.value_auc(label.astype(np.int64), label), 0.999)


class BuilderTest(unittest.TestCase):
    def test_it_prints_what_a_person_would_type(self):
        builder = pt.ConfigBuilder("a.parquet", model_dir="m", batch_size=32, num_epochs=2)
        builder.id_feature("user", vocab_list=["a", 'b"'], embedding_dim=4).raw_feature("price")
        with self.assertRaisesRegex(ValueError, "nobody"):
            builder.group("all", ["nobody"])
        with self.assertRaisesRegex(ValueError, "twice"):
            builder.raw_feature("price")
        with self.assertRaisesRegex(ValueError, "no group 'all'"):
            builder.build()
        builder.group("all", ["user", "price"])
        with self.assertRaisesRegex(ValueError, "no task"):
            builder.build()
        config = (
            builder.task("click", hidden_units=[8]).task("buy", within="click", weight=2).build()
        )
        self.assertIn(
            'feature_configs { id_feature { feature_name: "user" expression: "context:user" '
            'vocab_list: ["a", "b\\""] embedding_dim: 4 } }',
            config.text,
        )
        self.assertEqual(config.labels, ["click", "buy"])
        self.assertEqual(config.columns(), {"user": "user", "price": "price"})
        self.assertEqual(config.id_columns(), {"user"})


class CalledTest(unittest.TestCase):
    def told(self, sentence, **names):
        with self.assertRaises(pt.PepnetError) as caught, program.called(names):
            raise pt.PepnetError(sentence, 1, "log")
        self.assertEqual((caught.exception.status, caught.exception.log), (1, "log"))
        return str(caught.exception)

    def test_errors_name_what_was_given_and_not_the_file_made_of_it(self):
        names = {
            "/tmp/a/rows.parquet": "the DataFrame",
            "/tmp/a/pipeline.config": "the config",
            "/tmp/a": "no",
        }
        names["--continue_train"] = "continue_train=True"
        for said, expected in (
            ("'/tmp/a/rows.parquet' has no column 'x'", "the DataFrame has no column 'x'"),
            (
                "worker 0: '/tmp/a/rows.parquet' row 3: y",
                "worker 0: the DataFrame, row 2 (counted from 0): y",
            ),
            (
                "pepnet: '/tmp/a/rows.parquet' row 7, column 'p': y",
                "pepnet: the DataFrame, row 6 (counted from 0), column 'p': y",
            ),
            (
                "pepnet: '/tmp/a/rows.parquet' column 'p' is gone",
                "pepnet: the DataFrame, column 'p' is gone",
            ),
            ("the input '/tmp/a/rows.parquet' has no rows", "the DataFrame has no rows"),
            ("add --continue_train to go on", "add continue_train=True to go on"),
            ("pepnet: /tmp/a/pipeline.config:12: lr: z", "pepnet: the config, line 12: lr: z"),
            ("pepnet: /tmp/a/pipeline.config:1:22: z", "pepnet: the config, line 1, column 22: z"),
            (
                "pepnet: /tmp/a/pipeline.config: train_config: z",
                "pepnet: the config: train_config: z",
            ),
            ("pepnet: '/tmp/b/rows.parquet' is empty", "pepnet: '/tmp/b/rows.parquet' is empty"),
        ):
            self.assertEqual(self.told(said, **names), expected)
        self.assertEqual(self.told("pepnet: as it is"), "pepnet: as it is")

    def test_other_errors_stay(self):
        with self.assertRaisesRegex(KeyError, "/tmp/a"), program.called({"/tmp/a": "no"}):
            raise KeyError("/tmp/a")


class ProgressTest(unittest.TestCase):
    def test_a_tail_sees_whole_lines_that_are_added(self):
        with tempfile.TemporaryDirectory() as name:
            path = pathlib.Path(name) / "metrics.jsonl"
            path.write_text('{"step":1}\n')
            tail = progress.Tail(path)
            self.assertEqual(list(tail), [])
            with open(path, "a") as file:
                file.write('{"step":2}\n{"st')
                file.flush()
                self.assertEqual(list(tail), [{"step": 2}])
                file.write('ep":3}\n')
            self.assertEqual(list(tail), [{"step": 3}])
            path.write_text("")  # cut back
            self.assertEqual(list(tail), [])

    def test_passes_are_counted_from_one_to_the_last(self):
        def printed(finished, **given):
            out = io.StringIO()
            printer = progress.Printer(out, **given)
            for step, epoch in enumerate(finished, 1):
                printer({"step": step, "epoch": epoch, "total_loss": 0.5})
            return [line.split("  ")[1] for line in out.getvalue().splitlines()]

        asked = []
        passes = printed([0, 1, 2, 3], epochs=lambda: asked.append(1) or 3)
        self.assertEqual(passes, ["epoch 1/3", "epoch 2/3", "epoch 3/3", "epoch 3/3"])
        self.assertEqual(asked, [1])
        self.assertEqual(printed([0, 4]), ["epoch 1", "epoch 5"])
        # Step 2 is the last one of the first pass, as only the program knows.
        log = [
            "I 09:00:00 step 1/6  16 %  epoch 1/3  10k rows/s\n",
            "I 09:00:00 evaluation of step 2: auc 0.5\n",
        ]
        log.append("I 09:00:01 [worker 0] step 2/6  33 %  epoch 1/3  like .5\n")
        told = printed([0, 1, 1], epochs=lambda: 3, log=lambda: log)
        self.assertEqual(told, ["epoch 1/3", "epoch 1/3", "epoch 2/3"])

    def test_the_passes_of_a_training_come_from_its_effective_config(self):
        with tempfile.TemporaryDirectory() as name:
            directory = pathlib.Path(name)
            for fields, expected in (
                ("num_epochs: 3", 3),
                ("num_steps: 5", 0),
                ("num_steps: 0 num_epochs: 2", 2),
            ):
                (directory / "pipeline.config").write_text(f"train_config {{ {fields} }}")
                self.assertEqual(run._epochs(directory), expected)


class PackageTest(unittest.TestCase):
    def test_reading_a_table_imports_no_torch(self):
        code = (
            "import sys, pepnet_trainer as pt; pt.read_table, pt.Config, pt.train\n"
            "assert 'torch' not in sys.modules and 'onnxruntime' not in sys.modules "
            "and 'pandas' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_every_name_is_there(self):
        for name in set(pt.__all__) - {"PEPNet", "load_torch"}:
            self.assertTrue(getattr(pt, name).__doc__, name)


if __name__ == "__main__":
    unittest.main()
