// SPDX-License-Identifier: MIT
import assert from "node:assert/strict";
import {test} from "node:test";
import {LiveHistory, ratesBetween} from "../../src/serve/ui/live_rates.js";

const model = ({bytes = 0, hits = 0, misses = 0, wait = 0, passes = 0, pass_s = 0, answer = 0, prompt = 0} = {}) =>
  ({reads: {bytes, hits, misses, disk_wait_s: wait}, passes, pass_s, tokens: {answer, prompt}});

test("rates are what changed between two moments", () => {
  const rates = ratesBetween({time_s: 10, model: model({bytes: 1e9, hits: 10, misses: 10, answer: 5, passes: 5, pass_s: 1})},
                             {time_s: 12, model: model({bytes: 5e9, hits: 100, misses: 20, wait: 0.5, answer: 25, passes: 15, pass_s: 3})});
  assert.deepEqual(rates, {disk_bytes_per_s: 2e9, faults_per_s: 0, hit_rate: 0.9, tok_per_s: 10, passes_per_s: 5, bytes_per_token: 2e8, wait_fraction: 0.25});
});

test("what did not happen has no rate", () => {
  const rates = ratesBetween({time_s: 0, model: model()}, {time_s: 1, model: model()});
  assert.deepEqual(rates, {disk_bytes_per_s: 0, faults_per_s: 0, hit_rate: null, tok_per_s: null, passes_per_s: null, bytes_per_token: null, wait_fraction: null});
});

test("a prompt that is being read is not taken for slow decoding", () => {
  const rates = ratesBetween({time_s: 0, model: model()}, {time_s: 9, model: model({prompt: 512, answer: 1, passes: 2, pass_s: 8})});
  assert.equal(rates.tok_per_s, null);
});

test("the window grows until a slow disk made two passes", () => {
  const history = new LiveHistory();
  for (let second = 0; second <= 40; ++second) {
    const passes = Math.floor(second / 16);
    history.add(second, model({passes, answer: passes, pass_s: passes * 16}));
  }
  assert.equal(history.rates.tok_per_s, 1 / 16);
});

test("a model that was loaded anew starts anew", () => {
  const history = new LiveHistory();
  history.add(0, model({bytes: 5e9, passes: 10}));
  history.add(1, model({bytes: 6e9, passes: 12}));
  history.add(2, model({bytes: 1e6, passes: 1}));
  assert.equal(history.rates, null);
  assert.deepEqual(history.series("disk_bytes_per_s"), [null]);
});

test("the history is bounded", () => {
  const history = new LiveHistory(5);
  for (let second = 0; second < 20; ++second) history.add(second, model({bytes: second}));
  assert.equal(history.series("disk_bytes_per_s").length, 5);
});
