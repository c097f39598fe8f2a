// SPDX-License-Identifier: MIT
// The models on the server's disk, what of them is loaded, and pulling another one.
import {deleteModel, getJson, postJson, postStream} from "./api.js";
import {announce, byId, h, setText} from "./dom.js";
import {describeForecast} from "./forecast.js";
import {formatBytes, formatCount, formatUntil} from "./format.js";
import {forecastOf} from "./model_facts.js";
import {describeWaiting} from "./waiting.js";

const LOOK_MS = 500;  // at a load that is under way

let onChange = () => {};
let onChat = () => {};
let pulling = null;
let n_refreshes = 0;

// `changed`: called with the models whenever they were read; `chat`: somebody wants to talk to this one.
export function startModels(changed, chat) {
  onChange = changed;
  onChat = chat;
  byId("pull").addEventListener("submit", (event) => {
    event.preventDefault();
    pull(byId("pull-name").value.trim());
  });
  byId("pull-stop").addEventListener("click", () => pulling?.abort());
}

export async function refreshModels() {
  const turn = ++n_refreshes;
  const [{models}, {models: loaded}] = await Promise.all([getJson("/api/tags"), getJson("/api/ps")]);
  const live = loaded.length > 0 ? (await getJson("/api/spillway/live").catch(() => ({models: []}))).models : [];
  if (turn !== n_refreshes) return;  // somebody asked again meanwhile, and will show what is newer
  onChange(models, loaded);
  const total = models.reduce((sum, model) => sum + model.size, 0);
  setText(byId("models-summary"), `${models.length} on disk, ${formatBytes(total)}; ${loaded.length} loaded`);
  const list = byId("model-list");
  const focused = document.activeElement?.dataset?.action;
  list.replaceChildren(models.length === 0 ? h("p.plain", {}, "None yet. Pull one above.") : table(models, loaded, live));
  if (focused) list.querySelector(`[data-action="${CSS.escape(focused)}"]`)?.focus();
  if (!byId("view-models").hidden) showForecasts(turn);
}

// One after the other, since each may have to measure something; until the list is read again.
async function showForecasts(turn) {
  for (const place of byId("model-list").querySelectorAll("[data-forecast]")) {
    const forecast = await forecastOf(place.dataset.forecast);
    if (turn !== n_refreshes) return;
    if (!forecast) continue;
    const {short, long} = describeForecast(forecast);
    setText(place, short);
    place.title = long;
  }
}

function table(models, loaded, live) {
  const columns = ["Model", "Size", "Context", "Can", "State", "Actions"];
  return h("table.models", {},
           h("thead", {}, h("tr", {}, ...columns.map((name) =>
             h("th", {scope: "col"}, name === "Actions" ? h("span.offscreen", {}, name) : name)))),
           h("tbody", {}, ...models.map((model) => row(model, loaded.find(({name}) => name === model.name),
                                                       live.find((each) => each.model === model.name)))));
}

function row(model, running, live) {
  const details = model.details ?? {};
  const kind = [details.family, details.parameter_size, details.quantization_level].filter(Boolean).join(" · ");
  const action = (label, run, more = {}) =>
    h("button.quiet", {type: "button", "data-action": `${label} ${model.name}`, "aria-label": `${label} ${model.name}`,
                       onclick: run, ...more}, label);
  const chats = !model.capabilities || model.capabilities.includes("completion");
  const cell = (label, ...content) => h("td", {"data-label": label}, ...content);
  return h("tr", {},
           h("th", {scope: "row"}, h("span.name", {}, model.name), h("span.muted.small", {}, kind)),
           cell("Size", formatBytes(model.size)),
           cell("Context", details.context_length ? formatCount(details.context_length) : "–"),
           cell("Can", ...(model.capabilities ?? []).map((name) => h("span.tag", {}, name))),
           cell("State", state(running, live, chats ? model.name : null)),
           h("td.actions", {},
             chats ? action("Chat", () => onChat(model.name)) : null,
             running ? action("Unload", (event) => load(event, model.name, 0)) : action("Load", (event) => load(event, model.name)),
             action("Details", () => showDetails(model.name)),
             action("Delete", () => remove(model.name))));
}

