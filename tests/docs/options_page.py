#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes docs/options.md's tables of options from what the programs say of themselves, or checks that they are what they say.

options_page.py ROOT BIN            prints the first line that differs; exit code 1 then
options_page.py ROOT BIN --write    writes the page anew, below its mark
"""
import pathlib
import re
import subprocess
import sys

MARK = "<!-- tests/docs/options_page.py writes what follows. -->\n"
ITEM = re.compile(r"^  (\S.*)$")


def output(program, *arguments):
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=True).stdout


def items(lines):
    """(words, meaning) of lines as CLI11 prints them: a meaning begins in column 30, perhaps on the next line."""
    found = []
    for line in lines:
        item = ITEM.match(line)
        if item and not line.startswith("   "):
            words, _, meaning = item.group(1).partition("  ")
            found.append([words.strip(), meaning.strip()])
        elif line.strip() and found:
            found[-1][1] += " " + line.strip()
    return found


def tidy(words):
    """-c,--context N:INT in [4 - 16777216]=4096 -> `-c`, `--context N`, and the default."""
    names, _, value = words.removesuffix(" REQUIRED").partition(" ")
    value, equals, default = re.sub(r":(INT|UINT|FLOAT|\{)[^=]*", "", value).partition("=")
    if default.isupper():  # NAME=VALUE: what is to be given, and no default
        value, equals, default = f"{value}={default}", "", ""
    *short, name = names.split(",")
    name, equals_in_name, default_of_name = name.partition("=")
    return ", ".join([f"`{one}`" for one in short] + [f"`{name} {value}`".replace(" `", "`")]), default if equals else default_of_name


def table(lines):
    rows = []
    for words, meaning in items(lines):
        if "--help" in words:
            continue
        name, default = tidy(words)
        default = default.strip("[]")
        meaning = meaning.strip().replace("|", "\\|")
        rows.append(f"| {name} | {meaning}{f' [{default}]' if default and '[' not in meaning else ''} |".replace("| ` ", "| "))
    return ["| option | meaning |", "|---|---|", *(row.replace("|{", "{") for row in rows)] if rows else []


def escaped(row):
    """Choices have bars in them, which a table takes for its own."""
    return re.sub(r"`[^`]*`", lambda code: code.group().replace("|", "\\|"), row)


def section(title, text):
    lines = text.splitlines()
    usage = next(line for line in lines if line.startswith("Usage:"))
    out = [f"## {title}", "", lines[0], "", "```", re.sub(r"^\S*/", "", usage.removeprefix("Usage: ")), "```", ""]
    heading, body = None, []

    def close():
        if heading in (None, "Examples", "Positionals", "Subcommands") or not table(body):
            return
        if heading != "Options":
            out.extend([f"**{heading}**", ""])
        out.extend([escaped(row) for row in table(body)] + [""])

    for line in lines[1:]:
        starts = re.match(r"^(\w[\w ]*):$", line)
        if starts:
            close()
            heading, body = starts.group(1), []
        elif not line or line.startswith(" "):
            body.append(line)
        else:
            close()
            heading, body = None, []
    close()
    return out


def page(programs):
    spillway = programs / "spillway"
    out = []
    for verb in output(spillway, "manual", "--list").split():
        out += section(f"spillway {verb}", output(spillway, verb, "--help"))
    for tool in ("spillway-inflate", "spillway-make-model"):
        out += section(tool, output(programs / tool, "--help"))
    return "\n".join(out).rstrip() + "\n"


def main():
    path, programs = pathlib.Path(sys.argv[1]) / "docs/options.md", pathlib.Path(sys.argv[2])
    head, mark, old = path.read_text().partition(MARK)
    if not mark:
        sys.exit(f"docs/options.md has no line {MARK}")
    new = "\n" + page(programs)
    if sys.argv[3:] == ["--write"]:
        path.write_text(head + MARK + new)
    elif old != new:
        pairs = zip(old.splitlines() + [""], new.splitlines() + [""])
        was, now = next((pair for pair in pairs if pair[0] != pair[1]), ("another length", ""))
        sys.exit(f"docs/options.md says    {was}\nthe program says        {now}\n"
                 f"write it anew: tests/docs/options_page.py . {programs} --write")


if __name__ == "__main__":
    main()
