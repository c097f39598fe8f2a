#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the commands that the pages show, as a reader would type them, and holds the others to what the programs know.

run_docs.py ROOT BIN [PAGE...]

    ```sh                    is run; every command has to succeed
    ```sh server             is started and has to listen; it is stopped, and has to end well, before the next one or at the page's end
    ```sh not run: WHY       is read only: its verbs and options have to exist, as in every block

A page has a folder of its own, in which is what it speaks of: model.gguf (Brook) and big-moe.gguf (the
same, larger). Names are pulled from sites on this machine. Port 11434 is whichever is free.
"""
import atexit
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from pages import all_pages
from sites import Site

PROGRAMS = ("spillway", "spillway-inflate", "spillway-make-model")
COMMAND_S_MAX = 300


def fail(what):
    sys.exit(f"run_docs.py: {what}")


class Help:
    """What the programs say of their verbs and options."""

    def __init__(self, programs):
        self.folder, self.known = programs, {}
        self.verbs = set(self._output("spillway", "manual", "--list").split()) | {"estimate"}

    def _output(self, *command):
        done = subprocess.run([self.folder / command[0], *command[1:]], capture_output=True, text=True, check=True)
        return done.stdout

    def options(self, *command):
        if command not in self.known:
            self.known[command] = set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", self._output(*command, "--help")))
        return self.known[command]

    def unknown_in(self, line):
        """What one line of shell says that its program does not know."""
        line = re.sub(r"'[^']*'|\"[^\"]*\"", "TEXT", line.split(" #")[0])
        for part in re.split(r"\||&&|;|\$\(|<\(", line):
            words = part.split()
            found = next((i for i, word in enumerate(words) if word.rsplit("/", 1)[-1] in PROGRAMS), None)
            if found is None or part.lstrip().startswith("#"):
                continue
            command, rest = [words[found].rsplit("/", 1)[-1]], words[found + 1:]
            if command[0] == "spillway" and rest and not rest[0].startswith("-"):
                if not rest[0].isalpha():
                    continue  # a folder or an image of that name
                if rest[0] not in self.verbs:
                    yield f"no verb of spillway's: {rest[0]}"
                    continue
                command.append(rest.pop(0))
            for word in rest:
                option = re.match(r"--?[a-zA-Z][\w-]*", word)
                if option and option.group() not in self.options(*command):
                    yield f"{' '.join(command)} has no option {option.group()}"


class Reader:
    """Somebody who follows one page."""

    def __init__(self, programs, page, site, models):
        self.page, self.server = page, None
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="spillway-docs-"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        home = self.folder / "home"
        home.mkdir()
        keep = {name: value for name, value in os.environ.items() if name in ("LANG", "TERM", "LD_LIBRARY_PATH", "ASAN_OPTIONS")}
        self.environment = dict(keep, PATH=f"{programs}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", HOME=str(home),
                                OLLAMA_HOST=f"127.0.0.1:{self.port}", SPILLWAY_REGISTRY=site.url, HF_ENDPOINT=site.url)
        for model in models.iterdir():
            os.link(model, self.folder / model.name)

    def _run(self, text):
        """What it printed, and its exit code. It is a group of its own, so that what it started ends with it."""
        process = subprocess.Popen(["bash", "-euo", "pipefail", "-c", text], cwd=self.folder, env=self.environment, text=True,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   start_new_session=True)
        try:
            printed, _ = process.communicate(timeout=COMMAND_S_MAX)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            printed, _ = process.communicate()
            printed += f"\nnot done after {COMMAND_S_MAX} s"
        return printed, process.returncode

    def follow(self, block):
        text = block.text.replace("11434", str(self.port))
        if block.info == "sh server":
            self.stop_server()
            self.start_server(block, text)
            return
        printed, code = self._run(text)
        if code:
            fail(f"{block.place}: exit code {code} of\n{block.text}{printed[-2000:]}")

    def start_server(self, block, text):
        self.log = self.folder / "server.log"
        with open(self.log, "w") as log:
            self.server = subprocess.Popen(["bash", "-euc", "exec " + text.strip()], cwd=self.folder, env=self.environment,
                                           stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + COMMAND_S_MAX
        while "listening on" not in self.log.read_text():
            if self.server.poll() is not None or time.monotonic() > end:
                fail(f"{block.place}: does not listen\n{block.text}{self.log.read_text()[-2000:]}")
            time.sleep(0.05)

    def stop_server(self):
        if self.server is None:
            return
        self.server.send_signal(signal.SIGTERM)
        if self.server.wait(COMMAND_S_MAX):
            fail(f"{self.page.name}: its server ended badly\n{self.log.read_text()[-2000:]}")
        self.server = None

    def leave(self):
        if self.server is not None:
            self.server.kill()
            self.server.wait()
        shutil.rmtree(self.folder)


def make_models(root, programs, folder):
    """What pages speak of. The large one is large enough to stream."""
    shutil.copy(root / "tools/demo_model/brook.gguf", folder / "model.gguf")
    subprocess.run([programs / "spillway-inflate", folder / "model.gguf", folder / "big-moe.gguf", "--size", "400M", "--experts", "64"],
                   check=True, stdout=subprocess.DEVNULL)


def main():
    if len(sys.argv) < 3:
        fail(__doc__)
    root, programs, wanted = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve(), sys.argv[3:]
    known, site = Help(programs), Site((root / "tools/demo_model/brook.gguf").read_bytes())
    n_run = n_read = 0
    models = pathlib.Path(tempfile.mkdtemp(prefix="spillway-docs-models-"))
    atexit.register(shutil.rmtree, models)
    make_models(root, programs, models)
    for page in all_pages(root):
        if wanted and page.name not in wanted:
            continue
        for block in page.commands():
            for line in re.sub(r"\\\n", " ", block.text).splitlines():
                for what in known.unknown_in(line):
                    fail(f"{block.place}: {what}")
        to_run = [block for block in page.commands() if block.info in ("sh", "sh server")]
        strange = [block for block in page.commands() if block not in to_run and not re.match(r"sh not run: .", block.info)]
        if strange:
            fail(f"{strange[0].place}: neither run nor a reason why not: {strange[0].info}")
        n_run, n_read = n_run + len(to_run), n_read + len(page.commands()) - len(to_run)
        if not to_run:
            continue
        reader = Reader(programs, page, site, models)
        try:
            for block in to_run:
                reader.follow(block)
            reader.stop_server()
        finally:
            reader.leave()
        print(f"{page.name}: {len(to_run)} blocks of commands run", flush=True)
    if n_run == 0:
        fail("no page shows a command")
    print(f"{n_run} run, {n_read} read")


if __name__ == "__main__":
    main()
