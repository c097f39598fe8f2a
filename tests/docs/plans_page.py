#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes what docs/predictions.md says of plans from the plans themselves, or checks that they still say it. They are for a machine
that is shipped as a profile, so they are the same everywhere.

plans_page.py ROOT BIN            prints the first line that differs; exit code 1 then
plans_page.py ROOT BIN --write    writes the table and the plans anew
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

MODELS = [("mixtral-8x7b", "Q5_K_M", "Mixtral 8x7B Q5_K_M", "2.2 tok/s"), ("llama-70b", "Q4_K_M", "Llama 3.3 70B Q4_K_M", "0.3 tok/s")]
MEMORY = ["", "24G", "16G"]
PUBLISHED_AT = "24G"
TABLE = re.compile(r"^\| model \| memory \|.*?(?=\n\n)", re.M | re.S)
IN_FULL = re.compile(r"(?<=^## The plan in full\n\n).*", re.M | re.S)


def plan(programs, folder, model, memory):
    """The command as it is typed, and what it prints."""
    command = ["spillway", "plan", f"{model}.gguf", "--profile", "m1-max-32gb", "--context", "4096", *(["--ram", memory] if memory else [])]
    return " ".join(command), subprocess.run([programs / command[0], *command[1:]], cwd=folder, env=dict(os.environ, SPILLWAY_CACHE_DIR=str(folder)),
                                              capture_output=True, text=True, check=True).stdout


def row(name, memory, published, printed):
    bytes_all = re.search(r"^memory +\S+ \S+ of (\d+)\.00 GiB", printed, re.M).group(1)
    speed, read, why = re.search(r"^decode +(\S+ tok/s), bound by reading (\S+ [KMG]iB) per token from the disk(.*)$", printed, re.M).groups()
    bound = "reading experts as the router asks" if "experts" in why else "reading what does not stay"
    given = published if memory == PUBLISHED_AT else ""
    return f"| {name} | {bytes_all} GiB{'' if memory else ' (default)'} | {speed} | {read} | {bound} | {given} |".replace("|  |", "| |")


def main():
    root, programs = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
    page = root / "docs/predictions.md"
    rows, plans = ["| model | memory | predicted | reads per token | bound by | published |", "|---|---|---|---|---|---|"], []
    with tempfile.TemporaryDirectory() as folder:
        for model, kind, name, published in MODELS:
            subprocess.run([programs / "spillway-make-model", "--preset", model, "--type", kind, "--sparse", "--out", f"{model}.gguf"],
                           cwd=folder, capture_output=True, check=True)
            for memory in MEMORY:
                command, printed = plan(programs, folder, model, memory)
                rows.append(row(name if memory == MEMORY[0] else "", memory, published, printed).replace("|  |", "| |"))
                if memory == PUBLISHED_AT:
                    plans += [f"$ {command}", *printed.rstrip("\n").splitlines(), ""]
    old = page.read_text()
    new = TABLE.sub(lambda _: "\n".join(rows), old)
    new = IN_FULL.sub(lambda _: "\n".join(f"    {line}".rstrip() for line in plans[:-1]) + "\n", new)
    if "--write" in sys.argv:
        page.write_text(new)
        return
    for number, (is_there, right) in enumerate(zip(old.splitlines() + [""], new.splitlines() + [""]), 1):
        if is_there != right:
            sys.exit(f"docs/predictions.md:{number}: says\n{is_there}\nand the plan says\n{right}\n(tests/docs/plans_page.py ROOT BIN --write)")


if __name__ == "__main__":
    main()
