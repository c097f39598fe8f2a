# SPDX-License-Identifier: MIT
"""llama.cpp's own programs, of the packages that scripts/setup unpacks: what tests compare with."""
import glob
import os
import subprocess


def run_llama_tool(prefix, name, words):
    """What the program writes to standard output; None: it is not there."""
    lib = os.path.join(prefix, "usr/lib/x86_64-linux-gnu")
    loader = os.path.join(lib, "ld-linux-x86-64.so.2")
    program = os.path.join(prefix, "usr/bin", name)
    backends = glob.glob(os.path.join(lib, "ggml/backends*"))
    if not (os.path.exists(loader) and os.path.exists(program) and backends):
        return None
    done = subprocess.run([loader, "--library-path", f"{lib}:{lib}/llama", program, *words], cwd=backends[0],
                          stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=300)
    return done.stdout.decode()
