#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Renders Go templates as Ollama would, and compares byte for byte with what Go's text/template made of them.

check_go_templates.py RENDERER TEMPLATES EXPECTED [--write]

TEMPLATES: text, "=== NAME" in front of each template. EXPECTED: what reference.go wrote, a JSON list of texts for each template, null
where Go fails. Where there is a Go compiler, that is checked too, and the language alone on expressions made at random.
--write: EXPECTED is written anew by Go.
"""
import json
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

CALL = {"name": "get_weather", "arguments": {"city": "Paris <é>", "days": 3, "deep": {"b": [1, 2.5], "a": None}}}
PARAMETERS = {"type": "object", "required": ["city"], "properties": {
    "city": {"type": "string", "description": "The \"city\"", "enum": ["a", "b"]}, "days": {"type": ["integer", "null"]},
    "where": {"type": "object", "properties": {"lat": {"type": "number"}}, "required": ["lat"]},
    "list": {"type": "array", "items": {"type": "number"}}, "any": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}
TOOLS = [{"name": "get_weather", "description": "Weather of <x>", "parameters": PARAMETERS},
         {"name": "noop", "description": "", "parameters": {"type": "object", "properties": {}}}]


def said(role, content, **more):
    return {"role": role, "content": content, **more}


CHATS = [
    {"messages": [said("user", "Hi")]},
    {"messages": [said("system", "Be brief."), said("user", "Hi"), said("assistant", "Hello"), said("user", "Who?")], "tools": TOOLS},
    {"messages": [said("system", "s"), said("user", "w?"), said("assistant", "", thinking="hm", tool_calls=[CALL, CALL]),
                  said("tool", "sunny", tool_name="get_weather"), said("tool", "rain")], "tools": TOOLS, "think": True},
    {"messages": [said("user", "a"), said("user", "b"), said("system", "late"), said("assistant", "c")], "think": False},
]
DATA = {"S": "text", "E": "", "N": 3.5, "Z": 0, "T": True, "F": False, "Nil": None, "L": ["a", "b", "c"], "LE": [],
        "M": {"k": "v", "a": 1, "n": {"x": [1, 2, {"y": "z"}]}}, "Big": 1234567.0, "U": "hé<&>\"'\n",
        "O": [{"Role": "user", "C": "hi"}, {"Role": "assistant", "C": "yo"}]}


def templates(path):
    for part in ("\n" + pathlib.Path(path).read_text()).split("\n=== ")[1:]:
        name, _, text = part.partition("\n")
        yield name, text.removesuffix("\n") if part.endswith("\n") else text


def run(program, cases):
    lines = "".join(json.dumps(case) + "\n" for case in cases)
    out = subprocess.run(program, input=lines, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(out) == len(cases)
    return [json.loads(line).get("text") for line in out]


class Maker:
    """Templates at random: right ones and wrong ones."""

    ATOMS = [".S", ".E", ".N", ".T", ".F", ".Nil", ".L", ".M", ".M.k", ".M.n", ".O", "1", "2", "0", '"text"', '"a"', "true", ".Missing",
             "1.5", "$", ".U", "(index .L 1)", "(len .L)", ".Z", ".Big", ".O.C", "`x`"]
    FUNCTIONS = {"and": 2, "or": 2, "not": 1, "len": 1, "index": 2, "slice": 2, "eq": 2, "ne": 2, "lt": 2, "le": 2, "gt": 2, "ge": 2,
                 "print": 3, "json": 1, "html": 1}

    def __init__(self, seed):
        self.random = random.Random(seed)

    def value(self, depth=0):
        if depth > 3 or self.random.random() < 0.4:
            return self.random.choice(self.ATOMS)
        name = self.random.choice(list(self.FUNCTIONS))
        words = [self.value(depth + 1) for _ in range(self.FUNCTIONS[name])]
        if self.random.random() < 0.2:
            return f"({words[-1]} | {' '.join([name] + words[:-1])})"
        return f"({' '.join([name] + words)})"

    def statement(self, depth=0):
        kind = self.random.choice(["", "", "if", "with", "range"]) if depth < 3 else ""
        if not kind:
            return "{{ " + self.value() + " }}"
        names = self.random.choice(["", "$i, $e := ", "$e := "]) if kind == "range" else ""
        otherwise = "{{ else }}" + self.statement(depth + 1) if self.random.random() < 0.5 else ""
        return f"{{{{- {kind} {names}{self.value()} }}}} {self.statement(depth + 1)}{{{{ . }}}}{otherwise}{{{{ end -}}}}"


def go_reference(folder):
    if shutil.which("go") is None:
        return None
    program = str(pathlib.Path(folder) / "reference")
    source = pathlib.Path(__file__).with_name("reference.go")
    built = subprocess.run(["go", "build", "-o", program, str(source)], capture_output=True, text=True)
    if built.returncode != 0:
        print(f"no Go reference: {built.stderr[:200]}")
        return None
    return program


def differ(what, cases, expected, got):
    bad = [(c, e, g) for c, e, g in zip(cases, expected, got, strict=True) if e != g]
    for case, e, g in bad[:5]:
        print(f"{what}: {json.dumps(case)[:400]}\n  expected {e!r}\n  got      {g!r}")
    return len(bad)


def main(renderer, texts, golden, write=False):
    named = list(templates(texts))
    cases = [{"template": text, **chat} for _, text in named for chat in CHATS]
    with tempfile.TemporaryDirectory() as folder:
        go = go_reference(folder)
        if write:
            made = iter(run(go, cases))
            lines = [json.dumps({"name": name, "texts": [next(made) for _ in CHATS]}, ensure_ascii=False) for name, _ in named]
            pathlib.Path(golden).write_text("".join(line + "\n" for line in lines))
        kept = [json.loads(line) for line in pathlib.Path(golden).read_text().splitlines()]
        assert [one["name"] for one in kept] == [name for name, _ in named], "run with --write"
        expected = [text for one in kept for text in one["texts"]]
        bad = differ("kept", cases, expected, run(renderer, cases))
        refused = [one["name"] for one in kept if one["texts"] == [None] * len(CHATS)]
        failing = {"not_a_field", "index_too_far", "types_that_do_not_compare"}
        bad += sum(1 for name in refused if not name.startswith("refused_") and name not in failing)
        random_cases = 0
        if go is not None:
            bad += differ("Go", cases, expected, run(go, cases))
            maker = Maker(7)
            made = [{"template": maker.statement(), "data": DATA} for _ in range(2000)]
            random_cases = len(made)
            bad += differ("at random", made, run(go, made), run(renderer, made))
    print(f"{len(named)} templates, {len(cases)} renderings, {len(refused)} refused, {random_cases} made at random, {bad} wrong")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4], write="--write" in sys.argv))
