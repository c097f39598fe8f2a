// SPDX-License-Identifier: MIT
// What the counters of /api/spillway/live say about the last moments: a history of samples per model, and rates over a
// window of it. Pure; times are passed in.

const WINDOW_S = 10;   // rates are taken over so long at least,
const PASSES_MIN = 2;  // and over so many passes: a slow disk makes fewer than one a second

const difference = (to, from, ...path) => {
  const get = (sample) => path.reduce((value, key) => value?.[key], sample);
  const change = get(to.model) - get(from.model);
  return Number.isFinite(change) ? change : 0;
};

// From one sample to a later one. null: nothing of the kind happened.
export function ratesBetween(from, to) {
  const seconds = to.time_s - from.time_s;
  const hits = difference(to, from, "reads", "hits");
  const asked = hits + difference(to, from, "reads", "misses");
  const passes = difference(to, from, "passes");
  const pass_s = difference(to, from, "pass_s");
  const answered = difference(to, from, "tokens", "answer");
  const bytes = difference(to, from, "reads", "bytes");
  const decoding = answered > 0 && pass_s > 0 && difference(to, from, "tokens", "prompt") === 0;
  return {
    disk_bytes_per_s: seconds > 0 ? bytes / seconds : null,
    faults_per_s: seconds > 0 ? difference(to, from, "reads", "major_faults") / seconds : null,
    hit_rate: asked > 0 ? hits / asked : null,
    tok_per_s: decoding ? answered / pass_s : null,
    // With several requests in a pass, this and not tok_per_s is what was predicted for one.
    passes_per_s: decoding ? passes / pass_s : null,
    bytes_per_token: decoding ? bytes / answered : null,
    wait_fraction: pass_s > 0 ? Math.min(1, difference(to, from, "reads", "disk_wait_s") / pass_s) : null,
  };
}

const wentBack = (from, to) =>
  to.passes < from.passes || to.reads?.bytes < from.reads?.bytes || to.tokens?.answer < from.tokens?.answer;

export class LiveHistory {
  #samples = [];  // {time_s, model, rates}, oldest first
  #samples_max;

  constructor(samples_max = 150) {
    this.#samples_max = samples_max;
  }

  // `model`: an element of "models". Counters that went back are those of a model loaded anew: what was is forgotten.
  add(time_s, model) {
    const last = this.#samples.at(-1);
    if (last && wentBack(last.model, model)) this.#samples = [];
    const sample = {time_s, model, rates: null};
    this.#samples.push(sample);
    if (this.#samples.length > this.#samples_max) this.#samples.shift();
    const from = this.#windowStart();
    if (from) sample.rates = ratesBetween(from, sample);
  }

  // Over the last window; null until there are two samples.
  get rates() {
    return this.#samples.at(-1)?.rates ?? null;
  }

  // One rate over time, for a chart; null where there was none.
  series(name) {
    return this.#samples.map((sample) => sample.rates?.[name] ?? null);
  }

  #windowStart() {
    const last = this.#samples.at(-1);
    let from = null;
    for (let index = this.#samples.length - 2; index >= 0; --index) {
      from = this.#samples[index];
      const idle = last.model.passes === from.model.passes;
      if (last.time_s - from.time_s >= WINDOW_S && (idle || last.model.passes - from.model.passes >= PASSES_MIN)) break;
    }
    return from;
  }
}
