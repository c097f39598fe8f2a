// SPDX-License-Identifier: MIT
import assert from "node:assert/strict";
import {test} from "node:test";
import {describeSpeed, tierNames} from "../../src/serve/ui/tier_words.js";

const streamed = {mode: "stream", predicted: {tok_per_s: 2, bytes_read_per_token: 400e6}};

test("speed stands beside what was predicted", () => {
  assert.equal(describeSpeed(streamed, {passes_per_s: 1.9, bytes_per_token: 380e6}),
               "predicted 2.00 tok/s for one request; 95 % reached");
  assert.equal(describeSpeed({mode: "resident", predicted: {tok_per_s: 20, bytes_read_per_token: 0}}, {passes_per_s: 25}),
               "predicted 20.0 tok/s for one request; 125 % reached");
  assert.equal(describeSpeed(streamed, {passes_per_s: null}), "predicted 2.00 tok/s for one request");
  assert.equal(describeSpeed({mode: "mmap", predicted: {tok_per_s: 0}}, {passes_per_s: 3}), "nothing was predicted");
});

test("where nothing was read, a prediction that counts reads is not what was reached", () => {
  const words = "predicted 2.00 tok/s for one request, with reads; all of it was in memory";
  assert.equal(describeSpeed(streamed, {passes_per_s: 62.5, bytes_per_token: 0}), words);
  const mapped = {mode: "mmap", predicted: {tok_per_s: 2, bytes_read_per_token: 0}};
  assert.equal(describeSpeed(mapped, {passes_per_s: 62.5, faults_per_s: 0}), words);
  assert.match(describeSpeed(mapped, {passes_per_s: 1.8, faults_per_s: 900}), /90 % reached$/);
});

test("the kernel's page cache is called by its name, and its silence too", () => {
  assert.deepEqual(tierNames({mode: "stream"}), {ram: "RAM", disk: "Disk"});
  assert.equal(tierNames({mode: "mmap", page_cache_bytes: 5}).ram, "Kernel's page cache");
  assert.match(tierNames({mode: "mmap", page_cache_bytes: null}).disk, /does not say$/);
});
