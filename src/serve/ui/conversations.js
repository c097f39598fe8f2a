// SPDX-License-Identifier: MIT
// Conversations, kept in the browser: one entry of `storage` (localStorage, or a Map-like stand-in) each, so that two
// pages at once do not overwrite each other's. What cannot be read is not shown, and left alone. The data of images is in
// a store of its own, by id; a message has it (`images: [{id, name, type, data}]`) once it was asked for.

import {imageType} from "./attached_image.js";
import {withFiles} from "./attached_text.js";
import {requestOptions} from "./sampling.js";

const PREFIX = "spillway.chat.";
const DEFAULTS = "spillway.options";
const TITLE_CHARS_MAX = 60;

export class Conversations {
  #storage;
  #images;
  #kept = new Set();  // ids of images that the store has

  // `images`: an ImageStore, or one like it.
  constructor(storage, images) {
    this.#storage = storage;
    this.#images = images;
  }

  // Latest first: {id, title, updated_ms}. `words`: only those in which each of them stands, in whatever case.
  list(words = "") {
    const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
    const found = [];
    for (let index = 0; index < this.#storage.length; ++index) {
      const key = this.#storage.key(index);
      if (!key.startsWith(PREFIX)) continue;
      const conversation = this.load(key.slice(PREFIX.length));
      if (conversation && (wanted.length === 0 || holdsAll(conversation, wanted)))
        found.push({id: conversation.id, title: titleOf(conversation), updated_ms: conversation.updated_ms});
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

  // Of every image that has its data; false: the browser refuses one. After save(): what no conversation has is swept.
  async saveImages(conversation) {
    const added = imagesOf(conversation).filter(({id, data}) => data && !this.#kept.has(id));
    added.forEach(({id}) => this.#kept.add(id));
    const kept = await Promise.all(added.map(({id, data}) => this.#images.put(id, data)));
    return kept.every(Boolean);
  }

  // Gives every image its data, or `lost`. Whether one got either.
  async fillImages(conversation) {
    const wanting = imagesOf(conversation).filter(({data, lost}) => !data && !lost);
    await Promise.all(wanting.map(async (image) => {
      const data = await this.#images.get(image.id);
      if (data) image.data = data;
      else image.lost = true;
    }));
    return wanting.length > 0;
  }

  // Images that no conversation has: of messages that were edited away.
  sweepImages() {
    const wanted = new Set(this.list().flatMap(({id}) => imagesOf(this.load(id)).map((image) => image.id)));
    return this.#images.sweep((id) => wanted.has(id) || this.#kept.has(id));
  }

  // The ids of what `text` holds: one conversation, or a list of them, as they were exported, or a list of messages. Each
  // gets an id of its own, so that none is replaced.
  import(text, now_ms) {
    const found = parse(text);
    const list = Array.isArray(found) && found.every((each) => isMessage(each)) && found.length > 0 ? [{messages: found}]
      : Array.isArray(found) ? found : [found];
    const ids = [];
    for (const each of list) {
      const conversation = imported(each, `${now_ms.toString(36)}${ids.length}${Math.random().toString(36).slice(2, 8)}`, now_ms);
      if (!conversation || !this.save(conversation)) continue;
      ids.push(conversation.id);
      this.saveImages(conversation);
    }
    return ids;
  }

  remove(id) {
    for (const image of imagesOf(this.load(id))) {
      this.#images.remove(image.id);
      this.#kept.delete(image.id);
    }
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
      this.#storage.setItem(key, JSON.stringify(value, withoutData));
      return true;
    } catch {
      return false;
    }
  }
}

const imagesOf = (conversation) => (conversation?.messages ?? []).flatMap(({images = []}) => images);

const withoutData = (key, value) => (key === "images" && Array.isArray(value) ? value.map(({id, name, type}) => ({id, name, type})) : value);

function holdsAll(conversation, words) {
  const text = [titleOf(conversation), ...conversation.messages.flatMap(({content, files = [], images = []}) =>
    [content, ...files.flatMap((file) => [file.name, file.text]), ...images.map(({name}) => name)])].join("\n").toLowerCase();
  return words.every((word) => text.includes(word));
}

const isMessage = (each) =>
  (each?.role === "user" || each?.role === "assistant" || each?.role === "system") && typeof each.content === "string";

// Only what is known to be right: a file may come from anywhere.
function imported(found, id, now_ms) {
  if (!Array.isArray(found?.messages) || found.messages.length === 0 || !found.messages.every(isMessage)) return null;
  const text = (value) => (typeof value === "string" && value !== "" ? value : undefined);
  const options = typeof found.options === "object" && found.options !== null ? {...found.options} : {};
  const system = found.messages.find(({role}) => role === "system");
  if (system && !options.system) options.system = system.content;
  const messages = found.messages.filter(({role}) => role !== "system").map((message, at) => {
    const {role, content} = message;
    const kept = {role, content};
    for (const name of ["thinking", "model", "error"]) if (text(message[name])) kept[name] = message[name];
    if (typeof message.stats === "object" && message.stats !== null) kept.stats = message.stats;
    if (Array.isArray(message.files))
      kept.files = message.files.filter((file) => text(file?.name) && typeof file.text === "string")
                                .map((file) => ({name: file.name, text: file.text}));
    if (Array.isArray(message.images))
      kept.images = message.images.flatMap((image, index) => importedImage(image, `${id}.${at}.${index}`));
    return kept;
  });
  const updated_ms = Number.isFinite(found.updated_ms) ? found.updated_ms : now_ms;
  return {id, updated_ms, model: text(found.model) ?? "", title: text(found.title), options, messages};
}

// Its data tells what it is.
function importedImage(image, id) {
  if (typeof image?.data !== "string" || !/^[A-Za-z0-9+/]+={0,2}$/.test(image.data)) return [];
  const type = imageType(Uint8Array.from(atob(image.data.slice(0, 64)), (c) => c.charCodeAt(0)));
  return type === "" ? [] : [{id, name: typeof image.name === "string" ? image.name : "image", type, data: image.data}];
}

function parse(text) {
  try {
    return text === null ? null : JSON.parse(text);
  } catch {
    return null;
  }
}

// The name that the user gave it, else how it begins.
export function titleOf(conversation) {
  if (conversation.title?.trim()) return conversation.title.trim();
  const question = conversation.messages.find((message) => message.role === "user");
  const first = question?.content.trim() || question?.images?.[0]?.name || question?.files?.[0]?.name || "";
  const line = first.trim().split("\n")[0];
  if (line === "") return "New chat";
  return line.length > TITLE_CHARS_MAX ? `${line.slice(0, TITLE_CHARS_MAX - 1).trimEnd()}…` : line;
}

// The body of /api/chat. What the user left empty is not sent: the model's own defaults hold. A model that sees no images
// (`sees`) reads where one was, and so does every model where the browser has lost it.
export function chatRequest(conversation, sees = true) {
  const {system, think} = conversation.options;
  const messages = [];
  for (const {role, content: own, files, images: all = [], error} of conversation.messages) {
    const images = all.filter(({data}) => sees && data).map(({data}) => data);
    const unseen = all.filter(({data}) => !sees || !data).map(({name}) => `[an image, ${name}, that you cannot see]`);
    const content = [...unseen, withFiles(own, files)].filter(Boolean).join("\n");
    if ((content === "" && images.length === 0) || error) continue;
    // Where an answer failed two questions meet; many templates refuse a conversation that does not alternate.
    const last = messages.at(-1)?.role === role ? messages.at(-1) : null;
    if (last) last.content += last.content && content ? `\n\n${content}` : content;
    else messages.push({role, content});
    if (images.length > 0) messages.at(-1).images = [...(messages.at(-1).images ?? []), ...images];
  }
  if (system?.trim()) messages.unshift({role: "system", content: system});
  const request = {model: conversation.model, messages, stream: true, progress: true};
  const options = requestOptions(conversation.options);
  if (Object.keys(options).length > 0) request.options = options;
  if (typeof think === "boolean") request.think = think;
  return request;
}

export function toMarkdown(conversation) {
  const parts = [`# ${titleOf(conversation)}`, `Model: ${conversation.model}`];
  if (conversation.options.system?.trim()) parts.push("## System", conversation.options.system.trim());
  for (const message of conversation.messages) {
    parts.push(message.role === "user" ? "## You" : `## ${message.model ?? conversation.model}`);
    for (const {name} of message.images ?? []) parts.push(`[image: ${name}]`);
    const content = withFiles(message.content, message.files).trim();
    if (content) parts.push(content);
    if (message.error) parts.push(`> Error: ${message.error}`);
  }
  return `${parts.join("\n\n")}\n`;
}
