#!/usr/bin/env python3
"""check_tidy.py ROOT BUILD [REF | --all]: clang-tidy has nothing to say about the files of src/ that changed.

What changed: since REF (HEAD~1: the last commit), in the working tree too; a header stands for its own .cpp. Eight of
them are looked at, the longest changes first, and the rest is counted: a file takes ten seconds. The static analyzer
takes five times as long, so only --all has it: every file, hours. Skips (77) without clang-tidy or history.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from commands import commands_of

N_MOST = 8

def changed_files(root, ref):
    """[.cpp files of src/] that differ from `ref`, those with most changed lines first; None where git does not know."""
    command = ["git", "diff", "--numstat", ref, "--", "src"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if done.returncode != 0:
        return None
    lines = {}
    for row in done.stdout.splitlines():
        added, removed, name = row.split("\t")
        path = (root / name).with_suffix(".cpp")
        if path.exists() and added != "-":
            lines[path] = lines.get(path, 0) + int(added) + int(removed)
    return sorted(lines, key=lambda path: (-lines[path], path))


def tidy(path, commands, analyzer):
    """What clang-tidy says about the file: empty when all is well. Alone, so its own includes and names are proved."""
    checks = [] if analyzer else ["--checks=-clang-analyzer-*"]
    command = ["clang-tidy", "-p", commands, "--quiet", "--extra-arg=-Wshadow", *checks, str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def main():
    root, build, *rest = sys.argv[1:]
    if shutil.which("clang-tidy") is None or shutil.which("git") is None:
        print("no clang-tidy or no git")
        return 77
    everything = rest == ["--all"]
    found = sorted(Path(root, "src").rglob("*.cpp")) if everything else changed_files(Path(root), *(rest or ["HEAD~1"]))
    if found is None:
        print("the commit to compare with is not here")
        return 77
    files = found if everything else found[:N_MOST]
    with tempfile.TemporaryDirectory() as commands, ThreadPoolExecutor(os.cpu_count()) as pool:
        (Path(commands) / "compile_commands.json").write_text(json.dumps(commands_of(build)))
        said = [text for text in pool.map(lambda path: tidy(path, commands, everything), files) if text]
    print("\n".join(said))
    print(f"{len(files)} of {len(found)} files")
    return 1 if said else 0


sys.exit(main())
