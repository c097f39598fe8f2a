#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks that the source tree is the architecture: who may include, link and do what is one list, src/rooms.txt.

check_tree.py ROOT    prints one line per violation; exit code 1 when there is one
check_tree.py --self-test

Held to the list: the includes of each file, what src/*/CMakeLists.txt link, the order of src/CMakeLists.txt, and the
table of docs/design.md. And the list to them: what a room may include it does include somewhere.
"""
import pathlib
import re
import sys

# A broken CHECK prints one line and aborts: it has no caller left. A child that can not become another program ends.
PRINTS_ANYWAY = {"base/check.cpp", "os/child_process_posix.cpp"}
PRIVATE_HEADERS = re.compile(r"ggml-backend-impl|ggml-impl|llama-[a-z]+\.h|llama_internal")

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')
PLATFORM = re.compile(r"^\s*#\s*(if|ifdef|ifndef|elif)\b.*\b(__linux__|__APPLE__|_WIN32|__unix__|O_DIRECT)\b")
PRINT = re.compile(r"\b(std::)?(printf|fprintf|puts|fputs|putchar|exit|_exit|quick_exit)\s*\(|\bstd::(cout\b|cerr\b|abort\s*\()"
                   r"|\bfmt::print\b")
COMMENT = re.compile(r"//.*$")
STRING = re.compile(r'"(\\.|[^"\\])*"')
# One row of the table of rooms: | room | holds | may include |
DOC_ROW = re.compile(r"^\| *([a-z]+) *\|.*\|([^|]*)\|\s*$", re.M)


class Rooms:
    """src/rooms.txt, read: `order`, and by room `may`, `headers` (of a room), `uses`, `prints`."""

    def __init__(self, text):
        self.order, self.may, self.headers, self.uses, self.prints = [], {}, {}, {}, set()
        self.faults = []
        for number, line in enumerate(text.splitlines(), 1):
            line = line.split("#")[0].strip()
            if line and not self._read(line):
                self.faults.append(f"src/rooms.txt:{number}: not understood: {line}")

    def _read(self, line):
        head, colon, rest = line.partition(":")
        words, values = head.split(), rest.split()
        if not colon:
            if len(words) != 2 or words[1] != "prints" or words[0] not in self.may:
                return False
            self.prints.add(words[0])
        elif len(words) == 1:
            if words[0] in self.may or not set(values) <= set(self.order):
                return False  # only rooms that stand above: so there is no circle
            self.order.append(words[0])
            self.may[words[0]] = set(values)
        elif len(words) == 3 and words[1] == "from" and words[2] in self.may.get(words[0], ()):
            self.headers[words[0], words[2]] = {f"{words[2]}/{header}" for header in values}
        elif len(words) == 2 and words[1] == "uses" and words[0] in self.may:
            self.uses[words[0]] = set(values)
        else:
            return False
        return True


def check_file(rooms, room, relative, text, used):
    """Violations of one source file as 'path:line: what'; adds what it includes to `used`."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        def report(what):
            found.append(f"src/{relative}:{number}: {what}")

        include = INCLUDE.match(line)
        if include:
            quoted, header = include.group(1) == '"', include.group(2)
            target = header.split("/")[0]
            used.add((room, target))
            used.add((room, header))
            if quoted and target != room and target not in rooms.may[room]:
                report(f"{room} may not include {header}")
            if quoted and "/" not in header:
                report(f"includes are rooted at src/: {header}")
            only = rooms.headers.get((room, target))
            if only is not None and header not in only:
                report(f"{room} may include only {', '.join(sorted(only))} of that room, not {header}")
            if re.match(r"(llama|ggml|gguf)[\w.-]*\.h$", header) and header not in rooms.uses.get(room, ()):
                report(f"{room} may not include {header}")
        if PRIVATE_HEADERS.search(COMMENT.sub("", line)):
            report("only the public API of libllama and ggml")
        if room != "os" and PLATFORM.match(line):
            report("platform #if outside os/")
        code = STRING.sub('""', COMMENT.sub("", line))
        if room not in rooms.prints and relative not in PRINTS_ANYWAY and PRINT.search(code):
            report("a library neither prints nor exits")
    if not text.startswith("// SPDX-License-Identifier: MIT"):
        found.append(f"src/{relative}:1: starts with the SPDX line")
    return found


def check_used(rooms, used):
    """What the list allows and nobody does: the list would say less than is true."""
    pairs = [(room, target) for room in rooms.order for target in rooms.may[room]]
    pairs += [(room, header) for (room, _), headers in rooms.headers.items() for header in headers]
    pairs += [(room, header) for room, headers in rooms.uses.items() for header in headers]
    return [f"src/rooms.txt: {room} may include {what} and does not" for room, what in sorted(pairs)
            if (room, what) not in used]


def check_cmake(rooms, room, text):
    linked = re.findall(r"\bDEPENDS\b([^)]*)\)", text)
    return [f"src/{room}/CMakeLists.txt: {room} may not link {other}" for block in linked for other in block.split()
            if other in rooms.may and other not in rooms.may[room]]


def check_order(rooms, text):
    listed = re.search(r"foreach\(room ([^)]*)\)", text)
    order = listed.group(1).split() if listed else []
    if sorted(order) != sorted(rooms.order):
        return ["src/CMakeLists.txt: its rooms are not those of src/rooms.txt"]
    return [f"src/CMakeLists.txt: {room} stands before {other}, which it may link" for i, room in enumerate(order)
            for other in sorted(rooms.may[room]) if order.index(other) > i]


def rooms_in_words(rooms, room, words):
    """The rooms that a cell of the table names: 'nobody', 'all above', 'all above but a, b', 'a, b/header.h'."""
    words = words.strip().replace("`", "")
    if words == "nobody":
        return set()
    named = {word.strip().split("/")[0] for word in words.removeprefix("all above").removeprefix(" but ").split(",")
             if word.strip()}
    return set(rooms.order[:rooms.order.index(room)]) - named if words.startswith("all above") else named


def check_docs(rooms, text):
    section = text.partition("\n## Rooms\n")[2].partition("\n## ")[0]
    rows = [row for row in DOC_ROW.findall(section) if row[0] != "room"]
    if [room for room, _ in rows] != rooms.order:
        return ["docs/design.md: the table of rooms is not that of src/rooms.txt, in its order"]
    return [f"docs/design.md: {room} may include {', '.join(sorted(rooms.may[room])) or 'nobody'}, not {words.strip()}"
            for room, words in rows if rooms_in_words(rooms, room, words) != rooms.may[room]]


def check_tree(root):
    source = pathlib.Path(root) / "src"
    rooms = Rooms((source / "rooms.txt").read_text())
    found, used = list(rooms.faults), set()
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source).as_posix()
        room = relative.split("/")[0]
        if path.suffix not in (".cpp", ".h"):
            continue
        if room not in rooms.may:
            found.append(f"src/{relative}:1: no such room: {room}")
            continue
        found += check_file(rooms, room, relative, path.read_text(), used)
    for room in rooms.order:
        found += check_cmake(rooms, room, (source / room / "CMakeLists.txt").read_text())
    found += check_used(rooms, used)
    found += check_order(rooms, (source / "CMakeLists.txt").read_text())
    found += check_docs(rooms, (pathlib.Path(root) / "docs/design.md").read_text())
    return found


def self_test():
    """Each rule finds its violation, and clean code passes."""
    rooms = Rooms("base:\nos: base\nplan: base\nengine: plan os base\nserve: engine base\n"
                  "serve from engine: engine.h\nengine uses: llama.h\nserve prints\n")
    assert not rooms.faults
    for bad in ("a: b", "base from os: x.h", "base:\nbase:", "nobody prints", "what is this"):
        assert Rooms(bad).faults, bad

    def of(room, line):
        return check_file(rooms, room, f"{room}/x.cpp", "// SPDX-License-Identifier: MIT\n" + line + "\n", set())

    for room, line in [("base", '#include "os/file.h"'), ("os", '#include "plan/plan.h"'), ("plan", "#include <llama.h>"),
                       ("plan", "#ifdef __linux__"), ("engine", 'std::printf("x");'), ("plan", "exit(1);"),
                       ("engine", "#include <ggml-backend-impl.h>"), ("os", '#include "file.h"'),
                       ("serve", '#include "engine/gate.h"'), ("engine", "#include <ggml.h>")]:
        assert of(room, line), (room, line)
    for room, line in [("engine", "#include <llama.h>"), ("os", "#ifdef __linux__"), ("serve", 'std::printf("x");'),
                       ("engine", "// abort() is not called"), ("base", 'const char* text = "exit(1)";'),
                       ("serve", '#include "engine/engine.h"')]:
        assert not of(room, line), (room, line)
    assert check_file(rooms, "base", "base/x.cpp", "int x;\n", set())

    everything = {(room, target) for room in rooms.order for target in rooms.may[room]}
    everything |= {("serve", "engine/engine.h"), ("engine", "llama.h")}
    assert not check_used(rooms, everything)
    for one in everything:
        assert check_used(rooms, everything - {one}), one

    assert check_cmake(rooms, "plan", "spillway_room(plan SOURCES a.cpp DEPENDS base os fmt::fmt)")
    assert not check_cmake(rooms, "plan", "spillway_room(plan SOURCES a.cpp DEPENDS base fmt::fmt)")
    assert check_order(rooms, "foreach(room base plan engine os serve)")
    assert check_order(rooms, "foreach(room base os plan engine)")
    assert not check_order(rooms, "foreach(room base plan os engine serve)")

    table = ("\n## Rooms\n\n| room | holds | may include |\n|---|---|---|\n| base | a | nobody |\n| os | b | base |\n"
             "| plan | c | {} |\n| engine | d | all above |\n| serve | e | engine/engine.h, base |\n\n## Next\n")
    assert not check_docs(rooms, table.format("base")) and not check_docs(rooms, table.format("all above but os"))
    assert check_docs(rooms, table.format("os, base")) and check_docs(rooms, table.format("all above"))
    assert check_docs(rooms, "no table")


if __name__ == "__main__":
    if sys.argv[1] == "--self-test":
        self_test()
        sys.exit(0)
    violations = check_tree(sys.argv[1])
    print("\n".join(violations) or "the tree is as the list says")
    sys.exit(1 if violations else 0)
