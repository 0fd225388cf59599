#!/usr/bin/env python3
"""Usage: make_corpus.py

Writes those inputs of tests/fuzz/corpus that are not text: small files in the formats that the
targets read, each right in itself, for the mutations to begin with. Needs numpy and pyarrow. Inputs
that were findings are files of their own and stay.
"""
import io
import json
import os
import struct

import pyarrow as pa
import pyarrow.parquet as pq

CORPUS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")


def write(target, name, contents):
    os.makedirs(os.path.join(CORPUS, target), exist_ok=True)
    with open(os.path.join(CORPUS, target, name), "wb") as file:
        file.write(contents)


def rows(uid, hist, tags, word):
    """Two rows of the job of fuzz_job.cc, with these columns as they are."""
    return pa.table({
        "clk": pa.array([0, 1], pa.int32()), "buy": pa.array([0, 1], pa.int8()),
        "dom": pa.array([0, 2], pa.int64()), "sw": pa.array([0.5, 1], pa.float32()), "uid": uid,
        "iid": pa.array([3, None], pa.int64()), "hist": hist, "tags": tags, "word": word,
        "price": pa.array([1.5, 30], pa.float64()),
        "score": pa.array([[1, 2], [3, 4]], pa.list_(pa.float32()))})


def tables():
    uid = pa.array([1, 49], pa.int64())
    text = pa.array(["red", "blue"])
    yield "texts", rows(uid, pa.array(["5|6", ""]), pa.array(["1:0.5|2:1", ""]), text)
    yield "lists", rows(uid, pa.array([[5, 6], []], pa.list_(pa.int64())),
                        pa.array([[(1, 0.5)], []], pa.map_(pa.int64(), pa.float32())), text)
    yield "dictionaries", rows(uid, pa.array([["a"], ["b", "a"]], pa.list_(pa.string())),
                               pa.array(["1:0.5", "2:1"]), text.dictionary_encode())
    yield "wide", rows(
        pa.array([1, 49], pa.uint64()), pa.array([["a"], ["b"]], pa.large_list(pa.large_string())),
        pa.array([b"1:0.5", b"2:1"], pa.large_binary()), text.cast(pa.large_string()))


def parquet_files():
    for name, table in tables():
        for compression, version in (("NONE", "1.0"), ("SNAPPY", "2.0")):
            out = io.BytesIO()
            pq.write_table(table, out, compression=compression, data_page_version=version,
                           write_statistics=False, use_dictionary=name == "dictionaries",
                           store_schema=name == "dictionaries", row_group_size=1)
            write("parquet", f"{name}_{compression.lower()}", out.getvalue())


def shared_chunks():
    for name, table in tables():
        out = io.BytesIO()
        with pa.ipc.new_stream(out, table.schema) as writer:
            writer.write_batch(table.to_batches()[0])
        # kind, epoch, turn, file, first_row, row_count, memory_bytes, ends_turn, error_code
        packet = struct.pack("<IIqqqqqqii", 0x31434B43, 0, 0, 0, 0, 0, 2, len(out.getvalue()), 1, 0)
        write("shared_chunks", name, bytes([7, len(packet)]) + packet + out.getvalue())
    for name, kind, code in (("end_of_turn", 1, 0), ("end_of_input", 2, 0), ("error", 3, 5),
                             ("error_without_code", 3, 0)):
        packet = (struct.pack("<IIqqqqqqii", 0x31434B43, kind, 0, 0, 0, 0, 0, 0, 1, code)
                  + b"row 3 is wrong")
        write("shared_chunks", name, bytes([9, len(packet)]) + packet)


def safetensors(tensors):
    header, data = {}, b""
    for name, (dtype, shape, values) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape,
                        "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def safetensors_files():
    write("safetensors", "three_types", safetensors({
        "a": ("F32", [2, 2], struct.pack("<4f", 1, 2, 3, 4)),
        "b": ("I64", [2], struct.pack("<2q", 5, -6)), "c": ("F64", [1], struct.pack("<d", 0.5))}))
    write("safetensors", "odd_and_empty", safetensors({
        "h": ("F16", [1], b"\0\1"), "e": ("F32", [0, 7], b""),
        "f": ("F32", [], struct.pack("<f", 1))}))
    write("train_state", "dense",
          b"\1" + safetensors({"w": ("F32", [2, 2], struct.pack("<4f", 1, 2, 3, 4))}))


