#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Sends hostile requests to a real server and holds it to what README.md says.

check_hostile.py model SPILLWAY MODEL.gguf       spillway serve, with a real model
check_hostile.py scripted SCRIPTED_SERVER        all of it but the models, for builds with sanitizers
"""
import gzip
import io
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

CASES = json.loads((pathlib.Path(__file__).parent / "cases.json").read_text())
CASE_SECONDS = 60       # for one request; what took minutes, or never ended, is what most cases are about
PROBE_SECONDS = 20      # for others meanwhile: far more than a second, since tests share their machine
GROWTH_BYTES = 1100 << 20  # of the peak, with nearly a hundred at once: bodies, and what is read from them


def piece(part):
    return part if isinstance(part, str) else part[0] * part[1]


def text_of(parts):
    return "".join(piece(part) for part in parts)


def written_out(value):
    """JSON with what stands for long texts and large schemas in place of it."""
    if isinstance(value, list):
        return [written_out(one) for one in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"concat"}:
        return text_of(value["concat"])
    if set(value) == {"optional"}:
        return {f"name{i}": {"type": "integer"} for i in range(value["optional"])}
    if set(value) == {"name"}:
        return {"n" * value["name"]: {"type": "string"}}
    if set(value) == {"numbered"}:
        return {f"name{i}": 0 for i in range(value["numbered"])}
    if set(value) == {"times", "of"}:
        return [written_out(value["of"])] * value["times"]
    if set(value) == {"lines"}:
        return "".join(value["lines"][0].replace("#", str(i)) + "\n" for i in range(value["lines"][1]))
    if set(value) == {"marks"}:
        return "".join(f"[img-{i}]" for i in range(value["marks"]))
    if set(value) == {"alike"}:
        return ["a" * 60 + f"b{i}" for i in range(value["alike"])]
    if set(value) == {"tools", "parameters"}:
        function = {"name": "f", "parameters": written_out(value["parameters"])}
        return [{"type": "function", "function": function | {"name": f"f{i}"}} for i in range(value["tools"])]
    if set(value) == {"doubling"}:
        return doubled(value["doubling"])
    return {key: written_out(one) for key, one in value.items()}


def doubled(depth):
    """Each definition has two alternatives that both lead to the next: small, and 2 to the power of `depth` when merged."""
    defs = {f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}", "minLength": 1}, {"$ref": f"#/$defs/d{i + 1}", "minLength": 2}]}
            for i in range(depth)}
    defs[f"d{depth}"] = {"type": "string"}
    return {"$defs": defs, "anyOf": [{"$ref": "#/$defs/d0", "minLength": 3}]}


def compressed(parts):
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1) as file:
        for part in parts:
            text, times = (part, 1) if isinstance(part, str) else part
            block = text.encode("latin1") * min(times, 1 << 20)
            while times > 0:
                file.write(block[:min(times, 1 << 20) * len(text)])
                times -= 1 << 20
    return out.getvalue()


def pieces_of(parts, encoding):
    """The bytes, a megabyte at a time: some bodies are larger than we want to hold."""
    for part in parts:
        text, times = (part, 1) if isinstance(part, str) else part
        data = text.encode(encoding)
        block = data * max(1, (1 << 20) // max(1, len(data)))
        n_block = max(1, (1 << 20) // max(1, len(data)))
        while times > 0:
            n = min(times, n_block)
            yield block[:n * len(data)] if n < n_block else block
            times -= n


def size_of(parts, encoding):
    return sum(len((p if isinstance(p, str) else p[0]).encode(encoding)) * (1 if isinstance(p, str) else p[1]) for p in parts)


class Server:
    def __init__(self, command, folder, log):
        environment = dict(os.environ, HOME=str(folder), XDG_CACHE_HOME=str(folder / "cache"), OLLAMA_MODELS=str(folder / "o"),
                           SPILLWAY_MODELS=str(folder / "own"), GOMP_SPINCOUNT="1000",
                           ASAN_OPTIONS="detect_leaks=0:allocator_may_return_null=1:" + os.environ.get("ASAN_OPTIONS", ""))
        self.log = log
        self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        self.port = None
        end = time.monotonic() + 120
        while self.port is None:
            found = re.search(r"listening on http://[^:]+:(\d+)", pathlib.Path(log.name).read_text(errors="replace"))
            if found:
                self.port = int(found.group(1))
            elif self.process.poll() is not None or time.monotonic() > end:
                sys.exit("the server did not start:\n" + pathlib.Path(log.name).read_text(errors="replace"))
            else:
                time.sleep(0.05)

    def peak_bytes(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) << 10

    def alive(self):
        return self.process.poll() is None

    def exchange(self, chunks, seconds):
        """Sends, and returns (status, reply); (0, ...) where the connection ends without one; (None, ...) where none comes."""
        end = time.monotonic() + seconds
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as connection:
            reply = b""
            connection.setblocking(False)
            pending = memoryview(b"")
            chunks = iter(chunks)
            sending = True
            while True:
                if sending and not pending:
                    block = next(chunks, None)
                    if block is None:
                        sending = False
                    else:
                        pending = memoryview(block)
                progressed = False
                if pending:
                    try:
                        pending = pending[connection.send(pending):]
                        progressed = True
                    except (BlockingIOError, InterruptedError):
                        pass
                    except OSError:
                        sending, pending = False, memoryview(b"")
                try:
                    got = connection.recv(65536)
                    if not got:
                        break
                    reply += got
                    progressed = True
                    if whole(reply):
                        break
                except (BlockingIOError, InterruptedError):
                    pass
                except OSError:
                    break
                if time.monotonic() > end:
                    return None, reply
                if not progressed:
                    time.sleep(0.001)
        found = re.match(rb"HTTP/1\.[01] (\d+)", reply)
        return (int(found.group(1)) if found else 0), reply


def whole(reply):
    head, found, body = reply.partition(b"\r\n\r\n")
    if not found:
        return False
    length = re.search(rb"(?i)content-length: (\d+)", head)
    if length:
        return len(body) >= int(length.group(1))
    return b"chunked" in head.lower() and body.endswith(b"0\r\n\r\n")


def request_of(case):
    encoding = "latin1" if case.get("latin1") or "raw" in case or case.get("gzip") else "utf-8"
    if "raw" in case:
        return pieces_of(case["raw"], encoding)
    if "json" in case:
        parts = [json.dumps(written_out(case["json"]))]
    else:
        parts = case.get("body", [])
    headers = {"Host": "localhost", "Content-Type": "application/json", **case.get("headers", {})}
    if case.get("gzip"):
        body = compressed(parts)
        headers["Content-Encoding"] = "gzip"
        blocks, length = iter([body]), len(body)
    else:
        blocks, length = pieces_of(parts, encoding), size_of(parts, encoding)
    head = f"{case.get('method', 'POST')} {case.get('path', '/api/generate')} HTTP/1.1\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + f"Content-Length: {length}\r\n\r\n"

    def all_of():
        yield head.encode()
        yield from blocks
    return all_of()


class Probe(threading.Thread):
    """Others, meanwhile."""

    def __init__(self, server, model):
        super().__init__(daemon=True)
        self.server, self.model = server, model
        self.during = "start"
        self.slowest, self.failures = (0, ""), []
        self.done = threading.Event()

    def ask(self, case):
        begin = time.monotonic()
        status, reply = self.server.exchange(request_of(case), PROBE_SECONDS)
        seconds = time.monotonic() - begin
        self.slowest = max(self.slowest, (seconds, self.during))
        full = status == 503 and b"Retry-After" in reply and self.during == "all at once"  # and a queue may be full
        if status != 200 and not full:
            self.failures.append(f"{case['path']} got {status} during '{self.during}': {reply[:200]!r}")

    def run(self):
        while not self.done.is_set() and self.server.alive():
            self.ask({"method": "GET", "path": "/api/version"})
            self.ask({"path": "/api/generate", "json": {"model": self.model, "prompt": "one two", "stream": False,
                                                        "options": {"num_predict": 2}}})
            self.done.wait(0.1)


def check_few_files(command, folder, model):
    """Where few files may be open, connections leave some for a model that is loaded after them."""
    with open(folder / "few-files", "w+b") as log:
        server = Server(["prlimit", "--nofile=64"] + command, folder, log)
        idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(100)]
        status, reply = server.exchange(request_of({"json": {"model": model, "prompt": "x", "stream": False,
                                                             "options": {"num_predict": 1}}}), CASE_SECONDS)
        for connection in idle:
            connection.close()
        server.process.terminate()
        server.process.wait(60)
    return [] if status == 200 else [f"100 idle connections and 64 files: {status} {reply[:300]!r}"]


def main():
    kind, program = sys.argv[1], sys.argv[2]
    folder = pathlib.Path(tempfile.mkdtemp(prefix="hostile-"))
    log = open(folder / "log", "w+b")
    if kind == "model":
        model_folder = folder / "models"
        model_folder.mkdir()
        os.symlink(pathlib.Path(sys.argv[3]).resolve(), model_folder / "m.gguf")
        command = [program, "serve", str(model_folder), "--port", "0", "--parallel", "2", "--no-cache-disk", "--ram", "3G"]
        model = "m"
    else:
        command = [program, "--parallel", "4", "--queue", "64"]  # its own default, 1, is for tests of full queues
        model = "agent"
    wrong = check_few_files(command, folder, model) if kind == "model" else []
    server = Server(command, folder, log)
    probe = Probe(server, model)
    # The largest context there is, so that what grows from here on does not belong to the model.
    probe.ask({"path": "/api/generate", "json": {"model": model, "prompt": "x", "stream": False,
                                                 "options": {"num_predict": 1, "num_ctx": 9223372036854775807}}})
    if probe.failures:
        sys.exit("\n".join(probe.failures) + "\n" + pathlib.Path(log.name).read_text(errors="replace"))
    before = server.peak_bytes()
    probe.start()

    def send(case):
        case = json.loads(json.dumps(case).replace('"model": "m"', f'"model": "{model}"')
                          .replace('\\"model\\":\\"m\\"', f'\\"model\\":\\"{model}\\"'))
        begin = time.monotonic()
        status, reply = server.exchange(request_of(case), CASE_SECONDS)
        seconds = time.monotonic() - begin
        if not server.alive():
            wrong.append(f"{case['name']}: THE SERVER ENDED")
        elif status is None:
            wrong.append(f"{case['name']}: no reply within {CASE_SECONDS} s")
        elif status not in case["status"] and not (case.get("crowded") and status == 200 and b'"error"' in reply):
            wrong.append(f"{case['name']}: {status} and not {case['status']}: {reply[-300:]!r}")
        elif case.get("says", "").encode() not in reply:
            wrong.append(f"{case['name']}: does not say {case['says']}: {reply[-300:]!r}")
        return seconds

    slow = []
    for case in CASES:
        if case.get("on", kind) != kind:
            continue
        probe.during = case["name"]
        slow.append((send(case), case["name"]))
        if not server.alive():
            break

    # Connections that do nothing, and all cases at once.
    if server.alive():
        probe.during = "idle connections"
        idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(300)]
        for i, connection in enumerate(idle):
            connection.send([b"", b"GET / HT", b"POST /api/chat HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"][i % 3])
        probe.during = "all at once"
        small = [case for case in CASES if case.get("on", kind) == kind and "raw" not in case and not case.get("gzip")
                 and size_of(case.get("body", []), "utf-8") < 20_000_000]
        threads = [threading.Thread(target=send, args=(case,)) for case in small]
        statuses = {case["name"]: case["status"] for case in small}
        for case in small:
            case["status"] = statuses[case["name"]] + [503]  # a queue may be full
            case["crowded"] = True  # who waits for his turn for seconds has a stream that ends with the error
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for connection in idle:
            connection.close()
    probe.done.set()
    probe.join()
    grown = server.peak_bytes() - before if server.alive() else 0
    slow.sort(reverse=True)
    print(f"{len(slow)} cases; slowest {', '.join(f'{name} {s:.1f} s' for s, name in slow[:4])}")
    print(f"others: slowest {probe.slowest[0]:.2f} s during '{probe.slowest[1]}'; peak memory grew by {grown >> 20} MiB")
    wrong += probe.failures
    sanitized = b"AddressSanitizer" in pathlib.Path(log.name).read_bytes() or kind == "scripted"
    if grown > GROWTH_BYTES * (3 if sanitized else 1):
        wrong.append(f"memory grew by {grown >> 20} MiB")

    # The end, with something hostile under way.
    if server.alive():
        threads = [threading.Thread(target=lambda c=case: server.exchange(request_of(c), 60)) for case in CASES
                   if "costly" in case["name"] or "optional" in case["name"]]
        for thread in threads:
            thread.daemon = True
            thread.start()
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        try:
            code = server.process.wait(60)
            if code != 0:
                wrong.append(f"SIGTERM: exit code {code}")
        except subprocess.TimeoutExpired:
            wrong.append("SIGTERM does not end it")
            server.process.kill()
    text = pathlib.Path(log.name).read_text(errors="replace")
    for mark in ("AddressSanitizer", "runtime error:", "CHECK failed"):
        if mark in text:
            wrong.append(f"{mark}: " + text[text.index(mark):][:3000])
    for line in wrong:
        print("WRONG", line)
    if wrong:
        print(text[-3000:])
    sys.exit(1 if wrong else 0)


main()
