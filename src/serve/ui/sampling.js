// SPDX-License-Identifier: MIT
// The options of a conversation: which there are, what comes with a model, and how they are asked for. Pure.

// name: of Ollama's "options"; the field of the page is option-NAME.
export const NUMBERS = [
  {name: "temperature", label: "Temperature", min: 0, max: 5, step: 0.05, hint: "0 always takes the likeliest token"},
  {name: "top_p", label: "Top p", min: 0, max: 1, step: 0.01, hint: "of the likeliest tokens, as many as make up this share"},
  {name: "top_k", label: "Top k", min: 0, step: 1, hint: "of the likeliest tokens, so many; 0: all"},
  {name: "min_p", label: "Min p", min: 0, max: 1, step: 0.01, hint: "tokens at least this likely beside the likeliest"},
  {name: "repeat_penalty", label: "Repeat penalty", min: 0, max: 5, step: 0.05, hint: "above 1: less of what was there"},
  {name: "presence_penalty", label: "Presence penalty", min: -2, max: 2, step: 0.1, hint: "above 0: less of what was there at all"},
  {name: "seed", label: "Seed", min: 0, step: 1, hint: "the same seed, the same answer"},
  {name: "num_predict", label: "Longest answer, tokens", min: 1, step: 1, hint: "it is cut there"},
  {name: "num_ctx", label: "Context, tokens", min: 16, step: 1, hint: "of the whole conversation"},
];

// The server's own where neither model nor user says anything.
const DEFAULTS = {temperature: 0.8, top_p: 0.9, top_k: 40, min_p: 0, repeat_penalty: 1, presence_penalty: 0};

// Of a reply to /api/show: "parameters" is a text of lines "name   value".
export function modelDefaults(shown) {
  const found = {...DEFAULTS};
  for (const line of (shown?.parameters ?? "").split("\n")) {
    const [, name, value] = /^(\S+)\s+(.+)$/.exec(line.trim()) ?? [];
    const known = NUMBERS.some((number) => number.name === name);
    if (known && Number.isFinite(Number(value))) found[name] = Number(value);
  }
  return found;
}

// What of a conversation's options is set, in Ollama's words; the rest is left to the model.
export function requestOptions(options) {
  const asked = {};
  for (const {name} of NUMBERS) if (Number.isFinite(options[name])) asked[name] = options[name];
  return asked;
}

export function countSet(options) {
  return Object.keys(requestOptions(options)).length + (options.system?.trim() ? 1 : 0) +
         (typeof options.think === "boolean" ? 1 : 0);
}

// Only what is set, so that presets stay readable and comparable.
export function onlySet(options) {
  const kept = requestOptions(options);
  if (options.system?.trim()) kept.system = options.system;
  if (typeof options.think === "boolean") kept.think = options.think;
  return kept;
}
