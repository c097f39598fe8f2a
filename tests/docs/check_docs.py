#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks what the pages promise without running anything: links lead somewhere, lines are short enough to read, messages that
docs/troubleshooting.md explains are messages of ours, and CONTRIBUTING.md names files and rooms that are there.

check_docs.py ROOT    prints one line per fault; exit code 1 when there is one
check_docs.py --self-test
"""
import pathlib
import re
import sys
import tempfile

from pages import all_pages

COLUMNS_MAX, SENTENCE_WORDS_MAX, PICTURE_BYTES_MAX = 120, 25, 500_000
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
# Whose lines are still as wide, and whose sentences as long, as they were written.
WIDE = {"docs/benchmarks.md"}


def anchor(heading):
    """As GitHub makes it of a heading."""
    text = re.sub(r"[`*]|\[|\]\([^)]*\)", "", heading.lower())
    return re.sub(r"[^\w\- ]", "", text).strip().replace(" ", "-")


def anchors(text):
    return {anchor(line.lstrip("#")) for line in text.splitlines() if re.match(r"#+ ", line)}


def check_links(root, pages):
    faults, known = [], {}
    for page in pages:
        for number, line in page.prose:
            for target in LINK.findall(line):
                if re.match(r"https?:|mailto:", target):
                    continue
                path, _, part = target.partition("#")
                file = (page.path.parent / path).resolve() if path else page.path
                if not file.exists():
                    faults.append(f"{page.name}:{number}: leads nowhere: {target}")
                elif file.suffix in (".svg", ".png") and file.stat().st_size > PICTURE_BYTES_MAX:
                    faults.append(f"{page.name}:{number}: a picture of {file.stat().st_size} bytes: {target}")
                elif part and file.suffix == ".md":
                    known.setdefault(file, anchors(file.read_text()))
                    if part not in known[file]:
                        faults.append(f"{page.name}:{number}: {file.name} has no heading #{part}")
    return faults


def check_index(pages):
    """The index leads to every page of docs/."""
    index = next(page for page in pages if page.name == "docs/README.md")
    named = {target.partition("#")[0] for _, line in index.prose for target in LINK.findall(line)}
    return [f"docs/README.md: does not name {page.path.name}" for page in pages
            if page.path.parent == index.path.parent and page is not index and page.path.name not in named]


def check_lines(page):
    faults = [f"{page.name}:{number}: {len(line)} columns" for number, line in page.prose
              if len(line) > COLUMNS_MAX and not line.lstrip().startswith("|") and not line.startswith("    ") and " " in line.strip()[:COLUMNS_MAX]]
    if page.open_block:
        faults.append(f"{page.open_block.place}: a block that does not end")
    return faults


def sentences(page):
    """(line number, words) of each; a list's item, a table's cell and a heading end one, too."""
    words, first = [], 0
    for number, line in page.prose + [(0, "")]:
        text = line.strip()
        starts = not text or re.match(r"[#|>]|[-*] |\d+\. ", text)
        if starts and words:
            yield first, words
            words = []
        if text.startswith(("|", "#", "<")) or line.startswith("    ") or not text:
            continue
        for word in re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "CODE", text)).split():
            first = number if not words else first
            words.append(word)
            if re.search(r"[.!?:;][)\"*]*$", word):
                yield first, words
                words = []


def check_sentences(page):
    return [f"{page.name}:{number}: a sentence of {len(words)} words: {' '.join(words[:8])} ..."
            for number, words in sentences(page) if len(words) > SENTENCE_WORDS_MAX]


def check_figures(pages):
    """README.md shows no figure of a measurement that docs/benchmarks.md, which names the command, does not have."""
    text = {page.name: page.text for page in pages}
    table = text["README.md"].partition("\n## How fast\n")[2].partition("\n## ")[0]
    cells = [cell.strip() for row in re.findall(r"^\|(.*)\|$", table, re.M)[2:] for cell in row.split("|")[1:]]
    return [f"README.md: docs/benchmarks.md has no {cell}" for cell in cells
            if not re.search(rf"(?<![\d.]){re.escape(re.match('[^ ]*', cell).group())}(?![\d])", text.get("docs/benchmarks.md", ""))]


def check_messages(root, pages):
    """Each heading in code of the page is the text of messages in src/; ... stands for what is filled in."""
    page = next(page for page in pages if page.name == "docs/troubleshooting.md")
    source = " ".join(path.read_text() for path in sorted((root / "src").rglob("*")) if path.suffix in (".cpp", ".h"))
    source = re.sub(r'"\s*\n?\s*"', "", source).replace('\\"', '"')
    faults, n_messages = [], 0
    for number, line in page.prose:
        heading = re.match(r"#+ `(.*)`$", line)
        if not heading:
            continue
        n_messages += 1
        for part in re.split(r"\.\.\.|`, `", heading.group(1)):
            if part.strip() and part.strip() not in source:
                faults.append(f"{page.name}:{number}: nothing in src/ says: {part.strip()}")
    return faults if n_messages else [f"{page.name}: explains no message"]


def check_paths(root, pages):
    """What CONTRIBUTING.md calls src/... or tests/... exists, and it names every room."""
    page = next(page for page in pages if page.name == "CONTRIBUTING.md")
    faults = [f"{page.name}:{number}: no such file: {path}" for number, line in page.prose
              for path in re.findall(r"`((?:src|tests|tools|docs|scripts|packaging)/[\w./-]+)`", line) if not (root / path).exists()]
    rooms = re.findall(r"^(\w+):", (root / "src/rooms.txt").read_text(), re.M)
    return faults + [f"{page.name}: does not say what {room} is for" for room in rooms if f"`{room}`" not in page.text]


def check(root):
    pages = all_pages(root)
    faults = check_links(root, pages) + check_index(pages) + check_figures(pages) + check_messages(root, pages) + check_paths(root, pages)
    for page in pages:
        if page.name not in WIDE:
            faults += check_lines(page) + check_sentences(page)
    return faults


def self_test():
    """Each check finds its fault."""
    good = {"README.md": "# A\n\n[b](docs/README.md#one-two)\n", "CONTRIBUTING.md": "`base` is in `src/base`.\n", "CHANGELOG.md": "",
            "docs/README.md": "## One, two\n\n[t](troubleshooting.md)\n", "docs/troubleshooting.md": "## `it broke: ...`\n",
            "src/rooms.txt": "base:\n", "src/base/a.cpp": 'f("it broke: {}"\n  "now");\n'}

    def faults(**changed):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for name, text in {**good, **{name.replace("_", "/", 1) + ".md": text for name, text in changed.items()}}.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text)
            return check(root)

    assert not faults(), faults()
    table = "# A\n\n## How fast\n\n| m | s |\n|---|---|\n| a | 3.1 tok/s |\n"
    index = good["docs/README.md"] + "[b](benchmarks.md)\n"
    assert not faults(README=table, docs_README=index, docs_benchmarks="3.1\n")
    assert faults(README=table, docs_README=index, docs_benchmarks="3.14\n")
    for bad in ({"README": "[b](docs/none.md)\n"}, {"README": "[b](docs/README.md#three)\n"}, {"README": "a " * 61 + "\n"},
                {"README": "```sh\n"}, {"README": "a\n" * 26}, {"README": table}, {"docs_more": "x\n"}, {"docs_troubleshooting": "## `it did not`\n"},
                {"docs_troubleshooting": "x\n"}, {"CONTRIBUTING": "`base`: `src/none`\n"}, {"CONTRIBUTING": "nothing\n"}):
        assert faults(**bad), bad
    assert not faults(README="a b.\n" * 26 + "```\n" + "x " * 90 + "\n```\n")


if __name__ == "__main__":
    if sys.argv[1] == "--self-test":
        self_test()
        sys.exit(0)
    found = check(pathlib.Path(sys.argv[1]).resolve())
    print("\n".join(found) or "the pages hold together")
    sys.exit(1 if found else 0)
