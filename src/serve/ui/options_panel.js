// SPDX-License-Identifier: MIT
// The options of the conversation that is shown: fields, and presets of its model.
import {announce, askName, byId, h, setText} from "./dom.js";
import {Presets} from "./presets.js";
import {NUMBERS, countSet, modelDefaults, onlySet} from "./sampling.js";

const presets = new Presets(localStorage);
let model = "";
let options = {};
let shown = null;
let changed = () => {};

// `onChange`: called with the new options when the user changed them.
export function startOptions(onChange) {
  changed = onChange;
  byId("option-numbers").replaceWith(...NUMBERS.map(({name, label, hint, ...range}) =>
    h("label", {title: hint}, label, h("input", {id: `option-${name}`, type: "number", ...range}))));
  byId("options").addEventListener("submit", (event) => event.preventDefault());
  byId("options").addEventListener("change", (event) => (event.target.id === "preset" ? choosePreset() : read()));
  byId("show-options").addEventListener("click", toggle);
  byId("preset-save").addEventListener("click", savePreset);
  byId("preset-delete").addEventListener("click", deletePreset);
}

// `reply`: the model's of /api/show, once it is there.
export function showOptions(of_model, of_options, reply = null) {
  model = of_model;
  options = of_options;
  shown = reply;
  const defaults = modelDefaults(shown);
  byId("option-system").value = options.system ?? "";
  byId("option-system").placeholder = shown?.system?.trim() || "none";
  for (const {name} of NUMBERS) {
    byId(`option-${name}`).value = options[name] ?? "";
    byId(`option-${name}`).placeholder = defaults[name] ?? "default";
  }
  byId("option-think").value = options.think === undefined ? "" : String(options.think);
  showPresets();
}

function showPresets() {
  const name = presets.nameOf(model, options);
  const n = countSet(options);
  byId("preset").replaceChildren(
    h("option", {value: "", selected: n === 0}, "the model's own"),
    ...(n > 0 && name === "" ? [h("option", {value: "?", selected: true}, "as below")] : []),
    ...presets.names(model).map((each) => h("option", {value: `=${each}`, selected: each === name}, each)));
  byId("preset-save").disabled = n === 0 || model === "";
  byId("preset-delete").disabled = name === "";
  setText(byId("show-options"), n > 0 ? `Options (${n})` : "Options");
}

function read() {
  const found = {};
  for (const {name} of NUMBERS) {
    const field = byId(`option-${name}`);
    field.reportValidity();
    if (field.value.trim() !== "" && field.checkValidity()) found[name] = Number(field.value);
  }
  const think = byId("option-think").value;
  set({...found, system: byId("option-system").value, think: think === "" ? undefined : think === "true"});
}

function set(wanted) {
  options = onlySet(wanted);
  showPresets();
  changed(options);
}

function choosePreset() {
  const chosen = byId("preset").value;
  if (chosen === "?") return;
  set(chosen === "" ? {} : (presets.get(model, chosen.slice(1)) ?? {}));
  showOptions(model, options, shown);
}

async function savePreset() {
  const name = await askName(`A name for these options of ${model}`, presets.nameOf(model, options));
  if (!name) return;
  if (!presets.save(model, name, options)) announce("The browser's storage is full: the preset is not kept.");
  showPresets();
}

function deletePreset() {
  const name = presets.nameOf(model, options);
  if (!confirm(`Delete the preset ${name}? The options stay as they are.`)) return;
  presets.remove(model, name);
  showPresets();
}

function toggle() {
  const panel = byId("options");
  panel.hidden = !panel.hidden;
  byId("show-options").setAttribute("aria-expanded", String(!panel.hidden));
  if (!panel.hidden) panel.querySelector("select, textarea, input").focus();
}
