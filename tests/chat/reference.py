#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The reference for chat templates: python's jinja2, set up as transformers sets it up, but that lists may be changed.

Reads cases from stdin, one JSON object per line: {"template": text, "variables": {...}}. Its clock stands at 2026-07-04 09:05.
Writes one line for each: {"text": ...}, or {"error": ..., "refused": true when the template raised it itself}.
"""
import datetime
import functools
import json
import sys

try:
    import jinja2
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import SandboxedEnvironment
except ImportError:
    sys.exit(77)


class Generation(Extension):
    """{% generation %}…{% endgeneration %} marks what a model wrote, and writes what is inside."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("written"), [], [], body).set_lineno(line)

    def written(self, caller):
        return caller()


class Refused(Exception):
    pass


def refuse(message):
    raise Refused(message)


def to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


@functools.lru_cache(maxsize=1)
def parsed(text):
    environment = SandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = datetime.datetime(2026, 7, 4, 9, 5).strftime
    return environment.from_string(text)


def answer(case):
    try:
        return {"text": parsed(case["template"]).render(**case["variables"])}
    except Refused as refusal:
        return {"error": str(refusal), "refused": True}
    except Exception as failure:  # whatever a template does wrong
        return {"error": f"{type(failure).__name__}: {failure}", "refused": False}


def main():
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))))


if __name__ == "__main__":
    main()
