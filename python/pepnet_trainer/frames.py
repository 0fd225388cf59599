"""Data in and out: DataFrames, Arrow tables and files, in the types that the program reads."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import pathlib
from typing import TYPE_CHECKING, Any, Iterable, Mapping, Sequence, Union

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

if TYPE_CHECKING:
    import pandas as pd

# The functions of this package take as rows a pandas DataFrame, an Arrow table, anything with
# __arrow_c_stream__ (polars, DuckDB), or a mapping from column name to cells.
Rows = Union["pd.DataFrame", pa.Table, Mapping[str, Any]]
# They return a pandas DataFrame where pandas is installed, else an Arrow table.
Frame = Union["pd.DataFrame", pa.Table]


def names(given: str | Iterable[str]) -> list[str]:
    """Names one by one: of a list, or of a text as the command line takes it, "click,buy"."""
    if isinstance(given, str):
        return [name for name in (part.strip() for part in given.split(",")) if name]
    return list(given)


def is_path(data: object) -> bool:
    """Does `data` name files instead of holding rows?"""
    return isinstance(data, (str, os.PathLike)) or (
        isinstance(data, (list, tuple))
        and bool(data)
        and all(isinstance(item, (str, os.PathLike)) for item in data)
    )


def paths_text(data: Any) -> str:
    """Paths as the program takes them: a comma list of files and globs."""
    return ",".join(map(str, data)) if isinstance(data, (list, tuple)) else str(data)


def expand(paths: Any) -> list[pathlib.Path]:
    """The files that a comma list of paths, globs and folders names, in the order of their
    names."""
    found: list[pathlib.Path] = []
    for pattern in filter(None, (part.strip() for part in paths_text(paths).split(","))):
        if os.path.isdir(pattern):
            names = [
                name
                for ending in ("parquet", "csv")
                for name in glob.glob(os.path.join(pattern, f"*.{ending}"))
            ]
        else:
            names = glob.glob(pattern)
        if not names:
            raise FileNotFoundError(
                f"{pattern!r} names no file (the current directory is {os.getcwd()!r})"
            )
        found += map(pathlib.Path, sorted(names))
    return found


def read_files(paths: Any, max_rows: int | None = None) -> tuple[pa.Table, bool]:
    """The rows of Parquet or CSV files, at most `max_rows`, and whether these are all."""
    tables: list[pa.Table] = []
    rows = 0
    complete = True
    for path in expand(paths):
        if path.suffix == ".parquet":
            file = pq.ParquetFile(path)
            for batch in file.iter_batches(1 << 16):
                if max_rows is not None and rows >= max_rows:
                    complete = False
                    break
                tables.append(pa.Table.from_batches([batch]))
                rows += batch.num_rows
        elif path.suffix == ".csv":
            table = read_csv(path)
            complete = complete and (max_rows is None or rows + len(table) <= max_rows)
            tables.append(table if max_rows is None else table.slice(0, max(max_rows - rows, 0)))
            rows += len(tables[-1])
        else:
            raise ValueError(f"{str(path)!r} ends neither in .parquet nor in .csv")
    try:
        return pa.concat_tables(tables, promote_options="default"), complete
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"the files of {paths_text(paths)!r} do not have the same columns: {error}"
        ) from None


def read_csv(path: pathlib.Path) -> pa.Table:
    """A CSV file with a header line, as the program reads it: only the empty cell is missing, truth
    values are words, and so are numbers that are not written as such (a zip code such as 01234)."""
    options = {
        "null_values": [""],
        "strings_can_be_null": True,
        "true_values": [],
        "false_values": [],
    }
    table = pyarrow.csv.read_csv(path, convert_options=pyarrow.csv.ConvertOptions(**options))
    whole = [name for name in table.column_names if pa.types.is_integer(table[name].type)]
    if not whole:
        return table
    options |= {"include_columns": whole, "column_types": {name: pa.string() for name in whole}}
    texts = pyarrow.csv.read_csv(path, convert_options=pyarrow.csv.ConvertOptions(**options))
    for name in whole:
        if not texts[name].equals(table[name].cast(pa.string())):
            table = table.set_column(table.column_names.index(name), name, texts[name])
    return table


def to_arrow(data: Rows | Any) -> pa.Table:
    """`data` as an Arrow table, with every column in a type that the program reads.

    Truth values become 0 and 1, times whole numbers in their unit, decimals floating-point numbers,
    categories their values, and NaN an empty cell.
    """
    if isinstance(data, pa.Table):
        table = data
    elif isinstance(data, pa.RecordBatch):
        table = pa.Table.from_batches([data])
    elif type(data).__module__.split(".")[0] == "pandas":
        try:
            table = pa.Table.from_pandas(data, preserve_index=False)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise TypeError(
                f"a column holds cells of several types: {error.args[-1] if error.args else error}"
            ) from None
        table = table.replace_schema_metadata(None)
    elif isinstance(data, Mapping):
        table = pa.table(dict(data))
    elif hasattr(data, "__arrow_c_stream__"):
        table = pa.table(data)
    elif is_path(data):
        table = read_files(data)[0]
    else:
        raise TypeError(
            "rows are a DataFrame, an Arrow table, a mapping or paths of files, "
            f"not a {type(data).__name__}"
        )
    names = table.column_names
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"the columns {', '.join(twice)} are there twice")
    return pa.table({name: _plain(table[name]) for name in names}) if names else table


def kind_of(data: Any) -> str:
    """What to call rows in memory in a message: "the DataFrame", "the Table", "the dict"."""
    return f"the {type(data).__name__}"


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _plain(column.cast(kind.value_type))
    if pa.types.is_string_view(kind):
        return column.cast(pa.large_string())
    if pa.types.is_boolean(kind):
        return column.cast(pa.int8())
    if pa.types.is_date32(kind) or pa.types.is_time32(kind):
        return column.cast(pa.int32())
    if pa.types.is_temporal(kind):
        return column.cast(pa.int64())
    if pa.types.is_decimal(kind):
        return column.cast(pa.float64())
    if pa.types.is_floating(kind):
        column = column if kind.bit_width > 16 else column.cast(pa.float32())
        return pc.if_else(
            pc.fill_null(pc.is_nan(column), False), pa.scalar(None, column.type), column
        )
    return column


def fit(table: pa.Table, id_columns: Iterable[str]) -> pa.Table:
    """Makes whole numbers of id columns that hold them as floating-point numbers, as pandas has
    them beside missing cells."""
    for name in id_columns:
        if name not in table.column_names or not pa.types.is_floating(table[name].type):
            continue
        column = table[name]
        try:
            whole = column.cast(pa.int64())  # refuses what is not a whole number
        except pa.ArrowInvalid:
            wrong = next(
                value for value in column.to_pylist() if value is not None and value != int(value)
            )
            raise ValueError(
                f"column {name!r} holds ids, but also {wrong}: make it whole numbers or texts"
            ) from None
        table = table.set_column(table.column_names.index(name), name, whole)
    return table


def write_rows(
    table: pa.Table, directory: pathlib.Path, name: str, made: list[pathlib.Path] | None = None
) -> pathlib.Path:
    """Writes a Parquet file into `directory`, named after its content: the same rows are the same
    file, so that a training that goes on finds the file that it has read.

    The file and the directories that were not there before are added to `made`, for remove()."""
    made = [] if made is None else made
    made[:0] = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="snappy", row_group_size=1 << 16)
    content = buffer.getvalue()
    path = directory / f"{name}-{hashlib.sha256(content).hexdigest()[:16]}.parquet"
    if not path.exists():
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        with open(unfinished, "wb") as file:
            file.write(content)
        unfinished.rename(path)
        made.insert(0, path)
    return path


def remove(made: Sequence[pathlib.Path]) -> None:
    """Removes files, and behind them the directories that are then empty."""
    for path in made:
        with contextlib.suppress(OSError):
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink()


def has_pandas() -> bool:
    """Is pandas installed? It is no requirement: without it, results are Arrow tables."""
    try:
        import pandas  # noqa: F401
    except ImportError:
        return False
    return True


def to_frame(table: pa.Table, like: Any = None) -> Frame:
    """A result as a DataFrame (with the index of `like`, if that is one), or as it is without
    pandas."""
    if isinstance(like, pa.Table) or not has_pandas():
        return table
    frame = table.to_pandas()
    if type(like).__module__.split(".")[0] == "pandas":
        frame.index = like.index
    return frame


def split(
    frame: Rows, fraction: float = 0.1, *, time: str | None = None, seed: int = 0
) -> tuple[Any, Any]:
    """Rows to train with and rows to evaluate with: the last `fraction` by the column `time`, or
    rows drawn by `seed`.

    A model that is to serve tomorrow's rows is best judged by the last ones: name the column of
    times if there is one.
    """
    import numpy as np

    if not 0 < fraction < 1:
        raise ValueError(
            f"the fraction of rows to evaluate with is {fraction}, it must lie between 0 and 1"
        )
    pandas = type(frame).__module__.split(".")[0] == "pandas"
    table: Any = frame if pandas or isinstance(frame, pa.Table) else to_arrow(frame)
    rows = len(table)
    if rows < 2:
        raise ValueError(f"{rows} row(s) cannot be split")
    count = min(max(1, round(rows * fraction)), rows - 1)
    if time is not None:
        order = np.argsort(np.asarray(table[time]), kind="stable")
        first, second = order[:-count], order[-count:]
    else:
        order = np.random.default_rng(seed).permutation(rows)
        first, second = np.sort(order[:-count]), np.sort(order[-count:])
    if pandas:
        return table.iloc[first], table.iloc[second]
    return table.take(first), table.take(second)
