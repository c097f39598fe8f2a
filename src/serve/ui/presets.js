// SPDX-License-Identifier: MIT
// Named sets of options, of each model its own, kept in the browser (`storage`: localStorage, or a stand-in).
import {onlySet} from "./sampling.js";

const PREFIX = "spillway.presets.";

export class Presets {
  #storage;

  constructor(storage) {
    this.#storage = storage;
  }

  // Names in alphabetical order.
  names(model) {
    return Object.keys(this.#all(model)).sort((a, b) => a.localeCompare(b));
  }

  // null: there is none.
  get(model, name) {
    const all = this.#all(model);
    return Object.hasOwn(all, name) ? all[name] : null;
  }

  // false: the browser refuses, its room for this page is used up.
  save(model, name, options) {
    return this.#write(model, {...this.#all(model), [name]: onlySet(options)});
  }

  remove(model, name) {
    const all = this.#all(model);
    delete all[name];
    this.#write(model, all);
  }

  // The one that says just what these options say; "" for none.
  nameOf(model, options) {
    const wanted = canonical(options);
    return this.names(model).find((name) => canonical(this.get(model, name)) === wanted) ?? "";
  }

  #all(model) {
    try {
      const found = JSON.parse(this.#storage.getItem(PREFIX + model));
      return typeof found === "object" && found !== null && !Array.isArray(found) ? found : {};
    } catch {
      return {};
    }
  }

  #write(model, all) {
    try {
      if (Object.keys(all).length === 0) this.#storage.removeItem(PREFIX + model);
      else this.#storage.setItem(PREFIX + model, JSON.stringify(all));
      return true;
    } catch {
      return false;
    }
  }
}

function canonical(options) {
  return JSON.stringify(Object.entries(onlySet(options)).sort(([a], [b]) => (a < b ? -1 : 1)));
}
