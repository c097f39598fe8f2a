# SPDX-License-Identifier: MIT
"""Streams of the three protocols, taken apart strictly: HTTP framing, each event, what must come once and last.

Whatever is not as a client may expect it raises Malformed. Nothing here waits for longer than the caller lets it.
"""
import asyncio
import json
import socket

HEADER_BYTES_MAX = 1 << 16


class Malformed(Exception):
    pass


class Refused(Exception):
    """A status other than 200."""

    def __init__(self, status, headers, body):
        super().__init__(f"status {status}: {body[:200]!r}")
        self.status, self.headers, self.body = status, headers, body


class Answer:
    """What one stream said."""

    def __init__(self):
        self.text, self.reason = "", None
        self.prompt_tokens = self.cached_tokens = self.answer_tokens = None
        self.scored_tokens = None  # where log probabilities were asked for
        self.n_events = 0

    def same_as(self, other):
        return (self.text, self.reason, self.prompt_tokens, self.answer_tokens) == (
            other.text, other.reason, other.prompt_tokens, other.answer_tokens)


def need(condition, sentence):
    if not condition:
        raise Malformed(sentence)


# ---- HTTP


async def connect(port, receive_bytes=None):
    """A reader and a writer; with `receive_bytes` the kernel takes hardly more than that for whoever does not read."""
    sock = socket.socket()
    sock.setblocking(False)
    if receive_bytes:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    limit = receive_bytes or HEADER_BYTES_MAX
    return await asyncio.open_connection(sock=sock, limit=limit)


def send(writer, path, body):
    payload = json.dumps(body).encode()
    writer.write(f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                 f"Content-Length: {len(payload)}\r\n\r\n".encode() + payload)


async def read_head(reader):
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("ascii").split("\r\n")
    need(lines[0].startswith("HTTP/1.1 "), f"no status line: {lines[0]!r}")
    headers = {}
    for line in lines[1:-2]:
        name, colon, value = line.partition(":")
        need(colon, f"no header: {line!r}")
        headers[name.lower()] = value.strip()
    return int(lines[0].split()[1]), headers


async def chunks(reader):
    while True:
        size = (await reader.readuntil(b"\r\n"))[:-2]
        need(size and all(c in b"0123456789abcdefABCDEF" for c in size), f"no chunk size: {size!r}")
        data = await reader.readexactly(int(size, 16))
        need(await reader.readexactly(2) == b"\r\n", "a chunk without its end")
        if not data:
            return
        yield data


async def lines(reader):
    """The lines of a chunked body, each with its end; the last must have one."""
    held = b""
    async for data in chunks(reader):
        held += data
        while b"\n" in held:
            line, _, held = held.partition(b"\n")
            yield line.decode("utf-8")
    need(not held, f"the body ends in the middle of a line: {held[-80:]!r}")


async def begin(reader, content_type):
    status, headers = await read_head(reader)
    if status != 200:
        raise Refused(status, headers, await reader.readexactly(int(headers.get("content-length", 0))))
    need(headers.get("transfer-encoding") == "chunked", f"not chunked: {headers}")
    need(headers.get("content-type", "").startswith(content_type), f"content type {headers.get('content-type')}")


async def server_sent_events(reader):
    """(event, data) of each; comments are passed over."""
    event, data = None, None
    async for line in lines(reader):
        if line.startswith(":"):
            continue
        if not line:
            if data is not None:
                yield event, data
            event, data = None, None
            continue
        name, _, value = line.partition(": ")
        need(name in ("event", "data"), f"no field: {line!r}")
        if name == "event":
            need(event is None, "two events in one")
            event = value
        else:
            need(data is None, "two data in one")
            data = value
    need(data is None, "the last event has no end")


# ---- protocols: a call, and its stream as an Answer


class Ollama:
    path = "/api/chat"

    @staticmethod
    def body(model, prompt, n, scores=False):
        return {"model": model, "messages": [{"role": "user", "content": prompt}], "logprobs": scores,
                "options": {"num_predict": n, "temperature": 0}}

    @staticmethod
    def text_of(part):
        need(part["message"]["role"] == "assistant", part)
        return part["message"]["content"]

    @classmethod
    async def read(cls, reader, on_event):
        answer, done, n_scores = Answer(), False, 0
        await begin(reader, "application/x-ndjson")
        async for line in lines(reader):
            part = json.loads(line)
            need("error" not in part, f"an error in the stream: {line}")
            need(not done, f"something behind done: {line}")
            answer.text += cls.text_of(part)
            n_scores += len(part.get("logprobs") or [])
            done = part["done"]
            need(done == ("done_reason" in part) == ("eval_count" in part), f"counts and done disagree: {line}")
            if done:
                answer.reason = part["done_reason"]
                answer.prompt_tokens, answer.answer_tokens = part["prompt_eval_count"], part["eval_count"]
                answer.cached_tokens = part["prompt_eval_cached_count"]
                for name in ("total_duration", "prompt_eval_duration", "eval_duration"):
                    need(part[name] >= 0, f"{name}: {line}")
                need(part["total_duration"] >= part["prompt_eval_duration"], f"durations: {line}")
            answer.n_events += 1
            on_event()
        need(done, "the stream ended without done")
        answer.scored_tokens = n_scores or None
        return answer


