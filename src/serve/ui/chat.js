// SPDX-License-Identifier: MIT
// The chat. A conversation that is being answered goes on while another one is shown; each has one answer at a time.
import {answerElement, questionElement, updateAnswer} from "./answer_view.js";
import {ApiError, postStream} from "./api.js";
import {allowImages, setAttached, startAttaching, takeAttached} from "./attach_bar.js";
import {showChatList, startChatList} from "./chat_list.js";
import {contextUse} from "./context_use.js";
import {Conversations, chatRequest, titleOf, toMarkdown} from "./conversations.js";
import {announce, askName, byId, download, h, newId, setText} from "./dom.js";
import {describeForecast} from "./forecast.js";
import {ImageStore} from "./image_store.js";
import {forecastOf, forgetModelFacts, seesImages, showOf, sightNote, templateNote} from "./model_facts.js";
import {showOptions, startOptions} from "./options_panel.js";

const SAVE_EVERY_MS = 2000;  // of an answer that is being written
const NEAR_END_PX = 80;      // so close to the end, the page follows the answer

const store = new Conversations(localStorage, new ImageStore());
const running = new Map();  // id of a conversation -> {abort, conversation, answer, ...}
let current = store.create(newId(), Date.now());
let models = [];
let contexts = {};  // model that is loaded -> its tokens of context

export function startChat() {
  byId("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  byId("prompt").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  });
  byId("prompt").addEventListener("input", fitPrompt);
  byId("stop").addEventListener("click", stopAnswer);
  byId("new-chat").addEventListener("click", newChat);
  byId("model").addEventListener("change", () => chooseModel(byId("model").value));
  byId("show-sidebar").addEventListener("click", () => showSidebar(!byId("sidebar").classList.contains("open")));
  byId("rename-chat").addEventListener("click", renameChat);
  byId("export-markdown").addEventListener("click", () => exportAs("md", "text/markdown", toMarkdown));
  byId("export-json").addEventListener("click", () =>
    exportAs("json", "application/json", (chat) => `${JSON.stringify(chat, null, 2)}\n`));
  byId("delete-chat").addEventListener("click", () => removeChat(current.id));
  document.addEventListener("click", (event) => {
    if (!byId("more").contains(event.target)) byId("more").open = false;
    const inside = byId("sidebar").contains(event.target) || byId("show-sidebar").contains(event.target);
    if (!inside) showSidebar(false);
  });
  startAttaching();
  startOptions((options) => {
    current.options = options;
    store.rememberOptions(current);
    keep(current);
    showContext();
  });
  startChatList(store, openById, (ids) => openById(ids[0]));
  followTheEnd();
  addEventListener("pagehide", () => running.forEach(({conversation}) => store.save(conversation)));
  const latest = store.list()[0];
  if (latest) current = store.load(latest.id);
  showList();
  showConversation();
  store.sweepImages();
}

// The last lines stay in view when the options open or a phone's keyboard comes up.
function followTheEnd() {
  let height = 0;
  new ResizeObserver(() => {
    const box = byId("messages");
    if (box.scrollHeight - box.scrollTop - height < NEAR_END_PX) box.scrollTop = box.scrollHeight;
    height = box.clientHeight;
  }).observe(byId("messages"));
}

// ---- what app.js asks for

// `loaded`: elements of /api/ps.
export function showModels(found, loaded) {
  models = found.filter((model) => !model.capabilities || model.capabilities.includes("completion"));
  contexts = Object.fromEntries(loaded.map(({name, context_length}) => [name, context_length]));
  forgetModelFacts();
  if (!current.model && models.length > 0) current.model = models[0].name;
  showModelChoice();
  showModelFacts();
  showContext();
  if (current.messages.length === 0) showConversation();
}

export function chatWith(model) {
  newChat();
  chooseModel(model);
}

export function newChat() {
  openConversation(current.messages.length === 0 ? current : {...store.create(newId(), Date.now())});
  if (!current.model && models.length > 0) current.model = models[0].name;
  showModelChoice();
  byId("prompt").focus();
}

// Whether there was something to close or to stop.
export function escape() {
  if (byId("sidebar").classList.contains("open")) showSidebar(false);
  else if (byId("more").open) byId("more").open = false;
  else if (running.has(current.id)) stopAnswer();
  else return false;
  return true;
}

export const focusPrompt = () => byId("prompt").focus();

// ---- conversations

function openConversation(conversation) {
  current = conversation;
  showSidebar(false);
  showList();
  showConversation();
}

const openById = (id) => openConversation(running.get(id)?.conversation ?? store.load(id) ?? current);

async function renameChat() {
  byId("more").open = false;
  const renamed = current;
  const name = await askName("A name for this chat", titleOf(renamed));
  if (!name) return;
  renamed.title = name;
  keep(renamed);
  showList();
}

function removeChat(id) {
  byId("more").open = false;
  if (!confirm("Delete this chat? It is kept nowhere else.")) return;
  running.get(id)?.abort.abort();
  running.delete(id);
  store.remove(id);
  const next = store.list()[0];
  openConversation(next ? store.load(next.id) : store.create(newId(), Date.now()));
  showModelChoice();
}

async function exportAs(ending, type, write) {
  byId("more").open = false;
  const chat = current;
  await store.fillImages(chat);
  const name = titleOf(chat).toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "") || "chat";
  download(`${name}.${ending}`, type, write(chat));
}

