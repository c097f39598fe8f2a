#!/usr/bin/env python3
"""check_locks.py BUILD [--self-test]: clang's -Wthread-safety has nothing to say about our locks.

Every file of src/ that BUILD compiles and that takes a lock itself or in a header of ours that it names is read by
clang++, without code being made of it. Skips (77) without clang++. The self-test: a member that is read without its
lock is found, so the check can fail.
"""
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from commands import commands_of

LOCKS = re.compile(r"\b(MutexLock|Mutex|CondVar|GUARDED_BY|REQUIRES)\b")
# What g++ is asked for beyond these is no business of the analysis.
KEPT = re.compile(r"-(I|D|std=)")
UNLOCKED = """
#include "base/mutex.h"
class Counter {
 public:
  int value() const { return value_; }
 private:
  mutable spillway::Mutex mutex_;
  int value_ GUARDED_BY(mutex_) = 0;
};
int value_of(const Counter& counter) { return counter.value(); }
"""


def flags_of(command):
    """Include folders, definitions and language of one entry of compile_commands.json."""
    words, kept = shlex.split(command), []
    for i, word in enumerate(words):
        if word == "-isystem":
            kept += [word, words[i + 1]]
        elif KEPT.match(word):
            kept.append(word)
    return kept


def takes_locks(path, root):
    text = path.read_text()
    if LOCKS.search(text):
        return True
    headers = (root / "src" / name for name in re.findall(r'#include "([^"]+)"', text))
    return any(h.exists() and h.name != "mutex.h" and LOCKS.search(h.read_text()) for h in headers)


def analyse(path, flags):
    """What clang++ says about the file: empty when all is well."""
    command = ["clang++", "-fsyntax-only", "-Wno-everything", "-Wthread-safety", "-Werror=thread-safety", *flags, str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stderr or f"{path}: clang++ ended with {done.returncode}"


def main():
    build = Path(sys.argv[1])
    if shutil.which("clang++") is None:
        print("no clang++")
        return 77
    entries = commands_of(build)
    root = next(Path(e["file"]).parents[2] for e in entries if e["file"].endswith("src/base/status.cpp"))
    flags = {Path(e["file"]): flags_of(e["command"]) for e in entries if Path(e["file"]).is_relative_to(root / "src")}
    if sys.argv[2:] == ["--self-test"]:
        with tempfile.TemporaryDirectory() as folder:
            unlocked = Path(folder) / "unlocked.cpp"
            unlocked.write_text(UNLOCKED)
            said = analyse(unlocked, next(iter(flags.values())))
        print(said)
        return 0 if "requires holding mutex" in said else 1
    files = sorted(path for path in flags if takes_locks(path, root))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        said = [text for text in pool.map(lambda path: analyse(path, flags[path]), files) if text]
    print("\n".join(said) if said else f"{len(files)} files with locks")
    return 1 if said or not files else 0


sys.exit(main())
