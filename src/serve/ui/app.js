// SPDX-License-Identifier: MIT
// The page's frame: which view is shown (#chat, #models, #tiers), keys that work everywhere, colours, the API key.
import {apiKey, getJson} from "./api.js";
import {chatWith, escape, focusPrompt, newChat, showModels, startChat} from "./chat.js";
import {announce, byId, setText} from "./dom.js";
import {refreshModels, startModels} from "./models.js";
import {redrawTiers, showTiers, startTiers} from "./tiers.js";

const VIEWS = ["chat", "models", "tiers"];
const THEMES = [["auto", "◐", "as the system"], ["light", "☀", "light"], ["dark", "☾", "dark"]];
const THEME = "spillway.theme";

function showView() {
  const wanted = location.hash.slice(1);
  const view = VIEWS.includes(wanted) ? wanted : "chat";
  for (const name of VIEWS) {
    byId(`view-${name}`).hidden = name !== view;
    if (name === view) byId(`tab-${name}`).setAttribute("aria-current", "page");
    else byId(`tab-${name}`).removeAttribute("aria-current");
  }
  document.title = view === "chat" ? "Spillway" : `${view[0].toUpperCase()}${view.slice(1)} – Spillway`;
  showTiers(view === "tiers");
  readModels();
  if (view === "chat" && matchMedia("(pointer: fine)").matches) focusPrompt();
}

async function readModels() {
  try {
    await refreshModels();
    setText(byId("server"), (await getJson("/props").catch(() => ({}))).version ?? "");
  } catch (failure) {
    setText(byId("server"), "no answer");
    announce(failure.message);
  }
}

function setTheme(name) {
  const [theme, sign, words] = THEMES.find(([each]) => each === name) ?? THEMES[0];
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  localStorage.setItem(THEME, theme);
  setText(byId("theme"), sign);
  byId("theme").setAttribute("aria-label", `Colours: ${words}`);
  byId("theme").title = `Colours: ${words}`;
  redrawTiers();
}

function nextTheme() {
  const at = THEMES.findIndex(([each]) => each === (localStorage.getItem(THEME) ?? "auto"));
  setTheme(THEMES[(at + 1) % THEMES.length][0]);
}

function onKey(event) {
  if (event.defaultPrevented || document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") {
    if (escape()) event.preventDefault();
    return;
  }
  if (event.altKey && !event.ctrlKey && !event.metaKey) {
    const view = VIEWS[Number(event.code.replace("Digit", "")) - 1];
    if (view) location.hash = view;
    else if (event.code === "KeyN") {
      location.hash = "chat";
      newChat();
    } else return;
    event.preventDefault();
    return;
  }
  const writes = event.target.closest("input, textarea, select");
  if (writes || event.ctrlKey || event.metaKey) return;
  if (event.key === "?") byId("shortcuts").showModal();
  else if (event.key === "/") {
    location.hash = "chat";
    focusPrompt();
  } else return;
  event.preventDefault();
}

startChat();
startModels(showModels, (model) => {
  location.hash = "chat";
  chatWith(model);
});
startTiers();
setTheme(localStorage.getItem(THEME) ?? "auto");
byId("theme").addEventListener("click", nextTheme);
byId("help").addEventListener("click", () => byId("shortcuts").showModal());
byId("key-form").addEventListener("submit", () => {
  apiKey.set(byId("key").value.trim());
  byId("key").value = "";
  readModels();
});
addEventListener("spillway-key-needed", () => byId("key-dialog").open || byId("key-dialog").showModal());
addEventListener("hashchange", showView);
document.addEventListener("keydown", onKey);
showView();
