"""Reads and writes the text format of protobuf, in which pepnet's configs are written, without
protobuf."""

from __future__ import annotations

import json
import re
from typing import Any, Iterator, Union

import numpy as np

Value = Union[str, int, float, bool, "Symbol", "Message"]


class Symbol(str):
    """An enum value or another bare word of a config, as FG_DAG."""


class Message(dict[str, list[Any]]):
    """A message of a config: field name -> its values in the order of the text."""

    def first(self, name: str, default: Any = None) -> Any:
        """The field's value, or `default` where the text has none."""
        values = self.get(name)
        return values[0] if values else default

    def all(self, name: str) -> list[Any]:
        """All values of a repeated field."""
        return self.get(name, [])

    def message(self, name: str) -> Message:
        """The field's message, or an empty one where the text has none."""
        return self.first(name) or Message()


def shortest(value: float) -> float:
    """The shortest decimal of a float32 field, as the program takes it."""
    return float(str(np.float32(value)))


_TOKEN = re.compile(
    r"""(?P<space>(?:\s|\#[^\n]*)+)
      | (?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<word>[-+.\w]+)
      | (?P<mark>[{}<>\[\]:,;])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{1,2}|[0-7]{1,3}|.)", re.DOTALL)
_LETTERS = {
    b"n": b"\n",
    b"t": b"\t",
    b"r": b"\r",
    b"a": b"\a",
    b"b": b"\b",
    b"f": b"\f",
    b"v": b"\v",
}


def unquote(token: str) -> str:
    """The text of a quoted token, its C escapes resolved."""

    def resolve(match: re.Match[bytes]) -> bytes:
        what = match[1]
        if what[:1] == b"x" and len(what) > 1:
            return bytes([int(what[1:], 16)])
        if what[:1] in b"01234567":
            return bytes([int(what, 8) & 255])
        return _LETTERS.get(what, what)

    return _ESCAPE.sub(resolve, token[1:-1].encode()).decode(errors="surrogateescape")


def quote(text: str) -> str:
    """`text` as a quoted token that the format reads back."""
    escaped = []
    for character in text:
        if character in '"\\':
            escaped.append("\\" + character)
        elif ord(character) < 32 or ord(character) == 127:
            escaped.append(f"\\{ord(character):03o}")
        else:
            escaped.append(character)
    return '"' + "".join(escaped) + '"'


def _scalar(token: str) -> Value:
    if token in ("true", "True", "t"):
        return True
    if token in ("false", "False", "f"):
        return False
    try:
        return int(token, 0)
    except ValueError:
        pass
    try:
        return float(token[:-1] if re.fullmatch(r"[-+.\d][-+.\de]*f", token) else token)
    except ValueError:
        return Symbol(token)


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(self._tokenize(text))
        self.at = 0

    @staticmethod
    def _tokenize(text: str) -> Iterator[tuple[str, str, int]]:
        at = 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            if not match:
                line = text.count("\n", 0, at) + 1
                raise ValueError(f"line {line} of the config: cannot read {text[at : at + 20]!r}")
            at = match.end()
            if match.lastgroup != "space":
                yield match.lastgroup or "", match[0], match.start()

    def peek(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def fail(self, wanted: str) -> ValueError:
        at = self.tokens[self.at][2] if self.at < len(self.tokens) else len(self.text)
        line = self.text.count("\n", 0, at) + 1
        return ValueError(
            f"line {line} of the config: expected {wanted}, got {self.peek() or 'its end'!r}"
        )

    def take(self, kind: str = "") -> str:
        if self.at >= len(self.tokens) or (kind and self.tokens[self.at][0] != kind):
            raise self.fail("a field name" if kind == "word" else "a value")
        self.at += 1
        return self.tokens[self.at - 1][1]

    def fields(self, end: str) -> Message:
        message = Message()
        while self.peek() != end:
            name = self.take("word")
            colon = self.peek() == ":"
            if colon:
                self.take()
            if self.peek() == "[":
                self.take()
                values = []
                while self.peek() != "]":
                    values.append(self.value())
                    if self.peek() == ",":
                        self.take()
                self.take()
            elif colon or self.peek() in ("{", "<"):
                values = [self.value()]
            else:
                raise self.fail("':' or '{'")
            message.setdefault(name, []).extend(values)
            if self.peek() in (",", ";"):
                self.take()
        if end:
            self.take()
        return message

    def value(self) -> Value:
        if self.peek() in ("{", "<"):
            return self.fields("}" if self.take() == "{" else ">")
        kind = self.tokens[self.at][0] if self.at < len(self.tokens) else ""
        if kind == "text":
            text = unquote(self.take())
            while self.at < len(self.tokens) and self.tokens[self.at][0] == "text":
                text += unquote(self.take())
            return text
        return _scalar(self.take("word"))


def parse(text: str) -> Message:
    """The message that `text` describes. A text that is not of the format is a ValueError with its
    line."""
    return _Parser(text).fields("")


def scalar_text(value: Value) -> str:
    """A value as the format writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Symbol):
        return str(value)
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, float):
        return format(value, ".9g")
    return json.dumps(value)
