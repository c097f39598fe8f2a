// SPDX-License-Identifier: MIT
import assert from "node:assert/strict";
import {test} from "node:test";
import {describeWaiting} from "../../src/serve/ui/waiting.js";

const GIB = 1024 ** 3;
const text = (progress, waited_s = 12.7) => describeWaiting(progress, waited_s).text;

test("before the server says anything, only the time is known", () => {
  assert.deepEqual(describeWaiting(null, 3.9), {text: "Waiting for the server, 3 s", fraction: null});
});

test("the queue tells how many are ahead", () => {
  assert.equal(text({phase: "queue", ahead: 0}), "Waiting for a free slot, 12 s");
  assert.equal(text({phase: "queue", ahead: 1}), "Waiting behind another request, 12 s");
  assert.equal(text({phase: "queue", ahead: 3}), "Waiting behind 3 other requests, 12 s");
  assert.equal(text({phase: "context"}), "Making room for a larger context, 12 s");
});

test("a load tells bytes, percent and the time left", () => {
  const progress = {phase: "loading", model: "m", done: 15 * GIB, total: 60 * GIB, elapsed_s: 20};
  assert.deepEqual(describeWaiting(progress, 0),
                   {text: "Loading m: 15.00 GiB of 60.00 GiB (25 %), about 1 min 0 s left", fraction: 0.25});
  assert.equal(text({...progress, elapsed_s: 0.4}), "Loading m: 15.00 GiB of 60.00 GiB (25 %)", "too early to tell");
  assert.equal(text({...progress, done: 3 * GIB}), "Loading m: 3.00 GiB of 60.00 GiB (5.0 %)", "nothing was read yet");
  assert.equal(text({...progress, done: 0}), "Loading m: 0 B of 60.00 GiB (0 %)");
  assert.equal(text({phase: "loading", model: "m"}), "Loading m");
});

test("what was kept of a prompt took no time, and counts for nothing in the time left", () => {
  const progress = {phase: "prompt", done: 3000, total: 4000, cached: 2000, elapsed_s: 10};
  assert.equal(text(progress), "Reading the prompt: 3,000 of 4,000 tokens (75 %), about 10 s left");
  assert.equal(text({...progress, done: 2000}), "Reading the prompt: 2,000 of 4,000 tokens (50 %)");
  assert.equal(text({...progress, done: 4000}), "Reading the prompt: 4,000 of 4,000 tokens (100 %)");
});
