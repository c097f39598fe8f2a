// SPDX-License-Identifier: MIT
// Conversations, kept in the browser: one entry of `storage` (localStorage, or a Map-like stand-in) each, so that two
// pages at once do not overwrite each other's. What cannot be read is not shown, and left alone.

const PREFIX = "spillway.chat.";
const DEFAULTS = "spillway.options";
const TITLE_CHARS_MAX = 60;

export class Conversations {
  #storage;

  constructor(storage) {
    this.#storage = storage;
  }

  // Latest first: {id, title, updated_ms}.
  list() {
    const found = [];
    for (let index = 0; index < this.#storage.length; ++index) {
      const key = this.#storage.key(index);
      if (!key.startsWith(PREFIX)) continue;
      const conversation = this.load(key.slice(PREFIX.length));
      if (conversation) found.push({id: conversation.id, title: titleOf(conversation), updated_ms: conversation.updated_ms});
    }
    return found.sort((a, b) => b.updated_ms - a.updated_ms);
  }

  // null: there is none, or it is damaged.
  load(id) {
    const conversation = parse(this.#storage.getItem(PREFIX + id));
    return conversation?.id === id && Array.isArray(conversation.messages) ? conversation : null;
  }

  // false: the browser refuses, its room for this page is used up.
  save(conversation) {
    return this.#set(PREFIX + conversation.id, conversation);
  }

  remove(id) {
    this.#storage.removeItem(PREFIX + id);
  }

  // A new one takes the model and the options that were used last.
  create(id, now_ms) {
    const last = parse(this.#storage.getItem(DEFAULTS)) ?? {};
    return {id, updated_ms: now_ms, model: last.model ?? "", options: last.options ?? {}, messages: []};
  }

  rememberOptions(conversation) {
    this.#set(DEFAULTS, {model: conversation.model, options: conversation.options});
  }

  #set(key, value) {
    try {
      this.#storage.setItem(key, JSON.stringify(value));
      return true;
    } catch {
      return false;
    }
  }
}

function parse(text) {
  try {
    return text === null ? null : JSON.parse(text);
  } catch {
    return null;
  }
}

export function titleOf(conversation) {
  const first = conversation.messages.find((message) => message.role === "user")?.content ?? "";
  const line = first.trim().split("\n")[0];
  if (line === "") return "New chat";
  return line.length > TITLE_CHARS_MAX ? `${line.slice(0, TITLE_CHARS_MAX - 1).trimEnd()}…` : line;
}

// The body of /api/chat. What the user left empty is not sent: the model's own defaults hold.
export function chatRequest(conversation) {
  const {system, temperature, num_ctx, think} = conversation.options;
  const messages = [];
  for (const {role, content, error} of conversation.messages) {
    if (content === "" || error) continue;
    // Where an answer failed two questions meet; many templates refuse a conversation that does not alternate.
    if (messages.at(-1)?.role === role) messages.at(-1).content += `\n\n${content}`;
    else messages.push({role, content});
  }
  if (system?.trim()) messages.unshift({role: "system", content: system});
  const request = {model: conversation.model, messages, stream: true};
  const options = {};
  if (Number.isFinite(temperature)) options.temperature = temperature;
  if (Number.isFinite(num_ctx)) options.num_ctx = num_ctx;
  if (Object.keys(options).length > 0) request.options = options;
  if (typeof think === "boolean") request.think = think;
  return request;
}

export function toMarkdown(conversation) {
  const parts = [`# ${titleOf(conversation)}`, `Model: ${conversation.model}`];
  if (conversation.options.system?.trim()) parts.push("## System", conversation.options.system.trim());
  for (const message of conversation.messages) {
    parts.push(message.role === "user" ? "## You" : `## ${message.model ?? conversation.model}`);
    if (message.content) parts.push(message.content.trim());
    if (message.error) parts.push(`> Error: ${message.error}`);
  }
  return `${parts.join("\n\n")}\n`;
}
