"""A page of `pepnet report`, read back: its data, its curves as figures, its tables; and a job
whose report has all parts."""

import html.parser
import json
import math
import random

from small_job import SmallJob, pepnet


class Page(html.parser.HTMLParser):
    """The content of the page, as a browser's parser would see it."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.urls, self.curves, self.dots, self.tables = {}, [], [], [], []
        self.data = None
        self._svg, self._script, self._cell = None, None, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.urls += [attrs[name] for name in ("src", "href", "action", "data", "srcset")
                      if name in attrs]
        if tag == "svg":
            self._svg = {name[5:]: value for name, value in attrs.items()
                         if name.startswith("data-")}
        elif tag == "polyline":
            self.curves.append((int(attrs["data-run"]), attrs["data-name"], attrs["data-source"],
                                [self._value(*map(float, point.split(",")))
                                 for point in attrs["points"].split()]))
        elif tag == "circle" and "data-slice" in attrs:
            value = self._value(float(attrs["cx"]), float(attrs["cy"]))[0]
            self.dots.append((int(attrs["data-run"]), attrs["data-name"], attrs["data-slice"],
                              value))
        elif tag == "script":
            self._script = attrs
        elif tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self._cell = ""

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.tables[-1][-1].append(self._cell)
            self._cell = None
        elif tag == "script":
            self._script = None

    def handle_data(self, data):
        if self._cell is not None:
            self._cell += data
        if self._script is not None:
            assert self._script == {"type": "application/json", "id": "pepnet-data"}, self._script
            self.data = json.loads(data)

    def _value(self, x, y):
        """From pixels to the figures of the axes: a hundredth of a pixel is the precision,
        `tolerance` says of what."""
        s = {name: float(value) for name, value in self._svg.items() if name != "x-scale"}
        share = (x - s["left"]) / s["width"]
        if self._svg["x-scale"] == "log":
            x = s["x-min"] * math.pow(s["x-max"] / s["x-min"], share)
        else:
            x = s["x-min"] + share * (s["x-max"] - s["x-min"])
        y = s["y-max"] - (y - s["top"]) / s["height"] * (s["y-max"] - s["y-min"])
        return (x, y, 0.006 / s["width"] * (s["x-max"] - s["x-min"]),
                0.006 / s["height"] * (s["y-max"] - s["y-min"]))

    def table(self, corner):
        """The rows of the first table whose first cell is `corner`, by their first cell."""
        for table in self.tables:
            if table[0][0] == corner:
                return {row[0]: row[1:] for row in table}
        raise AssertionError(
            f"no table begins with {corner!r}: {[table[0] for table in self.tables]}")


EDITS = json.dumps({"eval_config.slice_by": ["uid"],
                    "train_config.keep_best": [{"metric": "auc_ctr"}]})


def trained_job(directory, **kwargs):
    """A trained job with slices of some hundred rows, a best checkpoint, and words behind the ids
    of iid."""
    job = SmallJob(directory, **kwargs)
    words = ", ".join(f'"{i}"' for i in range(40))
    text = job.config.read_text()
    assert "num_buckets: 40" in text and text.count("metrics { auc {} }\n") == 1
    text = text.replace("metrics { auc {} }\n",
                        'metrics { auc {} } metrics { grouped_auc { grouping_key: "iid" } }\n')
    asked = "train_metrics { auc {} decay_step: 5 }"
    assert text.count(asked) == 1
    text = text.replace(asked, asked + ' train_metrics { pcoc {} decay_step: 5 } '
                        'train_metrics { grouped_auc { grouping_key: "iid" } decay_step: 5 }')
    job.config.write_text(text.replace("num_buckets: 40", f"vocab_list: [{words}]"))
    draw = random.Random(7)
    with open(job.directory / "eval.csv", "w") as out:
        out.write("clk,buy,uid,iid\n")
        for _ in range(600):
            uid = draw.randrange(3)
            click = int(draw.random() < 0.2 + 0.2 * uid)
            out.write(f"{click},{int(click and draw.random() < 0.5)},{uid},{draw.randrange(40)}\n")
    train(job, job.model_dir)
    return job


def train(job, model_dir, *flags):
    pepnet("train", "--pipeline_config_path", job.config, "--model_dir", model_dir,
           "--num_servers", 2, "--edit_config_json", EDITS, *flags)


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]
