#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Acceptance: contexts are counted before they are taken, and a budget that is too small is told one figure, which does.

check_contexts.py SPILLWAY MAKE_MODEL MODEL FOLDER    exit code 0 passed, 1 failed, 77 skipped (not root, no cgroup to be made)

MODEL: one with a large vocabulary, whose logits are what a pass takes most for. Beside it a generated one that says it was trained
for a million tokens, 16 KiB each. Everything runs in memory cgroups whose peak is read afterwards, page cache included:
- `run --context N` and a server that gets `num_ctx` N, for sizes up to those that overflow: each is answered or refused, and what
  the kernel charged stays within --ram. Who asks next is answered;
- run, serve, verify and plan with far too little: each names a size, and works with exactly that.
"""
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

MIB = 1 << 20
# A process that runs over is killed here, long before the machine notices.
LIMIT_OVER_BUDGET = 1.5
CONTEXTS = [512, 4096, 32768, 1_000_000, 16_777_216, 268_435_456, 4_294_967_295, 4_294_967_296, 5_000_000_000, 10**18]
wrong = []


def check(holds, sentence):
    print(("ok     " if holds else "FAILED ") + sentence, flush=True)
    if not holds:
        wrong.append(sentence)


class Cgroup:
    """Below our own: v2 where its memory controller is usable, else v1."""
    count = 0

    def __init__(self, limit_bytes):
        Cgroup.count += 1
        name = f"spillway-contexts-{os.getpid()}-{Cgroup.count}"
        v1 = "/sys/fs/cgroup/memory"
        self.v2 = not os.path.isdir(v1) and "memory" in open("/sys/fs/cgroup/cgroup.controllers").read().split()
        self.folder = f"/sys/fs/cgroup/{name}" if self.v2 else f"{v1}/{name}"
        os.mkdir(self.folder)
        with open(f"{self.folder}/{'memory.max' if self.v2 else 'memory.limit_in_bytes'}", "w") as file:
            file.write(str(limit_bytes))

    def enter(self):
        with open(f"{self.folder}/cgroup.procs", "w") as file:
            file.write(str(os.getpid()))

    def peak(self):
        return int(open(f"{self.folder}/{'memory.peak' if self.v2 else 'memory.max_usage_in_bytes'}").read())

    def remove(self):
        for _ in range(100):
            try:
                return os.rmdir(self.folder)
            except OSError:
                time.sleep(0.05)


def mib(text):
    number, unit = text.split()
    return float(number) * {"MiB": 1, "GiB": 1024}[unit]


def environment(folder):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OLLAMA_")}
    return dict(kept, HOME=folder, SPILLWAY_MODELS=f"{folder}/store", SPILLWAY_CACHE_DIR=f"{folder}/cache", OLLAMA_MODELS=f"{folder}/none",
                GOMP_SPINCOUNT="1000")


def in_cgroup(words, ram_mib, folder):
    """The outcome, and what the kernel charged, in MiB."""
    group = Cgroup(int(ram_mib * LIMIT_OVER_BUDGET) * MIB)
    done = subprocess.run(words, capture_output=True, text=True, preexec_fn=group.enter, env=environment(folder), timeout=300)
    peak_mib = group.peak() / MIB
    group.remove()
    return done, peak_mib


class Server:
    def __init__(self, spillway, model, ram_mib, folder, options=()):
        self.group = Cgroup(int(ram_mib * LIMIT_OVER_BUDGET) * MIB)
        self.log_path = f"{folder}/log"
        self.name = os.path.basename(model).removesuffix(".gguf")
        words = [spillway, "serve", model, "--port", "0", "--ram", f"{ram_mib}M", "--no-cache-disk", *options]
        self.process = subprocess.Popen(words, stderr=open(self.log_path, "w"), preexec_fn=self.group.enter, env=environment(folder))
        for _ in range(1200):
            found = re.search(r"listening on http://[^:]*:(\d+)", self.log())
            if found or self.process.poll() is not None:
                break
            time.sleep(0.05)
        self.port = int(found.group(1)) if found else 0

    def log(self):
        return open(self.log_path).read()

    def ask(self, path="/api/generate", **fields):
        """(status, reply); status 0: the server is gone"""
        body = {"model": self.name, "stream": False, **fields}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=120) as reply:
                return reply.status, json.loads(reply.read())
        except urllib.error.HTTPError as e:
            return e.code, json.loads(e.read())
        except OSError as e:
            return 0, {"error": str(e)}

    def generate(self, num_ctx=None):
        options = {"num_predict": 2, "temperature": 0}
        if num_ctx is not None:
            options["num_ctx"] = num_ctx
        return self.ask(prompt="a lake", raw=True, options=options)

    def end(self):
        """What the kernel charged, in MiB."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=60)
        check(code == 0, f"the server ends in order ({code})")
        peak_mib = self.group.peak() / MIB
        self.group.remove()
        return peak_mib