def table_parts():
    for name, count, dim, state_dim in (("with_state", 3, 2, 1), ("without_state", 2, 1, 0)):
        def floats(width):
            item = pa.field("item", pa.float32(), nullable=False)
            return pa.FixedSizeListArray.from_arrays(
                pa.array([0.5] * count * width, pa.float32()), type=pa.list_(item, width))
        columns = {"id": pa.array(range(count), pa.int64()), "value": floats(dim)}
        if state_dim:
            columns["state"] = floats(state_dim)
        columns["frequency"] = columns["last_step"] = pa.array([1] * count, pa.int64())
        fields = [pa.field(key, column.type, nullable=False) for key, column in columns.items()]
        for nullable in (True, False):
            schema = pa.schema([field.with_nullable(nullable) for field in fields])
            out = io.BytesIO()
            with pa.ipc.new_file(out, schema) as writer:
                writer.write_batch(pa.record_batch(list(columns.values()), schema=schema))
            write("table_part", f"{name}_{'nullable' if nullable else 'plain'}",
                  struct.pack("<iii", count, dim, state_dim) + out.getvalue())


# Messages of server_frames_fuzz.cc: kind, who, step, flags, and what the kind takes.
CONFIGURE = bytes([0, 0, 0, 0, 1, 0])


def pull(who, step, flags=0, ids=((1, 2), (3,))):
    return bytes([2, who, step, flags, len(ids[0]), len(ids[1]), *ids[0], *ids[1]])


def push(who, step, floats=8, lr=16):
    return bytes([4, who, step, 0, lr, step, floats]) + struct.pack("<f", 0.5) * floats


def server_frames():
    step = pull(0, 1) + pull(1, 1, ids=((4,), ())) + push(0, 1) + push(1, 1, floats=3)
    write("server_frames", "one_step", CONFIGURE + step)
    write("server_frames", "half_floats",
          CONFIGURE + pull(0, 1, 2) + pull(1, 1, 4) + push(0, 1) + push(1, 1))
    write("server_frames", "save", CONFIGURE + step + bytes([6, 0, 1, 0]) + pull(0, 2) + push(0, 2))
    write("server_frames", "load", CONFIGURE + bytes([7, 0, 1, 1]) + pull(0, 2, 1))
    write("server_frames", "read_only", CONFIGURE + pull(0, 0, 1) + pull(1, 5, 1) + step)
    write("server_frames", "not_configured", pull(0, 1) + push(0, 1) + CONFIGURE + CONFIGURE)
    for field in range(8):
        for value in (-1, 0, 7, 2**31 - 1, 2**63 - 1):
            if field == 1 and value > 7:
                continue  # a width that takes all memory is the plan's right
            wrong = bytes([1, 0, 0, 0, 1, 0, field]) + struct.pack("<q", value)
            write("server_frames", f"plan_{field}_{value}", wrong + pull(0, 1) + push(0, 1))
    header = bytes([8, 0, 0, 0]) + bytes([7]) + struct.pack("<IiqB", 2, 0, 1, 4) + b"abcd"
    write("server_frames", "any_header", CONFIGURE + header + bytes([9, 0, 0, 0, 4]) + b"PEPN")


def frame(kind, flags, step, body):
    return bytes([0, kind - 1, flags, step, 0, len(body)]) + body


def part(operation, sequence, elements, payload):
    return bytes([1, operation, sequence, elements, 0, len(payload)]) + payload


def peer_frames():
    ack, rows = frame(9, 0, 0, b""), struct.pack("<16f", *range(16))
    write("peer_frames", "servers_answer",
          bytes([0]) + ack + ack + frame(3, 0, 1, rows[:32]) + frame(3, 0, 1, rows[32:])
          + frame(3, 1, 2, rows[:32]) + frame(3, 1, 2, rows[32:])
          + frame(7, 0, 0, b"\n\2{}") * 2 + frame(5, 0, 1, b"\n\2[]") * 2)
    write("peer_frames", "error_frames",
          bytes([0]) + ack + ack + frame(10, 0, 1, struct.pack("<I", 3) + b"no such row"))
    sums = part(1, 1, 5, struct.pack("<5f", *range(5)))
    write("peer_frames", "sum",
          bytes([1]) + sums * 2 + part(3, 2, 184, b"x" * 200) + part(4, 3, 0, b"theirs") * 2)
    facts = b"\n\1h\x12\x08worker 1"
    write("peer_frames", "facts", bytes([2]) + part(4, 1, 0, facts) * 2)
    pull_body = struct.pack("<II3q", 2, 1, 1, 2, 3)
    write("peer_frames", "take_apart",
          bytes([3]) + frame(2, 0, 1, pull_body) + frame(2, 8, 1, pull_body)
          + frame(3, 2, 1, rows) + frame(4, 4, 1, rows) + frame(10, 0, 0, b"\0\0\0\0"))


if __name__ == "__main__":
    parquet_files()
    shared_chunks()
    safetensors_files()
    table_parts()
    server_frames()
    peer_frames()