// An empty conversation is not worth an entry.
function keep(conversation) {
  if (conversation.messages.length === 0) return;
  if (!store.save(conversation)) announce("The browser's storage is full: this chat is not kept. Delete an older one.");
  store.saveImages(conversation).then((kept) => {
    if (!kept) announce("The browser's storage is full: images of this chat are not kept. Delete an older chat.");
  });
}

function showList() {
  const unsaved = current.messages.length > 0 ? {id: current.id, title: titleOf(current)} : null;
  showChatList({current: current.id, unsaved, isRunning: (id) => running.has(id)});
}

function showSidebar(open) {
  byId("sidebar").classList.toggle("open", open);
  byId("show-sidebar").setAttribute("aria-expanded", String(open));
}

// ---- the model

function chooseModel(model) {
  current.model = model;
  store.rememberOptions(current);
  keep(current);
  showModelChoice();
  showConversation();
}

function showModelChoice() {
  const names = models.map((model) => model.name);
  if (current.model && !names.includes(current.model)) names.unshift(current.model);
  const known = new Set(models.map((model) => model.name));
  byId("model").replaceChildren(...names.map((name) =>
    h("option", {value: name, selected: name === current.model},
      models.length > 0 && !known.has(name) ? `${name} (not on this server)` : name)));
  byId("model").disabled = names.length === 0;
  if (names.length === 0) byId("model").append(h("option", {}, "No models"));
}

// Its own options, whether it has a template, and in an empty chat how it will run: each as soon as the server says so.
async function showModelFacts() {
  const model = current.model;
  showOptions(model, current.options);
  const chosen = models.find(({name}) => name === model);
  const seeing = models.find((each) => each.capabilities?.includes("vision"))?.name ?? "none of the models here";
  allowImages(seesImages(chosen) ? "" : `${model} sees no images; ${seeing} does.`);
  const hasImages = current.messages.some(({images = []}) => images.length > 0);
  const showNote = (...sentences) => {
    const note = sentences.filter(Boolean).join(" ");
    setText(byId("model-note"), note);
    byId("model-note").hidden = note === "";
  };
  showNote(sightNote(chosen, hasImages));
  if (!models.some(({name}) => name === model)) return;
  showForecast(model);
  const shown = await showOf(model);
  if (model !== current.model || !shown) return;
  showOptions(model, current.options, shown);
  showNote(templateNote(shown), sightNote(chosen, hasImages));
}

async function showForecast(model) {
  if (current.messages.length > 0) return;
  const forecast = await forecastOf(model);
  const place = byId("forecast");
  if (place && forecast && model === current.model) setText(place, describeForecast(forecast).long);
}

// ---- messages

function showConversation() {
  const shown = current;
  store.fillImages(shown).then((changed) => {
    if (changed && shown === current) showConversation();
  });
  const box = byId("messages");
  box.replaceChildren(...(current.messages.length > 0 ? current.messages.map(messageElement) : [emptyChat()]));
  box.scrollTop = box.scrollHeight;
  showModelChoice();
  showModelFacts();
  showButtons();
  showContext();
}

function emptyChat() {
  if (models.length === 0 && !current.model)
    return h("div.empty", {}, h("h1", {}, "No models yet"),
             h("p.muted", {}, "Pull one on the page ", h("a", {href: "#models"}, "Models"), ", or with ",
               h("code", {}, "spillway pull"), "."));
  return h("div.empty", {}, h("h1", {}, current.model || "Chat"),
           h("p", {id: "forecast", role: "status"}),
           h("p.muted", {}, "What you write stays between this browser and your server."));
}

function messageElement(message) {
  if (message.role === "user") return questionElement(message, () => editFrom(message), showPicture);
  return answerElement(message, message.model ?? current.model, runOf, () => answerAgain(message));
}

function showPicture(url, name) {
  byId("picture").setAttribute("aria-label", name);
  byId("picture-image").src = url;
  byId("picture-image").alt = name;
  byId("picture").showModal();
}

function showButtons() {
  const busy = running.has(current.id);
  byId("send").hidden = busy;
  byId("stop").hidden = !busy;
  byId("messages").setAttribute("aria-busy", String(busy));
}

function showContext() {
  const use = contextUse(current, running.get(current.id), contexts[current.model]);
  byId("context-use").hidden = !use || use.used === 0;
  if (!use) return;
  byId("context-use").className = use.level;
  byId("context-bar").value = use.fraction;
  setText(byId("context-text"), use.text);
}

