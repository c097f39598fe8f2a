#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Carries out a Dockerfile of one stage on a folder that holds its base image, and prints its ENTRYPOINT and CMD, a word a
line. For machines without Docker: it knows FROM, ARG, ENV, RUN, COPY, USER, VOLUME, EXPOSE, ENTRYPOINT and CMD, and fails on others.

dockerfile.py FILE --context FOLDER --root FOLDER
"""
import argparse
import glob
import json
import os
import shutil
import subprocess
import sys


def instructions(text):
    """(keyword, rest) of each, continuation lines joined."""
    joined = ""
    for line in text.splitlines():
        if line.lstrip().startswith("#") or (not line.strip() and not joined):
            continue
        joined += line.rstrip("\\").rstrip() + " "
        if line.endswith("\\"):
            continue
        keyword, _, rest = joined.strip().partition(" ")
        yield keyword.upper(), rest.strip()
        joined = ""


def copy(rest, context, root):
    *sources, destination = rest.split()
    for source in sources:
        matches = glob.glob(os.path.join(context, source))
        if not matches:
            sys.exit(f"dockerfile.py: COPY {source}: no such file in the context")
        target = root + destination
        os.makedirs(target if destination.endswith("/") else os.path.dirname(target), exist_ok=True)
        for match in matches:
            shutil.copy(match, target)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--context", required=True)
    parser.add_argument("--root", required=True)
    options = parser.parse_args()
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/root"}
    entry, command = [], []
    for keyword, rest in instructions(open(options.file).read()):
        if keyword == "RUN":
            done = subprocess.run(["chroot", options.root, "/bin/sh", "-c", rest], env=environment, stdout=sys.stderr)
            if done.returncode:
                sys.exit(f"dockerfile.py: RUN {rest}: exit code {done.returncode}")
        elif keyword == "COPY":
            copy(rest, options.context, options.root)
        elif keyword == "ENV":
            environment.update(pair.split("=", 1) for pair in rest.split())
        elif keyword == "ENTRYPOINT":
            entry = json.loads(rest)
        elif keyword == "CMD":
            command = json.loads(rest)
        elif keyword not in ("FROM", "ARG", "USER", "VOLUME", "EXPOSE", "LABEL"):
            sys.exit(f"dockerfile.py: {keyword} is not known")
    print("\n".join(entry + command))


if __name__ == "__main__":
    main()
