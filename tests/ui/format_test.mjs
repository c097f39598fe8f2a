// SPDX-License-Identifier: MIT
import assert from "node:assert/strict";
import {test} from "node:test";
import {formatBytes, formatCount, formatPercent, formatRate, formatSeconds, formatThroughput, formatUntil} from "../../src/serve/ui/format.js";

test("numbers read as the program's own tables", () => {
  assert.deepEqual([7, 12288, 590 * 2 ** 20, 1.92 * 2 ** 30].map(formatBytes), ["7 B", "12 KiB", "590 MiB", "1.92 GiB"]);
  assert.deepEqual([0, 4.2e6, 520e6, 3.1e9].map(formatThroughput), ["0 MB/s", "4.2 MB/s", "520 MB/s", "3.10 GB/s"]);
  assert.deepEqual([0.41, 12.34, 234].map(formatRate), ["0.41 tok/s", "12.3 tok/s", "234 tok/s"]);
  assert.deepEqual([0, 0.032, 0.9, 1].map(formatPercent), ["0 %", "3.2 %", "90 %", "100 %"]);
  assert.deepEqual([0.25, 12.3, 59.97, 61, 3720].map(formatSeconds), ["250 ms", "12.3 s", "1 min 0 s", "1 min 1 s", "1 h 2 min"]);
  assert.equal(formatCount(131072), "131,072");
});

test("what is unknown is a dash", () => {
  for (const format of [formatBytes, formatThroughput, formatRate, formatPercent, formatSeconds, formatCount])
    for (const value of [undefined, null, NaN, Infinity]) assert.equal(format(value), "–");
});

test("how long a model stays", () => {
  const now = new Date("2026-01-01T00:00:00Z");
  assert.equal(formatUntil(new Date("2026-01-01T00:05:00Z"), now), "for 5 min 0 s");
  assert.equal(formatUntil(new Date("2318-01-01T00:00:00Z"), now), "until it is unloaded");
  assert.equal(formatUntil(new Date("2025-12-31T23:59:59Z"), now), "unloading");
});
