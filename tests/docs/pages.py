# SPDX-License-Identifier: MIT
"""The pages that people read, taken apart: README, CONTRIBUTING, CHANGELOG and docs/*.md as blocks of text and of commands."""
import pathlib
import re

FENCE = re.compile(r"^```(.*)$")


class Block:
    """One fenced block: `info` is what stands behind the first fence, `line` where that is."""

    def __init__(self, page, line, info):
        self.page, self.line, self.info, self.lines = page, line, info, []

    @property
    def text(self):
        return "\n".join(self.lines) + "\n"

    @property
    def place(self):
        return f"{self.page.name}:{self.line}"


class Page:
    """`blocks` in their order; `prose` as (line number, text), without blocks."""

    def __init__(self, root, path):
        self.path, self.name = path, path.relative_to(root).as_posix()
        self.text = path.read_text()
        self.blocks, self.prose = [], []
        block = None
        for number, line in enumerate(self.text.splitlines(), 1):
            fence = FENCE.match(line)
            if fence and block is None:
                block = Block(self, number, fence.group(1).strip())
            elif fence:
                self.blocks.append(block)
                block = None
            elif block is not None:
                block.lines.append(line)
            else:
                self.prose.append((number, line))
        self.open_block = block

    def commands(self):
        """Blocks of commands: `sh` is run, `sh server` is run in the background, `sh not run: WHY` is only read."""
        return [block for block in self.blocks if block.info.split(" ")[0] == "sh"]


def all_pages(root):
    root = pathlib.Path(root)
    paths = [root / "README.md", root / "CONTRIBUTING.md", root / "CHANGELOG.md", *sorted((root / "docs").glob("*.md"))]
    return [Page(root, path) for path in paths]
