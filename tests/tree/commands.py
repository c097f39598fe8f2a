"""What each file of ours is compiled with, also where a build compiles several in one piece (SPILLWAY_UNITY)."""
import json
import re
from pathlib import Path


def commands_of(build):
    """compile_commands.json of the folder BUILD, one entry for each file: those of a piece have the piece's command."""
    entries = []
    for entry in json.loads((Path(build) / "compile_commands.json").read_text()):
        piece = Path(entry["file"])
        if piece.parent.name != "Unity":
            entries.append(entry)
            continue
        # Written when the build is configured.
        for name in re.findall(r'^#include "([^"]+)"', piece.read_text(), re.MULTILINE):
            entries.append(entry | {"file": name, "command": entry["command"].replace(entry["file"], name)})
    return entries
