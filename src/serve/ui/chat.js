// SPDX-License-Identifier: MIT
// The chat. A conversation that is being answered goes on while another one is shown; each has one answer at a time.
import {ApiError, postStream} from "./api.js";
import {Conversations, chatRequest, titleOf, toMarkdown} from "./conversations.js";
import {announce, byId, download, h, setText} from "./dom.js";
import {formatCount, formatRate, formatSeconds} from "./format.js";
import {copyText, renderMarkdown} from "./render.js";

const SAVE_EVERY_MS = 2000;  // of an answer that is being written
const NEAR_END_PX = 80;      // so close to the end, the page follows the answer

const store = new Conversations(localStorage);
const running = new Map();     // id of a conversation -> {abort, conversation, answer, ...}
const elements = new WeakMap();  // message -> its parts on the page
let current = store.create(newId(), Date.now());
let models = [];

// Not crypto.randomUUID: browsers lack it on plain http.
function newId() {
  return `${Date.now().toString(36)}${Math.random().toString(36).slice(2, 8)}`;
}

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
  byId("model").addEventListener("change", () => {
    current.model = byId("model").value;
    store.rememberOptions(current);
    keep(current);
    showConversation();
  });
  byId("options").addEventListener("submit", (event) => event.preventDefault());
  byId("options").addEventListener("change", readOptions);
  byId("show-options").addEventListener("click", () => toggle("show-options", "options"));
  byId("show-sidebar").addEventListener("click", () => showSidebar(!byId("sidebar").classList.contains("open")));
  byId("export-markdown").addEventListener("click", () => exportAs("md", "text/markdown", toMarkdown(current)));
  byId("export-json").addEventListener("click", () =>
    exportAs("json", "application/json", `${JSON.stringify(current, null, 2)}\n`));
  byId("delete-chat").addEventListener("click", () => removeChat(current.id));
  document.addEventListener("click", (event) => {
    if (!byId("more").contains(event.target)) byId("more").open = false;
    const inside = byId("sidebar").contains(event.target) || byId("show-sidebar").contains(event.target);
    if (!inside) showSidebar(false);
  });
  // The last lines stay in view when the options open or a phone's keyboard comes up.
  let height = 0;
  new ResizeObserver(() => {
    const box = byId("messages");
    if (box.scrollHeight - box.scrollTop - height < NEAR_END_PX) box.scrollTop = box.scrollHeight;
    height = box.clientHeight;
  }).observe(byId("messages"));
  addEventListener("pagehide", () => running.forEach(({conversation}) => store.save(conversation)));
  const latest = store.list()[0];
  if (latest) current = store.load(latest.id);
  showList();
  showConversation();
}

// ---- what app.js asks for

export function showModels(found) {
  models = found.filter((model) => !model.capabilities || model.capabilities.includes("completion"));
  if (!current.model && models.length > 0) current.model = models[0].name;
  showModelChoice();
  if (current.messages.length === 0) showConversation();
}

export function chatWith(model) {
  newChat();
  current.model = model;
  store.rememberOptions(current);
  showModelChoice();
  showConversation();
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

function exportAs(ending, type, text) {
  byId("more").open = false;
  const name = titleOf(current).toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "") || "chat";
  download(`${name}.${ending}`, type, text);
}

// An empty conversation is not worth an entry.
function keep(conversation) {
  if (conversation.messages.length === 0) return;
  if (!store.save(conversation)) announce("The browser's storage is full: this chat is not kept. Delete an older one.");
}

