#!/usr/bin/env python3
"""Writes docs/config.md, the reference of all config fields, from the comments in proto/*.proto.

Usage: python3 scripts/dev/generate_config_reference.py [--check]

--check writes nothing; it ends with status 1 if docs/config.md is not what the comments say. Every
field must have one.

What counts as a field's comment: the one behind it, and the lines in front of it. Lines in front of
a run of fields without comments of their own belong to each of them, up to the next comment or
empty line. What a field that is rejected or has no effect says is taken from
common/config/field_support.cc, which decides it.
"""
import argparse
import pathlib
import re
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
FILES = ["pipeline", "train", "optimizer", "data", "feature", "model"]
ROOT = "EasyRecConfig"
UNSUPPORTED = {"Unsupported"}  # types of what can be named but not used
HEAD = """# Config reference

Generated from the comments in `proto/*.proto` by `scripts/dev/generate_config_reference.py`; do not
edit. The config of a job is one `EasyRecConfig` in text format: `field: value` and `field { ... }`,
lists as `[a, b]` or repeated fields, comments after `#`. A config whose name ends in `.json` is
JSON, as protobuf writes it. `pepnet check-config --pipeline_config_path F` checks a config and
prints it with all defaults. A field that is not listed here is an error with its line number.

A default of - means that the field is unset unless written. Setting a "rejected" field to anything
but its default is an error. Fields with "no effect" are accepted so that a config can stay
unchanged.
"""


class Field:
    def __init__(self, name, kind, repeated, default, comment, choice):
        self.name, self.kind, self.repeated = name, kind, repeated
        self.default, self.comment, self.choice = default, comment, choice


class Message:
    def __init__(self, name, comment, file):
        self.name, self.comment, self.file, self.fields, self.choices = name, comment, file, [], {}


class Enum:
    def __init__(self, name, comment):
        self.name, self.comment, self.values = name, comment, []


def parse(text, file, messages, enums):
    """Our .proto files keep to one declaration per line; anything else is an error."""
    leading, fresh, current, choice, section = [], False, None, None, ""
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip()
        if line.startswith("//"):
            if not fresh:
                leading = []
            leading.append(line[2:].removeprefix(" "))
            fresh = True
            continue
        code, behind = (re.fullmatch(r"(.*?[;{}])\s*//\s*(.*)|(.*)", line).group(1, 2)
                        if "//" in line else (line, ""))
        if not code:
            # A comment that stands alone between messages is about what follows it.
            if current is None and fresh:
                section = "\n".join(leading)
            leading, fresh = [], False
            continue
        if matched := re.fullmatch(r"(message|enum) (\w+) (\{\}|\{)", code):
            comment = "\n".join(leading)
            kind = (Message(matched[2], comment, file) if matched[1] == "message"
                    else Enum(matched[2], comment))
            kind.section, section = section, ""
            (messages if matched[1] == "message" else enums)[matched[2]] = kind
            current = None if matched[3] == "{}" else kind
            leading = []
        elif matched := re.fullmatch(r"oneof (\w+) \{", code):
            choice = matched[1]
            current.choices[choice] = " ".join(filter(None, [" ".join(leading), behind]))
            leading = []
        elif code == "}":
            if choice:
                choice = None
            else:
                current = None
            leading = []
        elif isinstance(current, Enum) and (matched := re.fullmatch(r"(\w+) = (\d+);", code)):
            current.values.append((matched[1], behind or " ".join(leading)))
        elif isinstance(current, Message) and (
                matched := re.fullmatch(r"(?:(optional|repeated) )?([\w.]+) (\w+) = \d+"
                                        r"(?: \[default = (.*)\])?;", code)):
            if behind and not fresh:
                leading = []  # the lines in front were about the fields before
            comment = " ".join(filter(None, [" ".join(leading), behind]))
            current.fields.append(Field(matched[3], matched[2], matched[1] == "repeated",
                                        matched[4], comment, choice))
        elif not re.match(r"(syntax|package|import) ", code):
            raise SystemExit(f"proto/{file}.proto, line {number}: cannot read '{code}'")
        fresh = False


def joined(literals):
    """The text of C++ string literals that stand side by side."""
    return "".join(re.findall(r'"([^"]*)"', literals))


def support_rules(text):
    """(message, field) -> (rejected or not, text) from the table of
    common/config/field_support.cc."""
    literals = r'((?:"[^"]*"\s*)+)'  # one text, which C++ may have in several pieces
    constants = {name: joined(pieces) for name, pieces in
                 re.findall(rf'constexpr char (\w+)\[\] =\s*{literals};', text)}
    rules = {}
    found = re.findall(rf'\{{\s*"(\w+)",\s*"(\w+)",\s*Support::(\w+),\s*'
                       rf'(?:(k\w+)|{literals})\s*\}}', text)
    if len(found) != len(re.findall(r'^ *\{\s*"\w+",', text, re.M)):
        raise SystemExit("common/config/field_support.cc has a rule that this script cannot read")
    for message, field, support, name, pieces in found:
        rules[message, field] = (support == "kRejected",
                                 constants[name] if name else joined(pieces))
    return rules


