#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tools/recording/record.py draws what is left on a screen, in its colours and order, and nothing of a command that failed.

recording_test.py RECORD_PY
"""
import pathlib
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

PLAYED = r"""
printf 'building\n\033[1mA model\033[0m <of> 3\n'
printf 'bar 10 %%\r'; printf '\033[Kbar 90 %%\r'; printf '\033[K\033[36m> ask\033[0m\n'
for i in $(seq 40); do printf 'word%d ' "$i"; done; printf '\nlast\n'
"""


def main():
    record, folder = sys.argv[1], pathlib.Path(tempfile.mkdtemp())
    svg = folder / "out.svg"
    subprocess.run([sys.executable, record, "--from", "A model", svg, "bash", "-c", PLAYED], check=True, stdout=subprocess.DEVNULL)
    pieces = [piece for piece in xml.etree.ElementTree.parse(svg).iter("{http://www.w3.org/2000/svg}text")]
    text = "".join(piece.text for piece in pieces)
    style = {piece.text.strip(): piece.get("style") for piece in pieces}
    delays = [float(re.search(r"delay:([\d.]+)s", piece.get("style")).group(1)) for piece in pieces]
    rows = {}
    for piece in pieces:
        rows.setdefault(piece.get("y"), []).append(piece.text)
    assert "building" not in text and "bar" not in text, text
    assert "A model <of> 3" in text and text.endswith("last"), text
    assert "bold" in style["A model"] and "fill" in style["> ask"] and "fill" not in style["last"], style
    assert delays == sorted(delays) and delays[0] == 0, delays
    # Forty words take three lines of a hundred columns, and none is cut.
    words = "".join("".join(row) for row in rows.values() if "word" in "".join(row)).split()
    assert words == [f"word{i}" for i in range(1, 41)], words
    assert len(rows) == 6, rows

    failed = subprocess.run([sys.executable, record, folder / "none.svg", "false"], capture_output=True, text=True)
    assert failed.returncode and "exit code 1" in failed.stderr and not (folder / "none.svg").exists(), failed
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    print("drawn as it was shown")


if __name__ == "__main__":
    main()
