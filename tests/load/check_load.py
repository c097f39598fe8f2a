#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Many clients at once on a server that streams its model and has fewer slots than they are.

check_load.py SPILLWAY MAKE_MODEL FOLDER [--seconds N] [--clients N]

Most clients ask, read all of the answer, and ask again, in three protocols. Some go away in mid-stream, one in sixteen never
reads. Asserted:
  - no status but 200, and 503 with Retry-After, after which a client waits as it was told
  - every stream is well formed (streams.py), its counts are true, and the text of a short one is that of the request alone
  - every stream that began ends; nobody waits for ever
  - the server's memory is flat within 2 % once it is warm, and within its budget; no descriptor is left open
  - weights were streamed meanwhile; afterwards no slot is busy, and SIGTERM ends the server with exit code 0
"""
import argparse
import asyncio
import contextlib
import glob
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

import streams

SLOTS, QUEUE, CONTEXT = 4, 8, 1024
RAM_BYTES = 320 << 20
OPTIONS = ["--context", str(CONTEXT), "--parallel", str(SLOTS), "--queue", str(QUEUE), "--mode", "stream", "--ram", str(RAM_BYTES)]
# 210 MB of weights: what does not fit is read anew in each pass, and a pass stays at some tens of milliseconds.
MODEL = ["--preset", "tiny-dense", "--type", "Q8_0", "--layers", "12", "--embd", "1024", "--ff", "4096", "--heads", "8", "--kv-heads", "2"]
# Q8_0 is multiplied alike alone and among others, and so is attention below 64 tokens of prompt and 256 of context: the text must
# be that of the request alone (docs/scheduling.md). Of the long prompts, which begin otherwise and share nothing with them, counts
# are compared.
CALLS = [(protocol, prompt, n) for protocol in streams.CHATS
         for prompt, n in (("Hi", 12), ("Why is the sky blue, and the sea?", 20), ("a river", 24))]
LONG_CALLS = [(streams.OllamaRaw, "memory and disk " * 40, 9), (streams.OllamaRaw, "a river, a wall and a spillway; " * 30, 24)]
STALLED_S = 120  # nobody waits this long for the next event of a stream
RSS_SHARE_MAX = 0.02
TEMPLATE_PROCESSES_MAX = 4  # serve/loaded_model
BUDGET_SHARE_MAX = 1.03


def fail(sentence):
    print(f"load: {sentence}")
    sys.exit(1)


# ---- the server


class Server:
    def __init__(self, spillway, model, folder, options):
        self.log_path = os.path.join(folder, "log")
        environment = dict(os.environ, HOME=folder, SPILLWAY_MODELS=f"{folder}/store", SPILLWAY_CACHE_DIR=f"{folder}/cache",
                           OLLAMA_MODELS=f"{folder}/none")
        command = [spillway, "serve", model, "--port", "0", *options]
        self.process = subprocess.Popen(command, stderr=open(self.log_path, "w"), env=environment)
        self.port = self.wait_for_port()

    def log(self):
        with open(self.log_path) as file:
            return file.read()

    def wait_for_port(self):
        for _ in range(300):
            listening = re.search(r"listening on http://[^:]*:(\d+)", self.log())
            if listening:
                return int(listening.group(1))
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        fail(f"the server did not start:\n{self.log()}")

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=STALLED_S) as reply:
            return reply.read().decode()

    def metric(self, name):
        found = re.search(rf"^{name}(?:{{[^}}]*}})? (\S+)$", self.get("/metrics"), re.MULTILINE)
        if not found:
            fail(f"/metrics has no {name}")
        return float(found.group(1))

    def rss_bytes(self):
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def n_template_processes(self):
        """Chat templates run in a few processes, started as several conversations are rendered at once."""
        n = 0
        for stat in glob.glob("/proc/[0-9]*/stat"):
            with contextlib.suppress(OSError), open(stat) as file:
                n += int(file.read().rpartition(")")[2].split()[1]) == self.process.pid
        return n

    def n_descriptors(self):
        """But for the one that leads to each of those."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd")) - self.n_template_processes()

    def n_busy(self):
        return sum(slot["is_processing"] for slot in json.loads(self.get("/slots")))

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=90)


# ---- the clients


