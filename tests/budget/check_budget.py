#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Acceptance: a 5 GB mixture of experts and a 4 GB dense model run within a 2 GiB memory cgroup that counts the page cache.

check_budget.py SPILLWAY MAKE_MODEL FOLDER    exit code 0 passed, 1 failed, 77 skipped (not root, too little disk)

For each model: `spillway bench` in one cgroup (decode), and a 300-token prompt. Asserted: nobody is OOM-killed, the cgroup's peak
stays below its limit, peak RSS <= budget + 3 %, the logits equal those of the resident run where the machine can hold it,
no major fault while decoding.
"""
import json
import os
import shutil
import subprocess
import sys

LIMIT_BYTES = 2 << 30
MODELS = ("bench-moe", "bench-dense")
DISK_BYTES = 12 << 30


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


def bench(spillway, model):
    """The report of one capped run of ours beside the resident one. What the plan would choose depends on how busy the
    machine is; the promise holds for streaming whenever."""
    command = [spillway, "bench", model, "--mode", "stream", "--ram", str(LIMIT_BYTES), "--repeat", "1", "--tokens", "6", "--warmup", "6", "--json"]
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if available < os.path.getsize(model) + (3 << 30):
        command.append("--no-resident")
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        return None, f"bench exited with {done.returncode}: {done.stderr.strip()[-400:]} {done.stdout.strip()[-400:]}"
    return json.loads(done.stdout), ""


def check(spillway, model):
    """Violations for one model."""
    wrong = []
    report, failure = bench(spillway, model)
    if report is None:
        return [failure]
    run = report["summary"]["ours"]
    if run["ok"] != 1 or run["oom_killed"] != 0:
        return [f"our run failed ({run['failure']}), {run['oom_killed']} OOM kills"]
    peak, rss, budget = run["cgroup_bytes_max"], run["peak_rss_bytes"], run["budget_bytes"]
    print(f"  {run['mode']}: {run['decode_tok_per_s']:.2f} tok/s, cgroup peak {peak / 2**30:.3f} GiB, RSS {rss / 2**30:.3f} GiB")
    if run["mode"] != "stream":
        wrong.append(f"mode {run['mode']}, expected to stream")
    if not 0 < peak <= LIMIT_BYTES:
        wrong.append(f"cgroup peak {peak} over {LIMIT_BYTES}")
    if not 0 < rss <= 1.03 * min(budget, LIMIT_BYTES):
        wrong.append(f"peak RSS {rss} over the budget of {budget} by more than 3 %")
    if run["major_faults_per_token"] != 0:
        wrong.append(f"{run['major_faults_per_token']} major faults per token while decoding")
    prompt = subprocess.run([spillway, "run", model, "--mode", "stream", "--ram", str(LIMIT_BYTES // 2), "--prompt", "memory " * 150, "--raw",
                             "--max-tokens", "2", "--json", "--stats", "--temp", "0", "--ignore-eos"],
                            capture_output=True, text=True)
    if prompt.returncode != 0:
        return wrong + [f"a prompt failed: {prompt.stderr.strip()[-400:]}"]
    stats = json.loads(prompt.stdout)
    print(f"  prompt of {stats['prompt_tokens']} tokens within 1 GiB: RSS {stats['peak_rss_bytes'] / 2**30:.3f} GiB, "
          f"{stats['prefill_tok_per_s']:.1f} tok/s")
    if stats["peak_rss_bytes"] > 1.03 * LIMIT_BYTES / 2:
        wrong.append(f"peak RSS {stats['peak_rss_bytes']} with a prompt, budget {LIMIT_BYTES // 2}")
    return wrong


def main():
    spillway, make_model, folder = sys.argv[1:4]
    if os.geteuid() != 0:
        skip("memory cgroups need root")
    os.makedirs(folder, exist_ok=True)
    if shutil.disk_usage(folder).free < DISK_BYTES:
        skip(f"needs {DISK_BYTES >> 30} GiB of free disk")
    failed = False
    for name in MODELS:
        model = os.path.join(folder, name + ".gguf")
        try:
            subprocess.run([make_model, "--preset", name, "--out", model], check=True, capture_output=True)
            print(name)
            for violation in check(spillway, model):
                failed = True
                print(f"  FAILED: {violation}")
        finally:
            if os.path.exists(model):
                os.remove(model)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
