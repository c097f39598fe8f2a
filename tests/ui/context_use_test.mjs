// SPDX-License-Identifier: MIT
import assert from "node:assert/strict";
import {test} from "node:test";
import {contextUse} from "../../src/serve/ui/context_use.js";
import {describeForecast} from "../../src/serve/ui/forecast.js";

const chat = (stats, options = {}) => ({options, messages: [{role: "user"}, {role: "assistant", stats}]});

test("the last answer says how much of the context is used", () => {
  const use = contextUse(chat({prompt_tokens: 800, answer_tokens: 200, n_ctx: 8192}), null, 4096);
  assert.deepEqual([use.used, use.n_ctx, use.level], [1000, 8192, ""]);
  assert.equal(use.text, "Context: 1,000 of 8,192 tokens");
});

test("while an answer is written, it counts", () => {
  const use = contextUse(chat(undefined), {prompt_tokens: 900, n_pieces: 50, n_ctx: 1000}, 4096);
  assert.deepEqual([use.used, use.level], [950, "high"]);
  assert.match(use.text, /nearly full$/);
});

test("the least of what is asked for and what there is bounds it", () => {
  assert.equal(contextUse(chat({prompt_tokens: 10}, {num_ctx: 2048}), null, 4096).n_ctx, 2048);
  assert.equal(contextUse(chat({prompt_tokens: 10}, {num_ctx: 9000}), null, 4096).n_ctx, 4096);
  assert.equal(contextUse(chat({prompt_tokens: 10}), null, undefined), null);
});

test("a context is never fuller than full, however long an answer went on behind what was left out", () => {
  const messages = [{role: "user", content: "q"},
                    {role: "assistant", content: "a", stats: {prompt_tokens: 167, answer_tokens: 122, n_ctx: 256}}];
  const use = contextUse({messages, options: {}}, null, 256);
  assert.equal(use.text, "Context: 256 of 256 tokens: the oldest messages are left out");
  assert.equal(use.level, "full");
});

test("a full context says what becomes of the rest", () => {
  const use = contextUse(chat({prompt_tokens: 5000, answer_tokens: 1}), null, 4096);
  assert.equal(use.fraction, 1);
  assert.match(use.text, /the oldest messages are left out$/);
});

test("a forecast is a sentence", () => {
  const GIB = 1024 ** 3;
  const stream = {mode: "stream", weights_bytes: 60 * GIB, memory_bytes: 48 * GIB,
                  predicted: {tok_per_s: 6.4, load_s: 41.2, bytes_read_per_token: 400 * 1024 ** 2}};
  assert.deepEqual(describeForecast(stream), {
    short: "streams, about 6.40 tok/s",
    long: "It streams from the disk (60.00 GiB of weights, 48.00 GiB of memory); about 6.40 tok/s; 400 MiB are read for each " +
          "token; loading takes about 41 s."});
  assert.deepEqual(describeForecast({mode: "resident", loaded: true, predicted: {tok_per_s: 20, load_s: 9}}),
                   {short: "fits, about 20.0 tok/s", long: "It fits in memory; about 20.0 tok/s."});
  assert.deepEqual(describeForecast({error: "at least 3 GiB is needed"}),
                   {short: "does not fit", long: "at least 3 GiB is needed"});
  assert.deepEqual(describeForecast({}), {short: "", long: ""});
});