def contexts(spillway, model, ram_mib, folder):
    print(f"{os.path.basename(model)}, --ram {ram_mib}M")
    for n in CONTEXTS:
        words = [spillway, "run", model, "--raw", "--prompt", "a lake", "--max-tokens", "2", "--context", str(n), "--ram", f"{ram_mib}M"]
        done, peak_mib = in_cgroup(words, ram_mib, folder)
        check(done.returncode in (0, 1, 2) and len(done.stderr.strip().splitlines()) <= (done.returncode > 0),
              f"run --context {n}: exit code {done.returncode}, {done.stderr.strip()[-160:]}")
        check(peak_mib <= ram_mib, f"run --context {n}: {peak_mib:.0f} MiB charged")
    for options in ([], ["--parallel", "4"]):
        server = Server(spillway, model, ram_mib, folder, options)
        for n in CONTEXTS:
            status, reply = server.generate(n)
            check(status in (200, 400), f"num_ctx {n} {options}: {status} {reply.get('error', '')[:160]}")
            check(server.generate()[0] == 200, f"who asks after num_ctx {n} is answered")
        status, reply = server.ask("/api/embed", input="a lake")
        check(status in (200, 400, 501), f"an embedding: {status} {str(reply.get('error', ''))[:160]}")
        check(server.generate()[0] == 200, "who asks after the embedding is answered")
        peak_mib = server.end()
        check(peak_mib <= ram_mib, f"the server {options}: {peak_mib:.0f} MiB charged")


def named_mib(sentence):
    found = re.search(r"at least ([\d.]+ [MG]iB) is needed", sentence)
    return mib(found.group(1)) if found else None


def one_need(spillway, model, folder):
    verbs = {
        "run": lambda ram: [spillway, "run", model, "--raw", "--prompt", "a lake", "--max-tokens", "2", "--ram", ram],
        "verify": lambda ram: [spillway, "verify", model, "--ram", ram],
        "plan": lambda ram: [spillway, "plan", model, "--ram", ram],
    }
    needs = {}
    for verb, words in verbs.items():
        named = set()
        for too_small in (70, 150, 200):
            done, peak_mib = in_cgroup(words(f"{too_small}M"), 4 * too_small, folder)
            named.add(named_mib(done.stderr))
            check(done.returncode == 1, f"{verb} --ram {too_small}M: {done.stderr.strip()[-200:]}")
        check(len(named) == 1 and None not in named, f"{verb} names one size: {named}")
        needs[verb] = min((n for n in named if n is not None), default=None)
    server = Server(spillway, model, 150, folder)
    status, reply = server.generate()
    needs["serve"] = named_mib(reply.get("error", ""))
    check(status >= 400 and needs["serve"] is not None, f"serve --ram 150M: {status} {reply.get('error')}")
    server.end()
    if needs["serve"] is None:
        return
    # 128 tokens, of which 250 MiB of logits would have no room.
    server = Server(spillway, model, int(needs["serve"]) + 60, folder, ["--context", "4096"])
    check(server.generate()[0] == 200, "a server with little more than it needs answers")
    status, reply = server.ask("/api/embed", input="a lake " * 60)
    check(status == 200 and len(reply["embeddings"]) == 1, f"and embeds: {status} {reply.get('error', '')}")
    peak_mib = server.end()
    check(peak_mib <= int(needs["serve"]) + 60, f"and {peak_mib:.0f} MiB were charged")
    check(needs["run"] == needs["serve"] == needs["plan"], f"run, serve and plan name the same size: {needs}")
    for verb, words in verbs.items():
        if needs[verb] is None:
            continue
        done, peak_mib = in_cgroup(words(f"{needs[verb]:.0f}M"), needs[verb], folder)
        check(done.returncode == 0, f"{verb} works with the {needs[verb]:.0f} MiB that it named: {done.stderr.strip()[-200:]}")
        check(peak_mib <= needs[verb], f"{verb}: {peak_mib:.0f} MiB charged")
    if needs["serve"] is not None:
        server = Server(spillway, model, int(needs["serve"]), folder)
        status, reply = server.generate()
        check(status == 200, f"serve works with the {needs['serve']:.0f} MiB that it named: {status} {reply.get('error', '')}")
        peak_mib = server.end()
        check(peak_mib <= needs["serve"], f"serve: {peak_mib:.0f} MiB charged")


def main():
    spillway, make_model, model, folder = sys.argv[1:5]
    os.makedirs(folder, exist_ok=True)
    try:
        Cgroup(1 << 30).remove()
    except (OSError, FileNotFoundError) as e:
        print(f"skipped: no memory cgroup can be made ({e})")
        sys.exit(77)
    if not os.path.exists(model):
        print(f"skipped: {model} is not here; scripts/setup --tests brings it")
        sys.exit(77)
    long_model = f"{folder}/long-context.gguf"
    subprocess.run([make_model, "--preset", "tiny-dense", "--embd", "512", "--heads", "8", "--kv-heads", "8", "--layers", "8", "--context-length", "1000000", "--out", long_model],
                   check=True, capture_output=True)
    contexts(spillway, long_model, 600, folder)
    one_need(spillway, model, folder)
    contexts(spillway, model, 700, folder)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