// `forecast`: the model whose forecast belongs here, or null.
function state(running, live, forecast) {
  if (!running)
    return h("span.muted", {}, "on disk", forecast ? h("span.muted.small", {"data-forecast": forecast}) : null);
  const gpu = live?.gpu_bytes ?? running.size_vram ?? 0;
  const disk = live?.disk_bytes ?? 0;
  const ram = live?.ram_bytes ?? Math.max(0, running.size - gpu - disk);
  const parts = [[gpu, "GPU"], [ram, "RAM"], [disk, "disk"]].filter(([bytes]) => bytes > 0);
  return h("span", {}, h("span.loaded", {}, "loaded "), formatUntil(new Date(running.expires_at), new Date()),
           h("span.muted.small", {}, parts.map(([bytes, where]) => `${formatBytes(bytes)} ${where}`).join(", ")));
}

async function attempt(work) {
  try {
    await work();
  } catch (failure) {
    announce(failure.message);
  }
  await refreshModels().catch((failure) => announce(failure.message));
}

function load(event, model, keepAlive) {
  event.target.disabled = true;
  setText(event.target, keepAlive === 0 ? "Unloading…" : "Loading…");
  const body = {model, stream: false};
  if (keepAlive !== undefined) body.keep_alive = keepAlive;
  const watch = keepAlive === 0 ? 0 : setInterval(() => showLoad(event.target, model), LOOK_MS);
  return attempt(() => postJson("/api/generate", body).finally(() => clearInterval(watch)));
}

// How far a load is, in place of the button's word.
async function showLoad(button, model) {
  const {loading} = await getJson("/api/spillway/live").catch(() => ({}));
  if (!loading || !button.isConnected) return;
  const {text} = describeWaiting({phase: "loading", ...loading}, 0);
  setText(button, loading.model === model ? text : `Waiting. ${text}`);
}

function remove(model) {
  if (!confirm(`Delete ${model} from the server's disk?`)) return;
  attempt(async () => {
    await deleteModel(model);
    announce(`${model} is deleted.`);
  });
}

async function showDetails(model) {
  let shown;
  try {
    shown = await postJson("/api/show", {model});
  } catch (failure) {
    announce(failure.message);
    return;
  }
  setText(byId("details-title"), model);
  const facts = Object.entries(shown.model_info ?? {})
    .filter(([, value]) => value !== null && typeof value !== "object")
    .map(([name, value]) => h("tr", {}, h("th", {scope: "row"}, name), h("td", {}, String(value))));
  const text = (title, value) =>
    value ? h("details", {}, h("summary", {}, title), h("pre", {tabindex: "0"}, value)) : null;
  if (shown.chat) facts.unshift(h("tr", {}, h("th", {scope: "row"}, "Chats"), h("td", {}, shown.chat)));
  byId("details-body").replaceChildren(
    ...[h("table.facts", {}, h("tbody", {}, ...facts)), text("Parameters", shown.parameters), text("System", shown.system),
        text("Template", shown.template), text("Model file", shown.modelfile), text("License", shown.license)]
      .filter((element) => element !== null));
  byId("details").showModal();
  byId("details").scrollTop = 0;  // the first control, which gets the focus, is its end
}

async function pull(name) {
  if (name === "" || pulling) return;
  pulling = new AbortController();
  byId("pull-start").disabled = true;
  byId("pull-progress").hidden = false;
  let complete = false;
  try {
    for await (const {status, total, completed = 0} of postStream("/api/pull", {model: name, stream: true}, pulling.signal)) {
      complete = status === "success";
      if (total > 0) byId("pull-bar").value = completed / total;
      else byId("pull-bar").removeAttribute("value");
      setText(byId("pull-text"), total > 0 ? `${status}: ${formatBytes(completed)} of ${formatBytes(total)}` : status);
    }
    announce(complete ? `${name} is here.` : "The download ended early. Pull again: it goes on where it was.");
  } catch (failure) {
    announce(failure.name === "AbortError" ? "Cancelled. Pull again: it goes on where it was." : failure.message);
  }
  pulling = null;
  byId("pull-start").disabled = false;
  byId("pull-progress").hidden = true;
  if (complete) byId("pull-name").value = "";
  await refreshModels().catch((failure) => announce(failure.message));
}
