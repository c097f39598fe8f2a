#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs a command in a terminal of its own and draws what it printed, when it printed it, as an animated SVG.

    tools/recording/record.py docs/demo.svg scripts/demo --keep
    tools/recording/record.py --from 'A model of' docs/demo.svg scripts/demo     begins with that line

Pauses, and what was drawn over later (a bar that shows progress), are cut to two seconds; the figures in the text are what was
measured. It knows what our programs print: colours, bold, dim, and lines that are drawn again after a carriage return. Words are
not broken at the edge.
"""
import argparse
import html
import os
import pty
import re
import subprocess
import sys
import time

COLUMNS, ROWS = 110, 34  # what the widest table of ours takes
CELL_W, CELL_H, MARGIN = 8.4, 18, 16
PAUSE_MAX_S, PIECE_S = 2.0, 0.05  # pieces that come within one are shown together
COLOURS = {"36": "#56b6c2", "31": "#e06c75", "32": "#98c379", "33": "#e5c07b"}
ESCAPE = re.compile(r"\x1b\[([0-9;]*)([A-Za-z])")


def record(command):
    """[(seconds, text)] of what the command printed on its terminal, and its exit code."""
    parent, child = pty.openpty()
    environment = dict(os.environ, TERM="xterm-256color", COLUMNS=str(COLUMNS), LINES=str(ROWS))
    process = subprocess.Popen(command, stdout=child, stderr=child, stdin=subprocess.DEVNULL, env=environment)
    os.close(child)
    pieces, start = [], time.monotonic()
    while True:
        try:
            data = os.read(parent, 4096)
        except OSError:  # the other end is closed
            break
        if not data:
            break
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
        pieces.append((time.monotonic() - start, data.decode("utf-8", "replace")))
    return pieces, process.wait()


class Screen:
    """Lines of (time, style, text); a line that is drawn again keeps its last text."""

    def __init__(self):
        self.lines, self.style, self.column = [[]], "", 0

    def write(self, at, text):
        position = 0
        for match in ESCAPE.finditer(text):
            self._plain(at, text[position:match.start()])
            position = match.end()
            if match.group(2) == "m":
                self.style = "" if match.group(1) in ("", "0") else (self.style + " " + match.group(1)).strip()
            elif match.group(2) == "K" and self.column == 0:
                self.lines[-1] = []
        self._plain(at, text[position:])

    def _plain(self, at, text):
        for part in re.split(r"(\r\n|\n|\r)", text):
            if part in ("\n", "\r\n"):
                self._new_line()
            elif part == "\r":
                self.lines[-1], self.column = [], 0
            else:
                while part:
                    room = COLUMNS - self.column
                    if room <= 0:
                        self._wrap()
                        continue
                    self.lines[-1].append((at, self.style, part[:room]))
                    self.column += len(part[:room])
                    part = part[room:]

    def _wrap(self):
        """Goes on in the next line, with the word that was begun."""
        kept, word = self.lines[-1], []
        while kept and " " not in kept[-1][2]:
            word.insert(0, kept.pop())
        if not kept:  # one word as long as the line
            kept, word = word, []
        else:
            at, style, text = kept.pop()
            cut = text.rindex(" ") + 1
            kept.append((at, style, text[:cut]))
            word.insert(0, (at, style, text[cut:]))
        self.lines[-1] = kept
        self._new_line()
        self.lines[-1] = [piece for piece in word if piece[2]]
        self.column = sum(len(text) for _, _, text in self.lines[-1])

    def _new_line(self):
        self.lines.append([])
        self.column = 0


def short_pauses(lines):
    """The same lines, with no more than PAUSE_MAX_S between two pieces that are still to be seen."""
    shown, now, last = {}, 0.0, None
    for at in sorted({at for line in lines for at, _, _ in line}):
        now += min(at - last, PAUSE_MAX_S) if last is not None else 0
        shown[at], last = now, at
    return [[(shown[at], style, text) for at, style, text in line] for line in lines]


def look(style):
    """CSS of the escape codes in force. A style and not attributes, which the rule for all text would overrule."""
    codes = style.split()
    rules = [f"fill:{COLOURS[code]}" for code in codes if code in COLOURS]
    if "1" in codes:
        rules.append("font-weight:bold")
    if "2" in codes:
        rules.append("opacity:.6")
    return "".join(";" + rule for rule in rules)


def draw(lines):
    begin = min(at for line in lines for at, _, _ in line)
    width, height = COLUMNS * CELL_W + 2 * MARGIN, ROWS * CELL_H + 2 * MARGIN
    body, scrolls = [], []
    for row, line in enumerate(lines):
        column, spans, first = 0, [], None
        for at, style, text in line:
            shown = round((at - begin) / PIECE_S) * PIECE_S
            first = shown if first is None else first
            if text.strip():
                spans.append(f'<text x="{MARGIN + column * CELL_W:.1f}" y="{MARGIN + (row + 1) * CELL_H - 5}" '
                             f'style="animation-delay:{shown:.2f}s{look(style)}">{html.escape(text)}</text>')
            column += len(text)
        body += spans
        if row >= ROWS and first is not None:
            scrolls.append((first, (row - ROWS + 1) * CELL_H))
    end = max(at for line in lines for at, _, _ in line) - begin + 0.1
    frames = "".join(f"{100 * at / end:.2f}%{{transform:translateY(-{offset}px)}}" for at, offset in scrolls)
    last = f"100%{{transform:translateY(-{scrolls[-1][1]}px)}}" if scrolls else ""
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" role="img">
<title>A recording of scripts/demo</title>
<style>
text{{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:#abb2bf;white-space:pre;
visibility:hidden;animation:show 0s forwards}}
@keyframes show{{to{{visibility:visible}}}}
#lines{{animation:scroll {end:.2f}s step-end forwards}}
@keyframes scroll{{{frames}{last}}}
@media (prefers-reduced-motion:reduce){{text{{animation-delay:0s!important}}}}
</style>
<rect width="100%" height="100%" rx="8" fill="#21252b"/>
<svg x="0" y="{MARGIN}" width="100%" height="{ROWS * CELL_H}" viewBox="0 {MARGIN} {width:.0f} {ROWS * CELL_H}"><g id="lines">
{chr(10).join(body)}
</g></svg>
</svg>
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="first", default="", help="leave out what comes before the line with this")
    parser.add_argument("svg")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    pieces, code = record(options.command)
    if code:
        sys.exit(f"record.py: the command failed with exit code {code}; nothing is drawn")
    screen = Screen()
    for at, text in pieces:
        screen.write(at, text)
    while screen.lines and not screen.lines[-1]:
        screen.lines.pop()
    start = next((i for i, line in enumerate(screen.lines) if options.first in "".join(text for _, _, text in line)), None)
    if start is None:
        sys.exit(f"record.py: no line has '{options.first}'; nothing is drawn")
    with open(options.svg, "w") as out:
        out.write(draw(short_pauses(screen.lines[start:])))


if __name__ == "__main__":
    main()