class Load:
    def __init__(self, server, model, seconds):
        self.server, self.model, self.seconds = server, model, seconds
        self.alone = {}  # call -> Answer
        self.n_streams = self.n_refused = self.n_left = self.n_scored = 0
        self.wrong = []
        self.over = asyncio.Event()

    async def ask(self, call, scores=False):
        protocol, prompt, n = call
        reader, writer = await streams.connect(self.server.port)
        try:
            streams.send(writer, protocol.path, protocol.body(self.model, prompt, n, scores))
            answer = await asyncio.wait_for(protocol.read(reader, lambda: None), STALLED_S)
        finally:
            writer.close()
        streams.check_counts(answer, n)
        return answer

    async def learn(self):
        for call in CALLS + LONG_CALLS:
            self.alone[call] = await self.ask(call)

    async def pause_as_told(self, refused):
        retry_s = refused.headers.get("retry-after", "")
        if refused.status != 503 or not retry_s.isdigit():
            self.wrong.append(f"{refused}, Retry-After: {retry_s!r}")
            retry_s = "1"
        self.n_refused += 1
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.over.wait(), int(retry_s))

    async def read_all(self, number):
        choose = random.Random(number)
        while not self.over.is_set():
            call = choose.choice(choose.choice((CALLS, CALLS, LONG_CALLS)))
            scores = call[0] is not streams.Anthropic and choose.random() < 0.3
            try:
                answer = await self.ask(call, scores)
            except streams.Refused as refused:
                await self.pause_as_told(refused)
                continue
            self.n_streams += 1
            self.n_scored += answer.scored_tokens is not None
            alone = self.alone[call]
            if answer.prompt_tokens != alone.prompt_tokens or (call in CALLS and not answer.same_as(alone)):
                self.wrong.append(f"{call[0].__name__} {call[1][:20]!r}: {answer.__dict__} and alone {alone.__dict__}")

    async def go_away(self, number):
        choose = random.Random(number)
        while not self.over.is_set():
            protocol = choose.choice(streams.CHATS)
            reader, writer = await streams.connect(self.server.port)
            streams.send(writer, protocol.path, protocol.body(self.model, "once upon a time", 500))
            n_left = choose.randrange(4)

            def count():
                nonlocal n_left
                n_left -= 1
                if n_left < 0:
                    raise EOFError

            try:
                # Before the status, or behind some events; with a farewell or without.
                if choose.random() < 0.3:
                    await asyncio.sleep(choose.random() * 0.3)
                    raise EOFError
                await asyncio.wait_for(protocol.read(reader, count), STALLED_S)
            except EOFError:
                self.n_left += 1
            except streams.Refused as refused:
                await self.pause_as_told(refused)
            finally:
                writer.transport.abort() if choose.random() < 0.5 else writer.close()

    # Its window is 2 KiB, so that the server notices. 503 is as good as anything.
    async def never_read(self, number):
        del number
        _, writer = await streams.connect(self.server.port, receive_bytes=2048)
        writer.transport.pause_reading()
        streams.send(writer, streams.Ollama.path, streams.Ollama.body(self.model, "tell me everything", 400, True))
        await self.over.wait()
        writer.transport.abort()

    async def client(self, number):
        kind = self.never_read if number % 16 == 5 else self.go_away if number % 8 == 3 else self.read_all
        try:
            await kind(number)
        except asyncio.TimeoutError:
            self.wrong.append(f"client {number}, {kind.__name__}: nothing for {STALLED_S} s")
        except (streams.Malformed, streams.Refused, asyncio.IncompleteReadError, OSError, KeyError, ValueError) as e:
            self.wrong.append(f"client {number}, {kind.__name__}: {type(e).__name__}: {e}")

    # Resident memory of the second half, when every buffer has been used once.
    async def watch(self):
        started, samples = time.monotonic(), []
        while (elapsed := time.monotonic() - started) < self.seconds:
            if elapsed > self.seconds / 2:
                samples.append(self.server.rss_bytes())
            await asyncio.sleep(0.1)
        return samples

    async def run(self, n_clients):
        clients = [asyncio.create_task(self.client(number)) for number in range(n_clients)]
        samples = await self.watch()
        self.over.set()
        await asyncio.gather(*clients)
        return samples


def wait_until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def check(server, load, samples, n_descriptors, bytes_before, n_clients):
    wrong = load.wrong
    # What counts is growth: a streamed model may give memory back for a moment, when others press.
    first = sorted(samples[: max(len(samples) // 4, 1)])
    spread = max(samples) / first[len(first) // 2] - 1
    mib = 1 << 20
    print(f"load: {load.n_streams} streams ({load.n_scored} with scores), {load.n_refused} refused with 503, {load.n_left} left in "
          f"mid-stream; RSS {min(samples) / mib:.1f} to {max(samples) / mib:.1f} MiB ({100 * spread:+.2f} % since the start)")
    if spread > RSS_SHARE_MAX:
        wrong.append(f"memory is not flat: {[round(s / mib, 1) for s in samples[::10]]} MiB")
    if max(samples) > BUDGET_SHARE_MAX * RAM_BYTES:
        wrong.append(f"{max(samples) / mib:.1f} MiB resident, the budget is {RAM_BYTES / mib:.0f} MiB")
    if load.n_streams == 0 or load.n_left == 0 or load.n_scored == 0:
        wrong.append("some kind of client did nothing: that was no load")
    if n_clients > SLOTS + QUEUE and load.n_refused == 0:
        wrong.append("nobody was refused: the queue has no bound")
    if server.metric("spillway_bytes_read_total") <= bytes_before:
        wrong.append("nothing was streamed")
    if not wait_until(lambda: server.n_busy() == 0, 30):
        wrong.append("slots are busy though everybody is gone")
    if server.n_template_processes() > TEMPLATE_PROCESSES_MAX:
        wrong.append(f"{server.n_template_processes()} processes run the template")
    if not wait_until(lambda: server.n_descriptors() <= n_descriptors, 30):
        wrong.append(f"{server.n_descriptors()} descriptors are open, {n_descriptors} were before")
    return wrong


def main():
    parser = argparse.ArgumentParser()
    for name in ("spillway", "make_model", "folder"):
        parser.add_argument(name)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--clients", type=int, default=16)
    args = parser.parse_args()
    os.makedirs(args.folder, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        model = os.path.join(folder, "load.gguf")
        subprocess.run([args.make_model, *MODEL, "--out", model], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        server = Server(args.spillway, model, folder, OPTIONS)
        try:
            load = Load(server, "load", args.seconds)
            server.get("/health")
            asyncio.run(load.learn())  # the model is loaded, and what opens on first use is open
            n_descriptors, bytes_before = server.n_descriptors(), server.metric("spillway_bytes_read_total")
            samples = asyncio.run(load.run(args.clients))
            wrong = check(server, load, samples, n_descriptors, bytes_before, args.clients)
            code = server.end()
            if code != 0:
                wrong.append(f"the server ended with {code}")
        finally:
            server.process.kill()
        for sentence in wrong[:10]:
            print(f"load: {sentence}")
        if wrong:
            print(f"load: {len(wrong)} violations; the server's log ends with\n{server.log()[-2000:]}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
