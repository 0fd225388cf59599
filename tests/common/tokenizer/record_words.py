#!/usr/bin/env python3
"""Usage: record_words.py > recorded_words.json

The answers of Hugging Face's tokenizers (pip install tokenizers) that word_tokenizer_test.cc
compares with: the tokens of texts, and for the first and last character of each range of
common/tokenizer/characters.cc the words of "a<character>b".
"""
import json
import pathlib
import re

from tokenizers import Tokenizer
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace, WhitespaceSplit

TEXTS = [
    "", " ", "red shoes", "  red\tshoes\n ", "Red SHOES, size 42!", "it's 3.5% (off)",
    "snake_case __x__ 1_2",
    "a\u00a0b\u3000c\u2009d\u0085e", "caf\u00e9 CAF\u00c9 \u00dcber \u00d7 \u00f7 na\u00efve",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u041c\u0418\u0420", "\u03a3\u03c3\u03c2 \u03a9",
    "\u7ea2\u978b\uff0c42\u7801\uff01",
    "\u9752\u3044\u304b\u3070\u3093\u30fb\u30d0\u30c3\u30b0\u3002",
    "\ud55c\uad6d\uc5b4-\uae00", "\uff21\uff22\uff41 \uff11\uff12", "shoes\U0001f600\U0001f389 !",
    "tab\x1dsep \x1c", "\u20ac5\u2014\u201cquoted\u201d\u2026", "...", "a--b__c", "[UNK] x[UNK]y",
    "[A][AB]c[ABC", "x[ABx]",
]
ADDED = ["[UNK]", "[A]", "[AB]", "[AB"]
FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True}


def boundaries():
    source = (pathlib.Path(__file__).resolve().parents[3]
              / "common/tokenizer/characters.cc").read_text()
    for first, last in re.findall(r"\{(0x[0-9a-f]+), (0x[0-9a-f]+), k", source):
        yield from sorted({int(first, 16), int(last, 16)})


def tokenizer(split, lower, vocabulary):
    return Tokenizer.from_str(json.dumps({
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": vocabulary[word], "content": word, **FLAGS} for word in ADDED],
        "normalizer": {"type": "Lowercase"} if lower else None, "pre_tokenizer": {"type": split},
        "post_processor": None, "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"}}))


def main():
    cases = []
    for split, splitter in (("Whitespace", Whitespace()), ("WhitespaceSplit", WhitespaceSplit())):
        for lower in (False, True):
            for text in TEXTS + [f"a{chr(code)}b" for code in boundaries()]:
                # Every word of the text but "size" and "off" is in the vocabulary, whatever its
                # neighbours.
                words = set(ADDED)
                added = "|".join(map(re.escape, sorted(ADDED, key=len, reverse=True)))
                for piece in re.split(f"({added})", text):
                    normal = Lowercase().normalize_str(piece) if lower else piece
                    words |= {word for word, _ in splitter.pre_tokenize_str(normal)}
                vocabulary = {word: at for at, word in enumerate(sorted(words - {"size", "off"}))}
                ids = tokenizer(split, lower, vocabulary).encode(text).ids
                names = sorted(vocabulary, key=vocabulary.get)
                cases.append({"split": split, "lower": lower, "text": text, "vocabulary": names,
                              "tokens": [names[at] for at in ids]})
    print("[" + ",\n".join(json.dumps(case) for case in cases) + "]")


main()
