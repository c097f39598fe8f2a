#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks that the source tree is the architecture of docs/design.md: who may include whom, and who may do what.

check_tree.py ROOT    prints one line per violation; exit code 1 when there is one
check_tree.py --self-test
"""
import pathlib
import re
import sys

# Room -> rooms whose headers it may include. The order is the dependency order.
ROOMS = {
    "base": set(),
    "os": {"base"},
    "model": {"os", "base"},
    "hw": {"os", "base"},
    "plan": {"model", "hw", "base"},
    "store": {"os", "base"},
    "chat": {"base"},
    "engine": {"store", "plan", "model", "hw", "os", "base"},
    "fetch": {"model", "os", "base"},
    "serving": {"engine", "os", "base"},
    "serve": {"serving", "engine", "chat", "model", "fetch", "base"},
    "cli": {"engine", "serving", "chat", "store", "plan", "model", "hw", "fetch", "os", "base", "serve"},
}
SERVE_MAY = {"engine/engine.h", "serving/prompt_cache.h", "serving/scheduler.h", "serving/ticket.h", "fetch/pull.h",
             "model/blob_writer.h", "model/catalog.h", "model/model_name.h", "model/modelfile.h"}
GGML_HEADERS = {"model": {"gguf.h", "ggml.h"}, "engine": {"gguf.h", "ggml.h", "llama.h", "ggml-backend.h", "ggml-cpu.h", "ggml-rpc.h"}}
MAY_PRINT = {"cli", "serve"}
# A broken CHECK prints one line and aborts: it has no caller left. A child that can not become another program ends.
PRINTS_ANYWAY = {"base/check.cpp", "os/child_process_posix.cpp"}
PRIVATE_HEADERS = re.compile(r"ggml-backend-impl|ggml-impl|llama-[a-z]+\.h|llama_internal")

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')
PLATFORM = re.compile(r"^\s*#\s*(if|ifdef|ifndef|elif)\b.*\b(__linux__|__APPLE__|_WIN32|__unix__|O_DIRECT)\b")
PRINT = re.compile(r"\b(std::)?(printf|fprintf|puts|fputs|putchar|exit|_exit|quick_exit)\s*\(|\bstd::(cout\b|cerr\b|abort\s*\()"
                   r"|\bfmt::print\b")
COMMENT = re.compile(r"//.*$")
STRING = re.compile(r'"(\\.|[^"\\])*"')


def check_file(room, relative, text):
    """Violations of one source file as 'path:line: what'."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        def report(what):
            found.append(f"src/{relative}:{number}: {what}")

        include = INCLUDE.match(line)
        if include:
            quoted, header = include.group(1) == '"', include.group(2)
            target = header.split("/")[0]
            if quoted and target != room and target not in ROOMS[room]:
                report(f"{room} may not include {header}")
            if quoted and "/" not in header:
                report(f"includes are rooted at src/: {header}")
            if room == "serving" and target == "engine" and header != "engine/engine.h":
                report(f"serving may include only engine/engine.h of that room, not {header}")
            if room == "serve" and target in ("engine", "model", "fetch") and header not in SERVE_MAY:
                report(f"serve may include only {', '.join(sorted(SERVE_MAY))} of those rooms, not {header}")
            if re.match(r"(llama|ggml|gguf)[\w.-]*\.h$", header) and header not in GGML_HEADERS.get(room, set()):
                report(f"{room} may not include {header}")
        if PRIVATE_HEADERS.search(COMMENT.sub("", line)):
            report("only the public API of libllama and ggml")
        if room != "os" and PLATFORM.match(line):
            report("platform #if outside os/")
        code = STRING.sub('""', COMMENT.sub("", line))
        if room not in MAY_PRINT and relative not in PRINTS_ANYWAY and PRINT.search(code):
            report("a library neither prints nor exits")
    if not text.startswith("// SPDX-License-Identifier: MIT"):
        found.append(f"src/{relative}:1: starts with the SPDX line")
    return found


def check_tree(root):
    found = []
    source = pathlib.Path(root) / "src"
    for path in sorted(source.rglob("*")):
        if path.suffix not in (".cpp", ".h"):
            continue
        relative = path.relative_to(source).as_posix()
        room = relative.split("/")[0]
        if room not in ROOMS:
            found.append(f"src/{relative}:1: no such room: {room}")
            continue
        found += check_file(room, relative, path.read_text())
    return found


def self_test():
    """Each rule finds its violation, and clean code passes."""
    head = "// SPDX-License-Identifier: MIT\n"
    bad = [("base", '#include "os/file.h"'), ("store", '#include "plan/placement.h"'), ("store", "#include <llama.h>"),
           ("hw", "#include <ggml.h>"), ("plan", "#ifdef __linux__"), ("engine", 'std::printf("x");'),
           ("model", "exit(1);"), ("engine", "#include <ggml-backend-impl.h>"), ("os", '#include "file.h"'),
           ("serve", '#include "engine/gate.h"'), ("fetch", "#include <llama.h>"), ("model", '#include "fetch/pull.h"'),
           ("serving", '#include "engine/llama_engine.h"')]
    for room, line in bad:
        assert check_file(room, f"{room}/x.cpp", head + line + "\n"), (room, line)
    good = [("engine", "#include <llama.h>"), ("os", "#ifdef __linux__"), ("cli", 'std::printf("x");'),
            ("engine", "// abort() is not called"), ("base", 'const char* text = "exit(1)";')]
    for room, line in good:
        assert not check_file(room, f"{room}/x.cpp", head + line + "\n"), (room, line)
    assert check_file("base", "base/x.cpp", "int x;\n")


if __name__ == "__main__":
    if sys.argv[1] == "--self-test":
        self_test()
        sys.exit(0)
    violations = check_tree(sys.argv[1])
    print("\n".join(violations) or "the tree is as the design says")
    sys.exit(1 if violations else 0)
