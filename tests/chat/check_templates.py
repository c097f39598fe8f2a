#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Renders chat templates with Spillway and with python's jinja2, and compares byte for byte.

check_templates.py RENDERER OWN_TEMPLATES [FOLDER...]

The templates: OWN_TEMPLATES/*.jinja, written for this test, and real ones where the FOLDERs hold them (an npm package that carries
those of a hundred models, llama.cpp's own test of templates). Exit code 77 without jinja2.
"""
import itertools
import json
import pathlib
import re
import subprocess
import sys

import reference

# Where python fails late, on a value that it made lazily, and ours at once: both fail, with another message.
LAZY = {"library/llama-guard3:1b"}


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def system(content):
    return {"role": "system", "content": content}


def tool(content, call="call_ab12"):
    return {"role": "tool", "content": content, "name": "get_weather", "tool_call_id": call}


ARGUMENTS = {"city": "Paris é \"q\" 'x'", "days": 3, "deep": {"a": [1, 2.5, True, None], "items": "x"}}
CALL = {"id": "call_ab12", "type": "function", "function": {"name": "get_weather", "arguments": ARGUMENTS}}
TEXT_CALL = {"id": "call_ab12", "type": "function",
             "function": {"name": "get_weather", "arguments": json.dumps(ARGUMENTS)}}
SHORT_CALL = {**CALL, "id": "abcDEF123"}

CONVERSATIONS = [
    [],
    [user("Hi")],
    [system("Be brief."), user("  Hi there\n")],
    [system("s"), user("Hi"), assistant(" Hello "), user("Who?")],
    [user("a"), assistant("<think>\nhm\n</think>\n\nb"), user("c")],
    [user("a"), assistant("b", reasoning_content="thought", thinking="thought"), user("c")],
    [user("w?"), assistant("", tool_calls=[CALL]), tool("sunny")],
    [user("w?"), assistant("", tool_calls=[SHORT_CALL]), tool("sunny", "abcDEF123"), assistant("It is."), user("ok")],
    [system("s"), user("w?"), assistant("", tool_calls=[TEXT_CALL]), tool('{"t": 20}'), assistant("sunny"), user("😀 <b>")],
    [user("w?"), assistant(None, tool_calls=[CALL, CALL]), tool("sunny"), tool("rain")],
    [user("w?"), assistant("", thinking="hm", reasoning_content="hm", tool_calls=[CALL]), tool("sunny")],
    [user("a"), user("b")],
    [assistant("x")],
    [{"role": "developer", "content": "d"}, user("q")],
    [system("s"), user([{"type": "text", "text": "typed"}, {"type": "image"}])],
]
WEATHER = {"type": "object", "required": ["city"], "properties": {
    "city": {"type": "string", "description": "City", "enum": ["a", "b"]},
    "days": {"type": ["integer", "null"], "default": 1, "maximum": 12345678901234567890},
    "items": {"type": "array", "items": {"type": "number"}, "minItems": 1},
    "1": {"type": "object", "properties": {"x": {"type": "boolean"}}, "additionalProperties": False}}}
TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "description": "Weather of a <place> & 'more'", "parameters": WEATHER}},
    {"type": "function", "function": {"name": "noop", "description": "", "parameters": {"type": "object", "properties": {}}}},
]
SWITCHES = [{}, {"enable_thinking": False, "thinking": False}, {"enable_thinking": True, "thinking": True, "reasoning_effort": "high"}]


def own_templates(folder):
    return [(path.name, path.read_text()) for path in sorted(pathlib.Path(folder).rglob("*.jinja"))]


def real_templates(folders):
    """Templates found in a package's script, as string literals named gguf, and in the data of a program."""
    found = []
    for folder in map(pathlib.Path, folders):
        for path in folder.rglob("ollama-utils/dist/index.js"):
            script = path.read_text()
            for model, literal in re.findall(r'model: "([^"]+)",\s*gguf: ("(?:[^"\\]|\\.)*")', script):
                try:
                    found.append((model, json.loads(literal)))
                except ValueError:
                    pass  # an escape that JSON does not know
        for path in folder.rglob("test-chat-template"):
            texts = [part for part in path.read_bytes().split(b"\0") if b"{%" in part and b"message" in part and len(part) > 60]
            found += [(f"{path.name} {number}", text.decode()) for number, text in enumerate(texts)]
    return found


def cases_of(templates):
    for text, name in {text: name for name, text in templates}.items():  # each once
        for messages, tools, switches, prompt in itertools.product(CONVERSATIONS, [None, TOOLS], SWITCHES, [True, False]):
            if not prompt and (tools is not None or switches):
                continue  # the end of a prompt does not depend on both
            variables = {"messages": messages, "tools": tools, "documents": None, "add_generation_prompt": prompt,
                         "bos_token": "<s>", "eos_token": "</s>", **switches}
            yield name, {"template": text, "variables": variables}


def agree(expected, got):
    if "text" in expected:
        return expected["text"] == got.get("text")
    if expected["refused"]:
        return got.get("refused") is True and got["error"] == expected["error"]
    return got.get("refused") is False


def show(name, case, expected, got):
    print(f"{name}: differs for {json.dumps(case['variables'])[:300]}")
    a, b = expected.get("text"), got.get("text")
    if a is None or b is None:
        print(f"  expected {expected}\n  got      {got}")
        return
    at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
    print(f"  expected …{a[max(0, at - 60):at + 60]!r}\n  got      …{b[max(0, at - 60):at + 60]!r}")


def main(renderer, own, folders):
    templates = own_templates(own) + real_templates(folders)
    cases = list(cases_of(templates))
    lines = "".join(json.dumps(case) + "\n" for _, case in cases)
    rendered = subprocess.run([renderer], input=lines, capture_output=True, text=True, check=True).stdout.split("\n")[:-1]
    texts = failures = 0
    bad = {}
    for (name, case), line in zip(cases, rendered, strict=True):
        expected, got = reference.answer(case), json.loads(line)
        texts += "text" in expected
        if not agree(expected, got) and name not in LAZY:
            failures += 1
            if name not in bad:
                bad[name] = 1
                show(name, case, expected, got)
    print(f"{len(templates)} templates ({len(own_templates(own))} of our own), {len(cases)} renderings, {texts} with text, "
          f"{failures} differ")
    return 1 if failures or texts < len(cases) // 3 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