function runOf(message) {
  for (const run of running.values()) if (run.answer === message) return run;
  return null;
}

// ---- sending

function fitPrompt() {
  const prompt = byId("prompt");
  prompt.style.height = "auto";
  prompt.style.height = `${Math.min(prompt.scrollHeight + 2, innerHeight * 0.4)}px`;
}

async function send() {
  if (running.has(current.id)) return;
  if (!current.model) {
    announce("Choose a model first.");
    return;
  }
  const conversation = current;
  const attached = await takeAttached();
  if (!attached) return;
  const {files, images} = attached;
  const text = byId("prompt").value;
  if (conversation !== current || running.has(current.id)) return setAttached(attached);
  if (text.trim() === "" && files.length + images.length === 0) return;
  current.messages.push({role: "user", content: text, ...(files.length > 0 ? {files} : {}), ...(images.length > 0 ? {images} : {})});
  byId("prompt").value = "";
  fitPrompt();
  answer(current);
}

async function editFrom(message) {
  if (running.has(current.id)) return;
  const edited = current;
  await store.fillImages(edited);
  const at = edited.messages.indexOf(message);
  if (edited !== current || running.has(edited.id) || at < 0) return;
  byId("prompt").value = message.content;
  const images = (message.images ?? []).filter(({data}) => data);
  setAttached({files: message.files, images});
  edited.messages.length = at;
  keep(edited);
  showConversation();
  fitPrompt();
  focusPrompt();
}

function answerAgain(message) {
  if (running.has(current.id)) return;
  current.messages.length = current.messages.indexOf(message);
  answer(current);
}

function stopAnswer() {
  running.get(current.id)?.abort.abort();
}

async function answer(conversation) {
  const message = {role: "assistant", content: "", model: conversation.model};
  const run = {abort: new AbortController(), conversation, answer: message, started_ms: performance.now(), first_ms: 0,
               n_pieces: 0, saved_ms: performance.now(), drawn: false, progress: null, prompt_tokens: 0, n_ctx: undefined};
  conversation.messages.push(message);
  conversation.updated_ms = Date.now();
  running.set(conversation.id, run);
  keep(conversation);
  store.rememberOptions(conversation);
  showList();
  showConversation();
  const clock = setInterval(() => draw(run), 500);  // for the seconds that are shown
  try {
    await store.fillImages(conversation);
    const request = chatRequest(conversation, seesImages(models.find(({name}) => name === conversation.model)));
    for await (const object of postStream("/api/chat", request, run.abort.signal)) takeObject(run, object);
    if (!message.stats) throw new ApiError("The answer ended before it was complete.", 0);
  } catch (failure) {
    if (failure.name === "AbortError") message.stopped = true;
    else message.error = failure.message;
  }
  clearInterval(clock);
  if (message.thinking && message.thinking_s === undefined) message.thinking_s = (performance.now() - run.first_ms) / 1000;
  if (running.get(conversation.id) !== run) return;  // deleted meanwhile
  running.delete(conversation.id);
  conversation.updated_ms = Date.now();
  keep(conversation);
  showList();
  updateAnswer(message);
  showButtons();
  showContext();
  setText(byId("spoken"), message.error ? "" : message.stopped ? "Stopped." : "The answer is complete.");
}

function takeObject(run, object) {
  const message = run.answer;
  if (object.progress) {
    run.progress = object.progress;
    run.n_ctx = object.progress.n_ctx ?? run.n_ctx;
    if (object.progress.phase === "prompt") run.prompt_tokens = object.progress.total;
  }
  const {content = "", thinking = ""} = object.message ?? {};
  if (content || thinking) {
    if (run.n_pieces++ === 0) run.first_ms = performance.now();
    if (content && message.thinking && message.thinking_s === undefined)
      message.thinking_s = (performance.now() - run.first_ms) / 1000;
    message.content += content;
    if (thinking) message.thinking = (message.thinking ?? "") + thinking;
  }
  if (object.done)
    message.stats = {answer_tokens: object.eval_count, answer_s: object.eval_duration / 1e9,
                     prompt_tokens: object.prompt_eval_count, cached_tokens: object.prompt_eval_cached_count,
                     first_s: run.first_ms ? (run.first_ms - run.started_ms) / 1000 : undefined, reason: object.done_reason,
                     n_ctx: run.n_ctx};
  if (performance.now() - run.saved_ms > SAVE_EVERY_MS) {
    run.saved_ms = performance.now();
    store.save(run.conversation);
  }
  draw(run);
}

// Once a frame at most, however fast the pieces come.
function draw(run) {
  if (run.drawn) return;
  run.drawn = true;
  requestAnimationFrame(() => {
    run.drawn = false;
    if (run.conversation !== current) return;
    const box = byId("messages");
    const follows = box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_END_PX;
    updateAnswer(run.answer);
    showContext();
    if (follows) box.scrollTop = box.scrollHeight;
  });
}
