#!/usr/bin/env python3
"""Usage: tests/structure/docs_shape_test.py REPOSITORY

Checks the pages of docs/ (without docs/config.md, which is generated):

  width      prose is wrapped at 100 characters, also in the pages at the top and in
             configs/README.md. Excepted are tables, code blocks, text that a script writes into a
             page, and lines that a link or a name makes longer.
  budget     all pages together have at most 25,000 words of prose and tables. A word lies between
             blanks and holds a letter or a digit. Code blocks, which docs_test.py runs, do not
             count.
  anchors    a link to a heading (page.md#heading) names a heading of that page; in all pages at the
             top, too.
  decisions  docs/decisions/NNNN-title.md count up from 0001, have a date, a status, a context, a
             decision and a list of rejected alternatives, and stand in the index once.
"""
import pathlib
import re
import sys

REPOSITORY = pathlib.Path(sys.argv[1]).resolve()
DOCS = REPOSITORY / "docs"
WIDTH, WORDS = 100, 25_000
MARK = re.compile(r"^<!--.*-->$")


def text_lines(text):
    """(number, line) of the lines of a page that are neither code nor a comment."""
    fenced, indented, previous = False, False, ""
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("```"):
            fenced = not fenced
        elif not fenced:
            starts = not previous.strip() or MARK.match(previous)
            indented = (line.startswith("    ") and (indented or bool(starts))
                        or (indented and not line.strip()))
            if not indented and not MARK.match(line):
                yield number, line
        previous = line


def prose(text):
    """The same without tables, and without what scripts write between <!-- NAME --> and <!-- /NAME
    -->."""
    generated = re.compile(r"^<!-- (\w+) -->\n.*?^<!-- /\1 -->$", re.M | re.S)
    ours = generated.sub(lambda found: "\n" * found[0].count("\n"), text)
    return ((number, line) for number, line in text_lines(ours) if not line.startswith("|"))


def wide_lines(page):
    """Lines that could have been wrapped: a blank lies in front of the last link, code span or
    word."""
    for number, line in prose(page.read_text()):
        if len(line) > WIDTH and not line.startswith("#"):
            whole = re.sub(r"`[^`]+`|!?\[[^\]]*\]\([^)]*\)",
                           lambda found: "x" * len(found[0]), line)
            if whole.rstrip().rfind(" ") > len(re.match(r"[\s*\-+\d.]*", whole)[0]):
                yield (f"{page.relative_to(REPOSITORY)}:{number}: {len(line)} characters; "
                       f"wrap at {WIDTH}")


def words(page):
    return sum(bool(re.search(r"[^\W_]", word))
               for _, line in text_lines(page.read_text()) for word in line.split())


def anchors(page):
    """The names of the headings in links: lower case, without punctuation, blanks as hyphens."""
    headings = [line.lstrip("#").strip() for _, line in prose(page.read_text())
                if re.match(r"#+ ", line)]
    return {re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", one))
            .lower().replace(" ", "-") for one in headings}


def broken_anchors(page):
    for target, anchor in re.findall(r"\]\(([^)#:\s]*)#([^)\s]+)\)", page.read_text()):
        other = (page.parent / target).resolve() if target else page
        if not other.exists() or anchor not in anchors(other):
            yield f"{page.relative_to(REPOSITORY)}: {target or page.name} has no heading #{anchor}"


def wrong_decisions():
    files = sorted((DOCS / "decisions").glob("[0-9]*.md"))
    if not files:
        yield "docs/decisions has no decisions"
    index = (DOCS / "decisions/README.md").read_text()
    for number, file in enumerate(files, 1):
        text = file.read_text()
        if not re.match(rf"{number:04d}-[a-z0-9-]+\.md$", file.name):
            yield f"docs/decisions/{file.name}: its name should be {number:04d}-title.md"
        for part in (rf"^# {number:04d}: .", r"^Date: \d{4}-\d\d-\d\d\. Status: \w",
                     r"^\*\*Context\.\*\* .", r"^\*\*Decision\.\*\* .", r"^\*\*Rejected\.\*\* ."):
            if not re.search(part, text, re.M):
                yield f"docs/decisions/{file.name}: no line like {part}"
        if index.count(f"({file.name})") != 1:
            yield f"docs/decisions/README.md: {file.name} should stand there once"


def main():
    pages = [page for page in sorted(DOCS.rglob("*.md")) if page != DOCS / "config.md"]
    if len(pages) < 20:
        sys.exit(f"{DOCS} has {len(pages)} pages; is this the repository?")
    others = [*sorted(REPOSITORY.glob("*.md")), *sorted((REPOSITORY / "configs").glob("*.md"))]
    wrong = [line for page in pages + others for line in wide_lines(page)]
    wrong += [line for page in [*pages, DOCS / "config.md", *others]
              for line in broken_anchors(page)]
    wrong += wrong_decisions()
    count = sum(words(page) for page in pages)
    if count > WORDS:
        wrong.append(f"docs/ has {count} words, of which {WORDS} are allowed: "
                     "say each thing once, in one place")
    print("\n".join(wrong))
    print(f"{len(pages)} pages, {count} of {WORDS} words")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