function showList() {
  const list = store.list();
  if (current.messages.length > 0 && !list.some(({id}) => id === current.id))
    list.unshift({id: current.id, title: titleOf(current)});
  byId("conversation-list").replaceChildren(...list.map(({id, title}) =>
    h("li", {}, h("button.quiet", {type: "button", title, "aria-current": id === current.id ? "true" : null,
                                   onclick: () => openConversation(running.get(id)?.conversation ?? store.load(id) ?? current)},
                  title, running.has(id) ? h("span.dot", {"aria-label": "being answered"}) : null))));
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

// ---- options

function readOptions() {
  const number = (name) => {
    const field = byId(`option-${name}`);
    return field.value.trim() === "" || !field.checkValidity() ? undefined : Number(field.value);
  };
  const think = byId("option-think").value;
  current.options = {
    system: byId("option-system").value,
    temperature: number("temperature"),
    num_ctx: number("num_ctx"),
    think: think === "" ? undefined : think === "true",
  };
  for (const name of ["temperature", "num_ctx"]) byId(`option-${name}`).reportValidity();
  store.rememberOptions(current);
  keep(current);
  markOptions();
}

function showOptions() {
  const {system, temperature, num_ctx, think} = current.options;
  byId("option-system").value = system ?? "";
  byId("option-temperature").value = temperature ?? "";
  byId("option-num_ctx").value = num_ctx ?? "";
  byId("option-think").value = think === undefined ? "" : String(think);
  markOptions();
}

function markOptions() {
  const {system, ...others} = current.options;
  const n = Object.values(others).filter((value) => value !== undefined).length + (system?.trim() ? 1 : 0);
  setText(byId("show-options"), n > 0 ? `Options (${n})` : "Options");
}

function toggle(button, panel) {
  byId(panel).hidden = !byId(panel).hidden;
  byId(button).setAttribute("aria-expanded", String(!byId(panel).hidden));
  if (!byId(panel).hidden) byId(panel).querySelector("textarea, input, select").focus();
}

function showSidebar(open) {
  byId("sidebar").classList.toggle("open", open);
  byId("show-sidebar").setAttribute("aria-expanded", String(open));
}

// ---- messages

function showConversation() {
  const box = byId("messages");
  box.replaceChildren(...(current.messages.length > 0 ? current.messages.map(messageElement) : [emptyChat()]));
  box.scrollTop = box.scrollHeight;
  showOptions();
  showModelChoice();
  showButtons();
}

function emptyChat() {
  if (models.length === 0 && !current.model)
    return h("div.empty", {}, h("h1", {}, "No models yet"),
             h("p.muted", {}, "Pull one on the page ", h("a", {href: "#models"}, "Models"), ", or with ",
               h("code", {}, "spillway pull"), "."));
  return h("div.empty", {}, h("h1", {}, current.model || "Chat"),
           h("p.muted", {}, "What you write stays between this browser and your server."));
}

function showButtons() {
  const busy = running.has(current.id);
  byId("send").hidden = busy;
  byId("stop").hidden = !busy;
  byId("messages").setAttribute("aria-busy", String(busy));
}

function messageElement(message) {
  const parts = {body: h("div.markdown")};
  if (message.role === "user") {
    parts.body = h("div.text", {}, message.content);
    const actions = h("footer", {}, h("button.quiet", {type: "button", onclick: () => editFrom(message)}, "Edit"));
    return h("article.message.user", {"aria-label": "You"}, parts.body, actions);
  }
  parts.thought = h("div.markdown");
  parts.summary = h("summary", {}, "Thinking");
  parts.thinking = h("details.thinking", {hidden: true}, parts.summary, parts.thought);
  parts.thinking.addEventListener("toggle", () => updateAnswer(message));
  parts.waiting = h("p.waiting", {hidden: true});
  parts.failure = h("p.failure", {role: "alert", hidden: true});
  parts.stats = h("span.stats");
  const copy = h("button.quiet", {type: "button", onclick: () => copyText(copy, message.content)}, "Copy");
  const retry = h("button.quiet", {type: "button", onclick: () => answerAgain(message)}, "Again");
  parts.footer = h("footer", {}, parts.stats, copy, retry);
  elements.set(message, parts);
  const name = message.model ?? current.model;
  const article = h("article.message.assistant", {"aria-label": name}, h("header", {}, name), parts.thinking, parts.waiting,
                    parts.body, parts.failure, parts.footer);
  updateAnswer(message);
  return article;
}

function updateAnswer(message) {
  const parts = elements.get(message);
  if (!parts) return;
  const run = runOf(message);
  const box = byId("messages");
  const follows = box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_END_PX;
  renderMarkdown(parts.body, message.content);
  parts.thinking.hidden = !message.thinking;
  if (message.thinking) {
    const over = message.content !== "" || !run;
    const took = message.thinking_s ?? (run?.first_ms ? (performance.now() - run.first_ms) / 1000 : undefined);
    setText(parts.summary, `${over ? "Thought" : "Thinking"}${took >= 1 ? ` for ${formatSeconds(took)}` : over ? " for a moment" : ""}`);
    if (parts.thinking.open) renderMarkdown(parts.thought, message.thinking);
  }
  parts.waiting.hidden = !run || run.n_pieces > 0;
  if (!parts.waiting.hidden)
    setText(parts.waiting, `Waiting for the first token, ${Math.floor((performance.now() - run.started_ms) / 1000)} s`);
  parts.failure.hidden = !message.error;
  setText(parts.failure, message.error ?? "");
  setText(parts.stats, statsText(message, run));
  parts.footer.classList.toggle("busy", Boolean(run));
  if (follows) box.scrollTop = box.scrollHeight;
}

function runOf(message) {
  for (const run of running.values()) if (run.answer === message) return run;
  return null;
}

// While it is written, a piece stands for a token; at the end the server says the true numbers.
function statsText(message, run) {
  if (run) {
    const seconds = (performance.now() - run.first_ms) / 1000;
    return run.n_pieces > 1 && seconds > 0 ? `≈ ${formatRate((run.n_pieces - 1) / seconds)}` : "";
  }
  const stats = message.stats;
  const parts = [];
  if (stats?.answer_tokens > 0 && stats.answer_s > 0) {
    parts.push(formatRate(stats.answer_tokens / stats.answer_s), `${formatCount(stats.answer_tokens)} tokens`);
    if (Number.isFinite(stats.first_s)) parts.push(`first after ${formatSeconds(stats.first_s)}`);
    const cached = stats.cached_tokens > 0 ? `, ${formatCount(stats.cached_tokens)} of them kept from before` : "";
    if (stats.prompt_tokens > 0) parts.push(`prompt ${formatCount(stats.prompt_tokens)}${cached}`);
  }
  if (message.stopped) parts.push("stopped");
  if (stats?.reason === "length") parts.push("cut at the length limit");
  return parts.join(" · ");
}

// ---- sending

function fitPrompt() {
  const prompt = byId("prompt");
  prompt.style.height = "auto";
  prompt.style.height = `${Math.min(prompt.scrollHeight + 2, innerHeight * 0.4)}px`;
}

function send() {
  const text = byId("prompt").value;
  if (text.trim() === "" || running.has(current.id)) return;
  if (!current.model) {
    announce("Choose a model first.");
    return;
  }
  current.messages.push({role: "user", content: text});
  byId("prompt").value = "";
  fitPrompt();
  answer(current);
}

function editFrom(message) {
  if (running.has(current.id)) return;
  byId("prompt").value = message.content;
  current.messages.length = current.messages.indexOf(message);
  keep(current);
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
  const request = chatRequest(conversation);
  const message = {role: "assistant", content: "", model: conversation.model};
  const run = {abort: new AbortController(), conversation, answer: message, started_ms: performance.now(), first_ms: 0,
               n_pieces: 0, saved_ms: performance.now(), drawn: false};
  conversation.messages.push(message);
  conversation.updated_ms = Date.now();
  running.set(conversation.id, run);
  keep(conversation);
  store.rememberOptions(conversation);
  showList();
  showConversation();
  const clock = setInterval(() => draw(run), 500);  // for the seconds that are shown
  try {
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
  setText(byId("spoken"), message.error ? "" : message.stopped ? "Stopped." : "The answer is complete.");
}

function takeObject(run, object) {
  const message = run.answer;
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
                     first_s: run.first_ms ? (run.first_ms - run.started_ms) / 1000 : undefined, reason: object.done_reason};
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
    if (run.conversation === current) updateAnswer(run.answer);
  });
}
