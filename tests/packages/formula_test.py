#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""packaging/homebrew/spillway.rb asks for what the build looks for, and for nothing else; and it builds as README.md does.

formula_test.py ROOT
"""
import pathlib
import re
import subprocess
import shutil
import sys

# What CMake looks for -> Homebrew's name of it. None: every system has it, or a test alone wants it.
FORMULAS = {"Threads": None, "GTest": None, "fmt": "fmt", "spdlog": "spdlog", "nlohmann_json": "nlohmann-json", "CLI11": "cli11",
            "tl-expected": "tl-expected", "OpenSSL": "openssl@3", "CURL": "curl", "PkgConfig": "pkgconf", "liburing": "liburing",
            "zlib": "zlib", "libbrotlidec": "brotli", "libzstd": "zstd", "Boost": "boost", "llama": "llama.cpp", "qjs": "quickjs-ng",
            "mtmd": "llama.cpp", "libwebp": "webp", "libwebpdemux": "webp", "libwebpmux": None}
TOOLS = {"cmake", "ninja", "node"}


def wanted(root):
    """What the build looks for."""
    text = (root / "CMakeLists.txt").read_text() + "".join(path.read_text() for path in (root / "cmake").glob("*.cmake"))
    found = set(re.findall(r"find_package\(([\w-]+)", text)) | set(re.findall(r"find_library\(\w+ (\w+)", text))
    for words in re.findall(r"pkg_check_modules\(\w+ REQUIRED IMPORTED_TARGET ([^)]*)\)", text):
        found |= set(words.split())
    return found - {"Python3"}


def main():
    root = pathlib.Path(sys.argv[1])
    formula = root / "packaging/homebrew/spillway.rb"
    text = formula.read_text()
    unknown = wanted(root) - set(FORMULAS)
    assert not unknown, f"CMake looks for {unknown}; say here, and in the formula, what Homebrew calls that"
    needed = {FORMULAS[name] for name in wanted(root) if FORMULAS[name]} | TOOLS
    named = set(re.findall(r'^ *depends_on "([^"]+)"', text, re.M))
    assert named == needed, f"missing: {needed - named}; of no use: {named - needed}"
    for script in re.findall(r'system "(scripts/\w+)"', text):
        assert (root / script).exists(), script
    assert f'license "{(root / "LICENSE").read_text().split()[0]}"' in text
    if shutil.which("ruby"):
        subprocess.run(["ruby", "-c", formula], check=True, stdout=subprocess.DEVNULL)
    print(f"{len(named)} formulas, as the build looks for them")


if __name__ == "__main__":
    main()
