#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What computing for several at once is worth: tokens per second of one client, and of several together, of one server.

measure_parallel.py SPILLWAY MODEL.gguf --ram SIZE [--parallel 8] [--tokens 24] [--repeat 3] [--json]

Every client asks something of its own and reads its stream. What is measured is the time in which all of them are answered:
from the moment the last one has its second token to the moment the first one has its last. Each run checks its streams
(streams.py) and counts; exit code 1 if one is wrong. Medians count; runs of one and of several take turns, since the disk drifts.
"""
import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time

import check_load
import streams

CONTEXT = 512


async def stream(server, model, number, n_tokens, times):
    reader, writer = await streams.connect(server.port)
    try:
        call = streams.OllamaRaw
        body = call.body(model, f"{number * 7919} reasons to be brief, and", n_tokens, scores=True)
        body["options"]["stop"] = []
        streams.send(writer, call.path, body)
        answer = await call.read(reader, lambda: times.append(time.monotonic()))
        streams.check_counts(answer, n_tokens)
        streams.need(answer.answer_tokens == n_tokens, f"ended after {answer.answer_tokens} tokens: ask for fewer")
    finally:
        writer.close()


def figures(server):
    return {name: server.metric(f"spillway_{name}") for name in
            ("bytes_read_total", "pass_seconds_total", "passes_total", "disk_wait_seconds_total")}


async def all_streams(server, model, n_clients, n_tokens, first_number):
    """When each event of each stream came. [n_clients][events]"""
    times = [[] for _ in range(n_clients)]
    await asyncio.gather(*(stream(server, model, first_number + i, n_tokens, times[i]) for i in range(n_clients)))
    return times


async def run(server, model, n_clients, n_tokens, first_number):
    """Tokens per second of all, and what a pass took, read and waited for."""
    before = figures(server)
    times = await all_streams(server, model, n_clients, n_tokens, first_number)
    after = figures(server)
    began, ended = max(t[1] for t in times), min(t[-2] for t in times)  # the last event is done, without a token
    streams.need(began < ended, "the first had ended before the last began: ask for more tokens")
    n = sum(began < at <= ended for one in times for at in one)
    delta = {name: after[name] - before[name] for name in before}
    passes = max(delta["passes_total"], 1)
    return {"tok_per_s": n / (ended - began), "pass_s": n_clients / (n / (ended - began)),
            "bytes_read_per_pass": delta["bytes_read_total"] / passes, "waited": delta["disk_wait_seconds_total"] / delta["pass_seconds_total"]}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("spillway")
    parser.add_argument("model")
    parser.add_argument("--ram", required=True)
    parser.add_argument("--parallel", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    name = os.path.basename(args.model).removesuffix(".gguf")
    results = {1: [], args.parallel: []}
    with tempfile.TemporaryDirectory() as folder:
        server = check_load.Server(args.spillway, os.path.abspath(args.model), folder,
                                   ["--ram", args.ram, "--parallel", str(args.parallel), "--context", str(CONTEXT), "--no-cache-disk"])
        try:
            asyncio.run(stream(server, name, 0, 3, []))  # loaded
            asyncio.run(all_streams(server, name, args.parallel, 3, 1))  # each slot used once
            for repetition in range(args.repeat):
                for n_clients, runs in results.items():
                    runs.append(asyncio.run(run(server, name, n_clients, args.tokens, 1000 * (repetition + 1) + n_clients)))
            live = json.loads(server.get("/api/spillway/live"))
        except (streams.Malformed, streams.Refused) as e:
            sys.exit(f"measure_parallel: {e}\n{server.log()[-2000:]}")
        finally:
            server.end()
    one, many = ({key: statistics.median(run[key] for run in runs) for key in runs[0]} for runs in results.values())
    report = {"model": args.model, "ram": args.ram, "parallel": args.parallel, "one": one, "many": many,
              "times": many["tok_per_s"] / one["tok_per_s"], "runs": {str(n): runs for n, runs in results.items()}, "live": live}
    if args.json:
        print(json.dumps(report))
        return
    for label, n, figure in (("one", 1, one), ("many", args.parallel, many)):
        rates = sorted(run["tok_per_s"] for run in results[n])
        print(f"{label:5} {n:3} clients  {figure['tok_per_s']:6.2f} tok/s ({rates[0]:.2f}..{rates[-1]:.2f})  {figure['pass_s']:.3f} s per pass, "
              f"{figure['bytes_read_per_pass'] / 2**20:.0f} MiB read in each, {100 * figure['waited']:.0f} % waiting for the disk")
    print(f"ratio {report['times']:.2f} times the total of one")


if __name__ == "__main__":
    main()
