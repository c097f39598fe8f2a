// SPDX-License-Identifier: MIT
import assert from "node:assert/strict";
import {test} from "node:test";
import {Conversations, chatRequest, titleOf, toMarkdown} from "../../src/serve/ui/conversations.js";

// localStorage, as far as it is used; full beyond `chars_max`.
class Storage {
  #map = new Map();
  constructor(chars_max = Infinity) {
    this.chars_max = chars_max;
  }
  get length() {
    return this.#map.size;
  }
  key(index) {
    return [...this.#map.keys()][index];
  }
  getItem(key) {
    return this.#map.get(key) ?? null;
  }
  setItem(key, value) {
    if (value.length > this.chars_max) throw new Error("QuotaExceededError");
    this.#map.set(key, value);
  }
  removeItem(key) {
    this.#map.delete(key);
  }
}

// An ImageStore of this process.
class Images extends Map {
  put = async (id, data) => Boolean(this.set(id, data));
  get = async (id) => Map.prototype.get.call(this, id) ?? null;
  remove = async (id) => this.delete(id);
  sweep = async (isWanted) => [...this.keys()].filter((id) => !isWanted(id)).forEach((id) => this.delete(id));
}
const PNG = Buffer.from("\x89PNG\r\n\x1a\n and more", "latin1").toString("base64");
const picture = (id, more = {data: PNG}) => ({id, name: `${id}.png`, type: "image/png", ...more});

const chat = (id, updated_ms, ...messages) => ({id, updated_ms, model: "m", options: {}, messages});
const user = (content) => ({role: "user", content});

test("what was saved is listed, latest first, and loads again", () => {
  const store = new Conversations(new Storage());
  const older = chat("a", 1, user("first"));
  assert.ok(store.save(older) && store.save(chat("b", 2, user("second"))));
  assert.deepEqual(store.list().map(({id, title}) => [id, title]), [["b", "second"], ["a", "first"]]);
  assert.deepEqual(store.load("a"), older);
  store.remove("a");
  assert.equal(store.load("a"), null);
});

test("damaged and foreign entries are passed over, and left alone", () => {
  const storage = new Storage();
  storage.setItem("spillway.chat.x", "{half");
  storage.setItem("spillway.chat.y", '{"id":"z","messages":[]}');
  storage.setItem("other", "1");
  assert.deepEqual(new Conversations(storage).list(), []);
  assert.equal(storage.length, 3);
});

test("a full storage is reported", () => {
  assert.equal(new Conversations(new Storage(10)).save(chat("a", 1, user("long"))), false);
});

test("a new conversation takes the last model and options", () => {
  const store = new Conversations(new Storage());
  store.rememberOptions({model: "m:1", options: {temperature: 0}});
  assert.deepEqual(store.create("n", 5), {id: "n", updated_ms: 5, model: "m:1", options: {temperature: 0}, messages: []});
});

test("only what the user set is sent", () => {
  const conversation = chat("a", 1, user("hi"), {role: "assistant", content: "ho", thinking: "hm", stats: {}}, user("again"));
  assert.deepEqual(chatRequest(conversation), {model: "m", stream: true, progress: true, messages: [
    {role: "user", content: "hi"}, {role: "assistant", content: "ho"}, {role: "user", content: "again"}]});
  conversation.options = {system: "Be brief.", temperature: 0, num_ctx: 8192, think: false};
  const request = chatRequest(conversation);
  assert.deepEqual(request.messages[0], {role: "system", content: "Be brief."});
  assert.deepEqual(request.options, {temperature: 0, num_ctx: 8192});
  assert.equal(request.think, false);
});

test("an answer that failed is not sent back as if the model had said it, and the roles still alternate", () => {
  const conversation = chat("a", 1, user("hi"), {role: "assistant", content: "half", error: "disk"}, user("again"));
  assert.deepEqual(chatRequest(conversation).messages, [user("hi\n\nagain")]);
  assert.equal(conversation.messages[0].content, "hi");
});

test("titles are the first line, cut", () => {
  assert.equal(titleOf(chat("a", 1)), "New chat");
  assert.equal(titleOf(chat("a", 1, user("  one\ntwo"))), "one");
  assert.equal(titleOf(chat("a", 1, user("x".repeat(100)))).length, 60);
});

test("an export holds the whole conversation", () => {
  const conversation = chat("a", 1, user("hi"), {role: "assistant", model: "m2", content: "ho"}, {role: "assistant", content: "", error: "disk"});
  conversation.options = {system: "Be brief."};
  assert.equal(toMarkdown(conversation),
               "# hi\n\nModel: m\n\n## System\n\nBe brief.\n\n## You\n\nhi\n\n## m2\n\nho\n\n## m\n\n> Error: disk\n");
});

test("a chat has the name that it was given", () => {
  assert.equal(titleOf({title: "  My plan ", messages: [user("first")]}), "My plan");
  assert.equal(titleOf({title: " ", messages: [user("first")]}), "first");
  assert.equal(titleOf({messages: [{role: "user", content: "", files: [{name: "notes.txt", text: "x"}]}]}), "notes.txt");
});

test("chats are found by the words that stand anywhere in them", () => {
  const store = new Conversations(new Storage());
  store.save(chat("a", 1, user("About Dams"), {role: "assistant", content: "A spillway lets water past."}));
  store.save({...chat("b", 2, user("hello")), title: "Water"});
  store.save(chat("c", 3, {role: "user", content: "?", files: [{name: "dam.txt", text: "concrete"}]}));
  const found = (words) => store.list(words).map(({id}) => id);
  assert.deepEqual(found("WATER"), ["b", "a"]);
  assert.deepEqual(found("water  dams"), ["a"]);
  assert.deepEqual(found("concrete"), ["c"]);
  assert.deepEqual(found("dam.txt"), ["c"]);
  assert.deepEqual(found("nothing of the kind"), []);
  assert.equal(found("  ").length, 3);
});

test("files go along with the question they were attached to", () => {
  const conversation = chat("a", 1, {role: "user", content: "Why?", files: [{name: "a.txt", text: "x"}]});
  assert.equal(chatRequest(conversation).messages[0].content, "a.txt:\n```\nx\n```\n\nWhy?");
  assert.match(toMarkdown(conversation), /a\.txt:\n```\nx\n```\n\nWhy\?/);
});

test("what was exported is imported under an id of its own", () => {
  const store = new Conversations(new Storage());
  const original = {...chat("a", 5, user("first"), {role: "assistant", content: "yes", thinking: "hm", stats: {answer_tokens: 1}}),
                    title: "Named", options: {temperature: 0}};
  store.save(original);
  const [id] = store.import(JSON.stringify(original), 1000);
  assert.notEqual(id, "a");
  assert.deepEqual(store.load(id), {...original, id});
  assert.equal(store.list().length, 2);
  assert.equal(store.import(JSON.stringify([original, original]), 1000).length, 2);
});

test("a list of messages is a chat, its system message an option", () => {
  const store = new Conversations(new Storage());
  const [id] = store.import('[{"role":"system","content":"Be brief."},{"role":"user","content":"hi"}]', 1000);
  const found = store.load(id);
  assert.deepEqual(found.messages, [user("hi")]);
  assert.equal(found.options.system, "Be brief.");
});

test("what is no chat is not imported, and nothing foreign comes along", () => {
  const store = new Conversations(new Storage());
  for (const text of ["", "{half", "null", "7", "[]", "{}", '{"messages":[]}', '{"messages":[{"role":"king","content":"x"}]}',
                      '{"messages":[{"role":"user","content":7}]}', '[{"role":"user"}]'])
    assert.deepEqual(store.import(text, 1000), [], text);
  const [id] = store.import('{"id":"x","messages":[{"role":"user","content":"hi","onclick":"evil()","files":[{"name":1}]}],"extra":1}', 1000);
  assert.deepEqual(store.load(id).messages, [{role: "user", content: "hi", files: []}]);
  assert.equal(store.load(id).extra, undefined);
});

test("images are kept beside the chat, and found again with it", async () => {
  const storage = new Storage(400);
  const images = new Images();
  const store = new Conversations(storage, images);
  const large = {...picture("i"), data: PNG.repeat(100)};
  assert.ok(store.save(chat("a", 1, {...user("look"), images: [large]})));
  assert.ok(await store.saveImages(chat("a", 1, {...user("look"), images: [large]})));
  const later = new Conversations(storage, images);
  const found = later.load("a");
  assert.deepEqual(found.messages[0].images, [picture("i", {})]);
  assert.equal(await later.fillImages(found), true);
  assert.equal(found.messages[0].images[0].data, large.data);
  assert.equal(await later.fillImages(found), false);
  assert.deepEqual(later.list("i.png").map(({id}) => id), ["a"], "searched by their names");
  later.remove("a");
  assert.equal(images.size, 0);
});

test("images that no chat has are swept, those of a message that is not kept yet are not", async () => {
  const images = new Images([["old", PNG], ["kept", PNG]]);
  const store = new Conversations(new Storage(), images);
  store.save(chat("a", 1, {...user("look"), images: [picture("kept", {})]}));
  await store.saveImages(chat("b", 1, {...user("look"), images: [picture("new")]}));
  await store.sweepImages();
  assert.deepEqual([...images.keys()], ["kept", "new"]);
});

test("a browser that keeps no images says so once, and what is lost is told to the model", async () => {
  const images = new Images();
  images.put = async () => false;
  const store = new Conversations(new Storage(), images);
  const asked = chat("a", 1, {...user("look"), images: [picture("i")]});
  assert.equal(await store.saveImages(asked), false);
  assert.equal(await store.saveImages(asked), true);
  store.save(asked);
  const found = store.load("a");
  await store.fillImages(found);
  assert.ok(found.messages[0].images[0].lost);
  assert.deepEqual(chatRequest(found).messages, [user("[an image, i.png, that you cannot see]\nlook")]);
});

test("images are sent with their message to a model that sees, and named to another", () => {
  const asked = chat("a", 1, {...user(""), images: [picture("i")]}, {role: "assistant", content: "", error: "busy"},
                     {...user("and this?"), images: [picture("j", {data: "QUFB"})]});
  assert.deepEqual(chatRequest(asked).messages, [{...user("and this?"), images: [PNG, "QUFB"]}]);
  assert.deepEqual(chatRequest(asked, false).messages,
                   [user("[an image, i.png, that you cannot see]\n\n[an image, j.png, that you cannot see]\nand this?")]);
  assert.equal(titleOf(asked), "i.png");
  assert.match(toMarkdown(asked), /## You\n\n\[image: i\.png\]/);
});

test("images are exported with their chat and imported under ids of their own; what is no image is left out", async () => {
  const images = new Images();
  const store = new Conversations(new Storage(), images);
  const [id] = store.import(JSON.stringify(chat("a", 1, {...user("look"), images: [picture("i"), {data: "PHN2Zy8+"}, {data: "%"}, 7, null]})), 1000);
  const found = store.load(id);
  assert.equal(found.messages[0].images.length, 1);
  assert.notEqual(found.messages[0].images[0].id, "i");
  await store.fillImages(found);
  assert.equal(found.messages[0].images[0].data, PNG);
});