def meaning(message, field, rules):
    rule = rules.get((message.name, field.name))
    if field.kind in UNSUPPORTED and not rule:
        return ("Rejected." if re.match(r"Rejected", field.comment) or not field.comment
                else f"Rejected: {field.comment}")
    if rule:
        own = "" if re.search(r"rejected|accepted|only \d", field.comment, re.I) else field.comment
        said = re.sub(r"^(accepted without effect|accepted)[:,]? ?", "",
                      rule[1]).removeprefix("is ")
        text = ("Rejected" if rule[0] else "No effect") + (f": {said}." if said else ".")
        return f"{own}. {text}" if own else text
    return field.comment


def cell(text):
    """Text that Markdown leaves as it is."""
    text = text.replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([*_])", r"\\\1", text)


def prose(text):
    return "\n".join(f"    {line}" if re.search(r"[=*^]", text) else cell(line)
                     for line in text.split("\n")) + "\n"


def render(messages, enums, rules):
    order, waiting = [], [ROOT]
    while waiting:  # depth first, in the order of the fields
        name = waiting.pop(0)
        if name in order or name in UNSUPPORTED:
            continue
        order.append(name)
        if name in messages:
            inside = [field.kind for field in messages[name].fields]
            waiting = [kind for kind in inside if kind in messages or kind in enums] + waiting
    parts = [HEAD]
    for name in order:
        kind = messages.get(name) or enums[name]
        parts.append(f"\n## {name}\n")
        for text in (kind.section, kind.comment):
            text = re.sub(r"^-+ (.*?) -+$", r"\1", text, flags=re.M)
            if text:
                parts.append(f"\n{prose(text)}")
        if isinstance(kind, Enum):
            if any(comment for _, comment in kind.values):
                rows = "".join(f"| `{value}` | {cell(comment)} |\n"
                               for value, comment in kind.values)
                parts.append(f"\n| value | meaning |\n| --- | --- |\n{rows}")
            else:
                parts.append(f"\nValues: {', '.join(f'`{value}`' for value, _ in kind.values)}.\n")
            continue
        for choice, comment in kind.choices.items():
            members = [field.name for field in kind.fields
                       if field.choice == choice and field.kind not in UNSUPPORTED]
            said = f" ({cell(comment)})" if comment else ""
            if members:
                parts.append(f"\nOne{said} of: {', '.join(f'`{one}`' for one in members)}.\n")
        refused = [field.name for field in kind.fields
                   if field.choice and field.kind in UNSUPPORTED]
        if refused:
            parts.append(f"\nRejected by name: {', '.join(f'`{one}`' for one in refused)}.\n")
        shown = [field for field in kind.fields if not (field.choice and field.kind in UNSUPPORTED)]
        if shown:
            parts.append("\n| field | type | default | meaning |\n| --- | --- | --- | --- |\n")
        for field in shown:
            linked = f"[{field.kind}](#{field.kind.lower()})" if field.kind in order else field.kind
            text = meaning(kind, field, rules)
            if field.choice and not text and field.kind in messages:
                text = messages[field.kind].comment.replace("\n", " ")
            parts.append(f"| `{field.name}` | {linked}{', repeated' if field.repeated else ''} | "
                         f"{f'`{field.default}`' if field.default is not None else '-'} | "
                         f"{cell(text)} |\n")
    return "".join(parts)


def silent_fields(messages, rules):
    """Fields that nothing is said about. A member of a choice may leave it to its message."""
    return [f"{message.name}.{field.name}"
            for message in messages.values() for field in message.fields
            if not field.comment and (message.name, field.name) not in rules
            and field.kind not in UNSUPPORTED
            and not (field.kind in messages
                     and (field.choice or messages[field.kind].comment))]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    messages, enums = {}, {}
    for file in FILES:
        parse((REPOSITORY / f"proto/{file}.proto").read_text(), file, messages, enums)
    rules = support_rules((REPOSITORY / "common/config/field_support.cc").read_text())
    known = {(message.name, field.name)
             for message in messages.values() for field in message.fields}
    if unknown := sorted(set(rules) - known):
        raise SystemExit(f"common/config/field_support.cc names {unknown[0]}, "
                         "which is not in proto/")
    if silent := silent_fields(messages, rules):
        raise SystemExit(f"proto/: no comment says what {', '.join(silent)} means")
    text = render(messages, enums, rules)
    path = REPOSITORY / "docs/config.md"
    if not args.check:
        path.write_text(text)
    elif not path.exists() or path.read_text() != text:
        sys.exit("docs/config.md is not what proto/*.proto says; "
                 "run python3 scripts/dev/generate_config_reference.py")


if __name__ == "__main__":
    main()
