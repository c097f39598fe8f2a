// SPDX-License-Identifier: MIT
import assert from "node:assert/strict";
import {test} from "node:test";
import {Presets} from "../../src/serve/ui/presets.js";
import {countSet, modelDefaults, onlySet, requestOptions} from "../../src/serve/ui/sampling.js";

class Storage extends Map {
  full = false;
  getItem(key) {
    return this.get(key) ?? null;
  }
  setItem(key, value) {
    if (this.full) throw new Error("QuotaExceededError");
    this.set(key, value);
  }
  removeItem(key) {
    this.delete(key);
  }
}

test("only what is set is asked for", () => {
  const options = {temperature: 0, top_k: undefined, min_p: NaN, seed: 7, system: "  ", think: false, unknown: 1};
  assert.deepEqual(requestOptions(options), {temperature: 0, seed: 7});
  assert.deepEqual(onlySet(options), {temperature: 0, seed: 7, think: false});
  assert.equal(countSet(options), 3);
  assert.equal(countSet({system: "Be brief."}), 1);
});

test("a model's own values stand where nobody sets any", () => {
  const shown = {parameters: 'temperature                    1\ntop_k                          20\nstop                           "<|end|>"\nmin_p   many'};
  const found = modelDefaults(shown);
  assert.equal(found.temperature, 1);
  assert.equal(found.top_k, 20);
  assert.equal(found.top_p, 0.9);
  assert.equal(found.min_p, 0, "what is no number is not shown");
  assert.equal(found.stop, undefined);
  assert.equal(modelDefaults(null).temperature, 0.8);
});

test("presets are each model's own, and recognized by what they say", () => {
  const presets = new Presets(new Storage());
  assert.ok(presets.save("a", "precise", {temperature: 0, think: undefined}));
  assert.ok(presets.save("a", "Loose", {temperature: 1.2, system: "Dream."}));
  assert.deepEqual(presets.names("a"), ["Loose", "precise"]);
  assert.deepEqual(presets.names("b"), []);
  assert.deepEqual(presets.get("a", "precise"), {temperature: 0});
  assert.equal(presets.nameOf("a", {system: "Dream.", temperature: 1.2, top_p: undefined}), "Loose");
  assert.equal(presets.nameOf("a", {temperature: 0.5}), "");
  presets.remove("a", "Loose");
  presets.remove("a", "precise");
  assert.deepEqual(presets.names("a"), []);
});

test("a name may be any word, and what is damaged is as good as none", () => {
  const storage = new Storage([["spillway.presets.a", "[1,2"]]);
  const presets = new Presets(storage);
  assert.deepEqual(presets.names("a"), []);
  for (const name of ["__proto__", "constructor"]) {
    assert.ok(presets.save("a", name, {seed: 1}));
    assert.deepEqual(presets.get("a", name), {seed: 1}, name);
  }
  storage.full = true;
  assert.equal(presets.save("a", "x", {seed: 2}), false);
});
