"""From columns and their statistics to a config that trains at once; the reasons stand in its
comments.

Nothing is guessed where two readings are possible and the choice matters: that is an error which
names the column and says what to add. All numbers come from the rows given (of files, at most
MAX_ROWS of them). suggest_features.py has the features, suggest_model.py labels, tasks and sizes.
"""

from __future__ import annotations

import difflib
import fnmatch
from typing import Any, Iterable, Sequence

import pyarrow as pa

from . import frames
from .column_statistics import ITEM_NAME, USER_NAME
from .config import Config, ConfigBuilder
from .suggest_draft import Draft, plural
from .suggest_features import FeatureMaker, Question
from .suggest_model import ModelMaker, label_values

MAX_ROWS = 2_000_000


def suggest(
    data: Any,
    labels: Sequence[str],
    domain: str | None = None,
    uia: Sequence[str] | None = None,
    *,
    ids: Iterable[str] = (),
    numbers: Iterable[str] = (),
    ignore: Iterable[str] = (),
    train_path: str | None = None,
    eval_path: str | None = None,
    model_dir: str = "runs/model",
) -> Config:
    """See Config.from_dataframe()."""
    csv = False
    complete = True
    if frames.is_path(data):
        train_path = train_path or frames.paths_text(data)
        kinds = {path.suffix for path in frames.expand(data)}
        if len(kinds) > 1:
            raise ValueError(
                f"{frames.paths_text(data)!r} holds files of several kinds: "
                f"{', '.join(sorted(kinds))}"
            )
        csv = kinds == {".csv"}
        data, complete = frames.read_files(data, MAX_ROWS)
    original = data if isinstance(data, pa.Table) else None
    table = frames.to_arrow(data)
    types = {name: (original or table)[name].type for name in table.column_names}
    if original is None and type(data).__module__.split(".")[0] == "pandas":
        schema = pa.Schema.from_pandas(data, preserve_index=False)
        types = {name: schema.field(name).type for name in table.column_names}
    draft = Draft(
        table=table,
        types=types,
        labels=frames.names(labels),
        domain=domain,
        uia=None if uia is None else frames.names(uia),
        ids=_matching(table, ids),
        numbers=_matching(table, numbers),
        ignore=_matching(table, ignore),
        builder=ConfigBuilder(train_path, eval_path, model_dir, csv=csv),
        complete=complete,
    )
    return _config(draft)


def _matching(table: pa.Table, names: Iterable[str]) -> set[str]:
    """The columns that patterns such as "feat_*" name; what matches none stays, to be told."""
    found = {
        name: fnmatch.filter(table.column_names, name) or [name]
        for name in set(frames.names(names))
    }
    return {column for columns in found.values() for column in columns}


def _config(draft: Draft) -> Config:
    _check_names(draft)
    for name in draft.labels:
        draft.label_values[name] = label_values(draft.table, name)
    if draft.uia is None:
        draft.uia = []
        for pattern in (USER_NAME, ITEM_NAME):
            draft.uia += [
                name
                for name in draft.table.column_names
                if pattern.match(name.lower())
                and name not in draft.labels
                and name not in draft.ignore
            ][:1]
    maker = FeatureMaker(draft)
    features: list[str] = []
    questions: dict[str, str] = {}
    for name in draft.table.column_names:
        if name in draft.labels:
            continue
        if name in draft.ignore:
            draft.leave_out(name, "you left it out")
            continue
        try:
            if maker.add(name):
                features.append(name)
        except Question as question:
            questions[name] = str(question)
    if questions:
        raise ValueError(
            "names and values do not tell whether these columns hold names (ids) or amounts:\n"
            + "".join(f"  {name}: {question}\n" for name, question in questions.items())
            + f"say it with ids=[...] or numbers=[...], as --ids {','.join(questions)}, "
            "or ignore them"
        )
    missing = [
        name
        for name in [*([draft.domain] if draft.domain else []), *draft.uia]
        if name not in features
    ]
    if missing:
        reasons = [reason for reason in draft.left_out if reason.split(":")[0] in missing]
        raise ValueError(
            f"the group(s) name {', '.join(missing)}, which cannot be a feature: "
            f"{'; '.join(reasons)}"
        )
    if not features:
        raise ValueError("no column is left that could be a feature: " + "; ".join(draft.left_out))
    ModelMaker(draft).add(features)
    return draft.builder.build()


def _check_names(draft: Draft) -> None:
    if not draft.labels:
        raise ValueError("name at least one label: a column of 0 and 1 that is to be predicted")
    if draft.rows < 2:
        raise ValueError(f"there is no more than {plural(draft.rows, 'row')} to look at")
    wanted = [
        *draft.labels,
        *([draft.domain] if draft.domain else []),
        *(draft.uia or []),
        *sorted(draft.ids | draft.numbers | draft.ignore),
    ]
    unknown = [name for name in wanted if name not in draft.table.column_names]
    if unknown:
        near = [
            match
            for name in unknown
            for match in difflib.get_close_matches(name, draft.table.column_names, 1)
        ]
        raise ValueError(
            f"there is no column {', '.join(map(repr, unknown))}; "
            f"there are {', '.join(draft.table.column_names)}"
            + (f" (did you mean {', '.join(map(repr, near))}?)" if near else "")
        )
    for first, second, what in (
        (draft.ids, draft.numbers, "ids and as numbers"),
        (set(draft.labels), {draft.domain, *(draft.uia or [])}, "a label and as a feature"),
        (draft.ignore, {draft.domain, *(draft.uia or []), *draft.labels}, "to be ignored and used"),
    ):
        both = sorted(name for name in first & second if name)
        if both:
            raise ValueError(f"{', '.join(both)} is named as {what}")
    twice = sorted({name for name in draft.labels if draft.labels.count(name) > 1})
    if twice:
        raise ValueError(f"the label {', '.join(twice)} is named twice")