class OllamaRaw(Ollama):
    """The prompt as it stands, without a template."""
    path = "/api/generate"

    @staticmethod
    def body(model, prompt, n, scores=False):
        return {"model": model, "prompt": prompt, "raw": True, "logprobs": scores, "options": {"num_predict": n, "temperature": 0}}

    @staticmethod
    def text_of(part):
        return part["response"]


class OpenAi:
    path = "/v1/chat/completions"

    @staticmethod
    def body(model, prompt, n, scores=False):
        return {"model": model, "messages": [{"role": "user", "content": prompt}], "max_completion_tokens": n, "logprobs": scores,
                "temperature": 0, "stream": True, "stream_options": {"include_usage": True}}

    @staticmethod
    async def read(reader, on_event):
        answer, done, n_scores = Answer(), False, 0
        await begin(reader, "text/event-stream")
        async for event, data in server_sent_events(reader):
            need(event is None, f"a named event: {event}")
            need(not done, f"something behind [DONE]: {data}")
            done = data == "[DONE]"
            if not done:
                part = json.loads(data)
                need("error" not in part, f"an error in the stream: {data}")
                need(part["object"] == "chat.completion.chunk", data)
                for choice in part["choices"]:
                    need(answer.reason is None, f"something behind finish_reason: {data}")
                    answer.text += choice["delta"].get("content") or ""
                    answer.reason = choice["finish_reason"]
                    n_scores += len((choice.get("logprobs") or {}).get("content") or [])
                if part.get("usage"):
                    need(answer.prompt_tokens is None, f"usage twice: {data}")
                    answer.prompt_tokens, answer.answer_tokens = part["usage"]["prompt_tokens"], part["usage"]["completion_tokens"]
                    answer.cached_tokens = part["usage"]["prompt_tokens_details"]["cached_tokens"]
                    need(part["usage"]["total_tokens"] == answer.prompt_tokens + answer.answer_tokens, data)
            answer.n_events += 1
            on_event()
        need(done, "the stream ended without [DONE]")
        need(answer.prompt_tokens is not None, "no usage")
        answer.scored_tokens = n_scores or None
        return answer


class Anthropic:
    path = "/v1/messages"
    ORDER = ("message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop")

    @staticmethod
    def body(model, prompt, n, scores=False):
        del scores  # this protocol has none
        return {"model": model, "messages": [{"role": "user", "content": prompt}], "max_tokens": n, "temperature": 0, "stream": True}

    @classmethod
    async def read(cls, reader, on_event):
        answer, last, n_stops = Answer(), -1, 0
        await begin(reader, "text/event-stream")
        async for event, data in server_sent_events(reader):
            part = json.loads(data)
            need(part["type"] == event, f"event {event} with {data}")
            need(event != "error", f"an error in the stream: {data}")
            on_event()
            if event == "ping":
                continue
            at = cls.ORDER.index(event)
            need(at >= last and (at > last or event == "content_block_delta"), f"{event} behind {cls.ORDER[last]}")
            last = at
            if event == "content_block_delta":
                answer.text += part["delta"].get("text", "")
            if event == "message_start":
                usage = part["message"]["usage"]
                need(part["message"]["content"] == [], data)
                need(usage["output_tokens"] >= 0, data)
            if event == "message_delta":
                answer.reason, usage = part["delta"]["stop_reason"], part["usage"]
                answer.answer_tokens = usage["output_tokens"]
                answer.cached_tokens = usage.get("cache_read_input_tokens", 0)
                answer.prompt_tokens = usage["input_tokens"] + answer.cached_tokens
            n_stops += event == "message_stop"
            answer.n_events += 1
        need(n_stops == 1, f"{n_stops} message_stop")
        return answer


CHATS = (Ollama, OpenAi, Anthropic)
LENGTH_REASONS = ("length", "max_tokens")


def check_counts(answer, n_asked):
    need(0 < answer.prompt_tokens and 0 <= answer.cached_tokens < answer.prompt_tokens,
         f"{answer.cached_tokens} of {answer.prompt_tokens} tokens cached")
    need(0 < answer.answer_tokens <= n_asked, f"{answer.answer_tokens} tokens, asked for {n_asked}")
    if answer.reason in LENGTH_REASONS:
        need(answer.answer_tokens == n_asked, f"ended by length after {answer.answer_tokens} of {n_asked}")
    if answer.scored_tokens is not None:
        need(answer.scored_tokens == answer.answer_tokens, f"{answer.scored_tokens} scores for {answer.answer_tokens} tokens")
