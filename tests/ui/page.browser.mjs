// SPDX-License-Identifier: MIT
// The page in a real, headless Chromium, against tests/ui/fake_server.mjs. Any error on the page's console, and any request
// to another host, fails the test it happens in.
import assert from "node:assert/strict";
import {mkdtempSync, readFileSync, rmSync} from "node:fs";
import {createRequire} from "node:module";
import {tmpdir} from "node:os";
import {join} from "node:path";
import {after, before, test} from "node:test";
import {fileURLToPath} from "node:url";
import {startFakeServer} from "./fake_server.mjs";

const {chromium} = createRequire(process.env.SPILLWAY_UI_PLAYWRIGHT)("playwright-core");
const uiFolder = fileURLToPath(new URL("../../src/serve/ui", import.meta.url));
const shots = process.env.SPILLWAY_UI_SHOTS;
const DESKTOP = {width: 1280, height: 860};
const PHONE = {width: 390, height: 844};

let profile;
let browser;  // its profile is empty at the start; each test has a context of its own in it

before(async () => {
  profile = mkdtempSync(join(tmpdir(), "spillway-ui-"));
  browser = await chromium.launch({executablePath: process.env.SPILLWAY_UI_CHROMIUM,
                                   env: {...process.env, HOME: profile, XDG_CONFIG_HOME: profile, XDG_CACHE_HOME: profile},
                                   args: ["--headless", "--no-sandbox", "--disable-gpu"]});
});

after(async () => {
  await browser?.close();
  rmSync(profile, {recursive: true, force: true});
});

// A page on a fresh server; `options`: those of the context and of the fake server.
function onPage(name, path, options, run) {
  test(name, async () => {
    const server = await startFakeServer({uiFolder, ...options.server});
    const context = await browser.newContext({viewport: DESKTOP, ...options.context});
    const page = await context.newPage();
    const wrong = [];
    page.on("pageerror", (error) => wrong.push(error.stack));
    page.on("console", (message) => {
      // The browser's own line about a status that the test asked for says nothing about the page.
      if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) wrong.push(message.text());
    });
    page.on("request", (request) => {
      if (!request.url().startsWith(server.url) && !/^(blob|data):/.test(request.url())) wrong.push(`asks ${request.url()}`);
    });
    page.setDefaultTimeout(20_000);
    try {
      await page.goto(server.url + path);
      await run(page, server, context);
      assert.deepEqual(wrong, []);
    } finally {
      await context.close();
      await server.close();
    }
  });
}

async function ask(page, text) {
  await page.fill("#prompt", text);
  await page.press("#prompt", "Enter");
}
const answered = (page) => page.waitForSelector("#send:not([hidden])");
const lastAnswer = (page) => page.locator(".message.assistant").last();
const modelChosen = (page) => page.waitForFunction(() => document.getElementById("model").value !== "");
const requests = (server, path) => server.seen.filter((each) => each.path === path);

onPage("an answer streams in, with thinking folded, markdown shown and the true rate", "/ui", {}, async (page, server) => {
  await modelChosen(page);
  await ask(page, "What is a spillway?");
  await answered(page);
  const answer = lastAnswer(page);
  assert.equal(await answer.locator(".markdown strong").first().innerText(), "in a controlled way");
  assert.equal(await answer.locator("table tbody tr").count(), 3);
  assert.match(await answer.locator("figure.code code").innerText(), /^def speed/);
  assert.equal(await answer.locator("details.thinking").evaluate((details) => details.open), false);
  await answer.locator("details.thinking summary").click();
  await answer.locator("details.thinking p", {hasText: "The user wants to know what a spillway is."}).waitFor();
  assert.match(await answer.locator(".stats").innerText(), /^6\.00 tok\/s · 120 tokens · first after .* · prompt 812, 340 of them kept from before$/);
  const [{body}] = requests(server, "/api/chat");
  assert.deepEqual(body, {model: "gpt-oss:120b", messages: [{role: "user", content: "What is a spillway?"}], stream: true,
                          progress: true});
});

onPage("/ is the page too", "/", {}, async (page) => {
  await modelChosen(page);
  assert.equal(await page.title(), "Spillway");
});

onPage("embedding models are not offered for chat", "/ui", {}, async (page) => {
  await modelChosen(page);
  await page.waitForFunction(() => document.querySelectorAll("#model option").length > 1);
  assert.deepEqual(await page.locator("#model option").allInnerTexts(), ["gpt-oss:120b", "llama3.3:70b", "qwen3-vl:30b"]);
});

onPage("Esc stops an answer and closes the connection; what came stays", "/ui", {}, async (page, server) => {
  await modelChosen(page);
  await ask(page, "endless");
  await page.waitForFunction(() => document.querySelector(".message.assistant")?.textContent.includes("more more"));
  await page.waitForFunction(() => document.querySelector(".stats").textContent.startsWith("≈"));
  await page.keyboard.press("Escape");
  await answered(page);
  assert.match(await lastAnswer(page).locator(".stats").innerText(), /stopped/);
  assert.match(await lastAnswer(page).innerText(), /more more/);
  for (let tries = 0; tries < 500 && !server.seen.some(({method}) => method === "CLOSED"); ++tries)
    await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 10)));
  assert.ok(server.seen.some(({method}) => method === "CLOSED"));
});

onPage("the stop button stops too, and another conversation may be read meanwhile", "/ui", {}, async (page) => {
  await modelChosen(page);
  await ask(page, "endless");
  await page.waitForSelector("#stop:not([hidden])");
  await page.keyboard.press("Alt+n");
  assert.ok(await page.locator("#send").isVisible());
  await page.locator("#conversation-list button").first().click();
  await page.locator("#stop").click();
  await answered(page);
  assert.match(await lastAnswer(page).locator(".stats").innerText(), /stopped/);
});

onPage("errors are shown as the server gives them", "/ui", {}, async (page) => {
  await modelChosen(page);
  for (const [word, sentence] of [
    ["refuse", "server busy, please try again. maximum pending requests exceeded"],
    ["fail", "blk.7.ffn_up_exps.weight: read failed twice at offset 4096: Input/output error"],
    ["cut", "The answer ended before it was complete."]]) {
    await ask(page, word);
    await answered(page);
    assert.equal(await lastAnswer(page).locator(".failure").innerText(), sentence);
  }
});

onPage("what a model writes is text: no script, no image, no strange link", "/ui", {}, async (page) => {
  await modelChosen(page);
  await ask(page, "hostile");
  await answered(page);
  assert.equal(await page.title(), "Spillway");
  assert.equal(await lastAnswer(page).locator("script, img, a[href^='javascript']").count(), 0);
  assert.match(await lastAnswer(page).locator(".markdown").last().innerText(), /<script>document\.title/);
});

onPage("options are sent and kept; a new chat takes them over", "/ui", {}, async (page, server) => {
  await modelChosen(page);
  await page.click("#show-options");
  await page.fill("#option-system", "Be brief.");
  await page.fill("#option-temperature", "0.2");
  await page.fill("#option-num_ctx", "8192");
  await page.selectOption("#option-think", "false");
  await page.selectOption("#model", "llama3.3:70b");
  await ask(page, "hello");
  await answered(page);
  const {body} = requests(server, "/api/chat")[0];
  assert.deepEqual(body, {model: "llama3.3:70b", stream: true, progress: true, think: false, options: {temperature: 0.2, num_ctx: 8192},
                          messages: [{role: "system", content: "Be brief."}, {role: "user", content: "hello"}]});
  await page.keyboard.press("Alt+n");
  assert.equal(await page.inputValue("#option-temperature"), "0.2");
  assert.equal(await page.innerText("#show-options"), "Options (4)");
});

onPage("conversations outlive a reload, can be edited, asked again, exported and deleted", "/ui", {}, async (page, server) => {
  await modelChosen(page);
  await ask(page, "first question");
  await answered(page);
  await page.reload();
  await modelChosen(page);
  assert.equal(await page.locator(".message.user .text").innerText(), "first question");
  await ask(page, "second");
  await answered(page);
  assert.equal(requests(server, "/api/chat").at(-1).body.messages.length, 3);

  await lastAnswer(page).locator("footer button", {hasText: "Again"}).click();
  await answered(page);
  assert.equal(requests(server, "/api/chat").at(-1).body.messages.length, 3);

  await page.locator(".message.user").last().hover();
  await page.locator(".message.user").last().locator("button").click();
  assert.equal(await page.inputValue("#prompt"), "second");
  assert.equal(await page.locator(".message").count(), 2);

  for (const [button, pattern] of [["#export-markdown", /^# first question\n[^]*## You\n\nfirst question\n/], ["#export-json", /"role": "user"/]]) {
    await page.click("#more summary");
    const [download] = await Promise.all([page.waitForEvent("download"), page.click(button)]);
    assert.match(download.suggestedFilename(), /^first-question\.(md|json)$/);
    assert.match(readFileSync(await download.path(), "utf8"), pattern);
  }
  page.on("dialog", (dialog) => dialog.accept());
  await page.click("#more summary");
  await page.click("#delete-chat");
  assert.equal(await page.locator(".message").count(), 0);
  assert.equal(await page.evaluate(() => Object.keys(localStorage).filter((key) => key.startsWith("spillway.chat.")).length), 0);
});

onPage("while one waits, the queue, the load and the prompt are told apart, with the time left", "/ui", {}, async (page, server) => {
  await modelChosen(page);
  await ask(page, "please answer slowly");
  const waiting = page.locator(".message .waiting");
  await waiting.filter({hasText: "Waiting for the server"}).waitFor();
  const bar = page.locator(".message .wait progress");
  server.go();
  await waiting.filter({hasText: "Waiting behind 2 other requests"}).waitFor();
  assert.ok(!(await bar.isVisible()));
  server.go();
  await waiting.filter({hasText: "Loading gpt-oss:120b: 15.20 GiB of 60.80 GiB (25 %), about 30 s left"}).waitFor();
  assert.equal(await bar.evaluate((element) => element.value), 0.25);
  server.go();
  await waiting.filter({hasText: "Reading the prompt: 3,072 of 12,940 tokens (24 %), about 1 min 18 s left"}).waitFor();
  assert.equal(await page.innerText("#context-text"), "Context: 12,940 of 16,384 tokens");
  server.go();
  await answered(page);
  assert.ok(!(await waiting.isVisible()));
  assert.match(await page.innerText("#context-text"), /^Context: 14,400 of 16,384 tokens: nearly full$/);
  await page.reload();
  await modelChosen(page);
  assert.match(await page.innerText("#context-text"), /^Context: 14,400 of 16,384/, "also when it is opened again");
});

onPage("an empty chat says how its model will run, before it is loaded", "/ui", {}, async (page) => {
  await modelChosen(page);
  await page.locator("#forecast", {hasText: "It streams from the disk (60.80 GiB of weights, 48.00 GiB of memory); about 6.40 tok/s"}).waitFor();
  await page.selectOption("#model", "llama3.3:70b");
  await page.locator("#forecast", {hasText: "the budget of 30 GiB is too small"}).waitFor();
});

onPage("a model without a template says so", "/ui", {server: {base: "llama3.3:70b"}}, async (page) => {
  await modelChosen(page);
  assert.ok(!(await page.locator("#model-note").isVisible()));
  await page.selectOption("#model", "llama3.3:70b");
  await page.locator("#model-note", {hasText: "has no chat template"}).waitFor();
  await page.selectOption("#model", "gpt-oss:120b");
  await page.waitForSelector("#model-note", {state: "hidden"});
});

onPage("sampling options show the model's own, and are kept as presets of a model", "/ui", {}, async (page, server) => {
  await modelChosen(page);
  await page.click("#show-options");
  await page.waitForFunction(() => document.getElementById("option-temperature").placeholder === "1");
  assert.equal(await page.getAttribute("#option-top_p", "placeholder"), "0.95");
  assert.equal(await page.getAttribute("#option-system", "placeholder"), "You are kind.");
  await page.fill("#option-temperature", "0.3");
  await page.fill("#option-top_k", "20");
  await page.fill("#option-seed", "7");
  await page.press("#option-seed", "Tab");
  await page.click("#preset-save");
  await page.fill("#name", "precise");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.getElementById("preset").value === "=precise");
  await page.selectOption("#preset", "");
  assert.equal(await page.inputValue("#option-temperature"), "");
  assert.equal(await page.innerText("#show-options"), "Options");
  await page.selectOption("#preset", "=precise");
  assert.equal(await page.inputValue("#option-top_k"), "20");
  await ask(page, "hello");
  await answered(page);
  assert.deepEqual(requests(server, "/api/chat")[0].body.options, {temperature: 0.3, top_k: 20, seed: 7});
  await page.selectOption("#model", "llama3.3:70b");
  assert.ok(!(await page.locator("#preset option").allInnerTexts()).includes("precise"));
  await page.selectOption("#model", "gpt-oss:120b");
  page.on("dialog", (dialog) => dialog.accept());
  await page.click("#preset-delete");
  assert.ok(!(await page.locator("#preset option").allInnerTexts()).includes("precise"));
  assert.equal(await page.inputValue("#option-top_k"), "20", "the options stay");
});

onPage("text files go along with a message, and what is no text does not", "/ui", {}, async (page, server) => {
  await modelChosen(page);
  const file = (name, content) => ({name, mimeType: "application/octet-stream", buffer: Buffer.from(content)});
  await page.setInputFiles("#attach-files", [file("notes.txt", "the dam is 40 m high\n"), file("more.md", "# More"), file("photo.png", "\x89PNG\0")]);
  await page.waitForFunction(() => document.getElementById("notice").textContent.startsWith("photo.png is no text"));
  assert.equal(await page.locator("#attached li").count(), 2);
  await page.click('[aria-label="Remove more.md"]');
  await ask(page, "How high is it?");
  await answered(page);
  assert.equal(requests(server, "/api/chat")[0].body.messages[0].content, "notes.txt:\n```\nthe dam is 40 m high\n```\n\nHow high is it?");
  assert.ok(!(await page.locator("#attached").isVisible()));
  await page.locator(".message.user summary", {hasText: "notes.txt"}).click();
  assert.match(await page.locator(".message.user pre").innerText(), /40 m high/);
  await page.locator(".message.user").hover();
  await page.locator(".message.user footer button").click();
  assert.equal(await page.locator("#attached li").count(), 1, "edited with its files");
});

// A picture of one colour, drawn by the browser, as bytes of a file.
async function drawnFile(page, name, type, width, height, colour = "#0b6e82") {
  const data = await page.evaluate(([type, width, height, colour]) => {
    const canvas = Object.assign(document.createElement("canvas"), {width, height});
    const pen = canvas.getContext("2d");
    pen.fillStyle = colour;
    pen.fillRect(0, 0, width, height);
    pen.fillStyle = "#ffcf40";
    pen.fillRect(width / 4, height / 4, width / 4, height / 2);
    return canvas.toDataURL(type);
  }, [type, width, height, colour]);
  assert.ok(data.startsWith(`data:${type};base64,`));
  return {name, mimeType: type, buffer: Buffer.from(data.split(",")[1], "base64")};
}
// Width and height as the header of a PNG has them.
const pngSize = (base64) => [16, 20].map((at) => Buffer.from(base64, "base64").readUInt32BE(at));

onPage("images go along with a message to a model that sees, and come back with the chat", "/ui", {}, async (page, server) => {
  await modelChosen(page);
  await page.selectOption("#model", "qwen3-vl:30b");
  const photo = await drawnFile(page, "dam.jpg", "image/jpeg", 300, 200);
  const drawing = await drawnFile(page, "drawing.png", "image/png", 80, 60);
  await page.setInputFiles("#attach-files", [photo, drawing, {name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("40 m\n")}]);
  await page.locator("#attached li").nth(2).waitFor();
  assert.deepEqual(await page.locator("#attached img").evaluateAll((all) => all.map(({alt, complete}) => [alt, complete])),
                   [["dam.jpg", true], ["drawing.png", true]]);
  await ask(page, "What is this?");
  await answered(page);
  const [first] = requests(server, "/api/chat");
  assert.deepEqual(first.body.messages, [{role: "user", content: "notes.txt:\n```\n40 m\n```\n\nWhat is this?",
                                          images: [photo, drawing].map(({buffer}) => buffer.toString("base64"))}]);
  assert.equal(await page.evaluate(() => Object.values(localStorage).join("").includes("base64") || JSON.stringify(localStorage).length > 20_000), false);

  await page.reload();
  await modelChosen(page);
  await page.locator(".message.user .picture img").nth(1).waitFor();
  await ask(page, "Sure?");
  await answered(page);
  assert.deepEqual(requests(server, "/api/chat")[1].body.messages[0], first.body.messages[0]);
  await page.click('[aria-label="Enlarge dam.jpg"]');
  assert.ok(await page.locator("#picture[open] img").isVisible());
  await page.keyboard.press("Escape");
  await page.waitForSelector("#picture", {state: "hidden"});

  await page.click("#more summary");
  const [download] = await Promise.all([page.waitForEvent("download"), page.click("#export-json")]);
  const exported = readFileSync(await download.path(), "utf8");
  page.on("dialog", (dialog) => dialog.accept());
  await page.click("#more summary");
  await page.click("#delete-chat");
  await page.setInputFiles("#import-file", {name: "chat.json", mimeType: "application/json", buffer: Buffer.from(exported)});
  await page.locator(".message.user .picture img").nth(1).waitFor();
  await page.reload();
  await page.locator(".message.user .picture img").nth(1).waitFor();

  await page.locator(".message.user").first().hover();
  await page.locator(".message.user footer button").first().click();
  await page.click('[aria-label="Remove dam.jpg"]');
  assert.equal(await page.evaluate(() => document.activeElement.id), "prompt");
  await page.fill("#prompt", "");
  await page.click('[aria-label="Remove notes.txt"]');
  await page.press("#prompt", "Enter");
  await answered(page);
  assert.deepEqual(requests(server, "/api/chat")[2].body.messages, [{role: "user", content: "", images: [drawing.buffer.toString("base64")]}]);
});

onPage("what the server does not read is drawn anew, and so is what is too large or lies on its side", "/ui", {}, async (page, server) => {
  await modelChosen(page);
  await page.selectOption("#model", "qwen3-vl:30b");
  const upright = await drawnFile(page, "turned.jpg", "image/jpeg", 120, 40);
  // EXIF: turn by a quarter.
  const exif = Buffer.from("ffe1002245786966000049492a00080000000100120103000100000006000000" + "00000000", "hex");
  const turned = {...upright, buffer: Buffer.concat([upright.buffer.subarray(0, 2), exif, upright.buffer.subarray(2)])};
  const files = [await drawnFile(page, "photo.webp", "image/webp", 64, 48), await drawnFile(page, "wide.png", "image/png", 9000, 2000), turned];
  await page.setInputFiles("#attach-files", [...files, {name: "broken.png", mimeType: "image/png", buffer: files[1].buffer.subarray(0, 40)}]);
  await page.waitForFunction(() => document.getElementById("notice").textContent.startsWith("broken.png: this browser cannot show"));
  assert.equal(await page.locator("#attached li").count(), 3);
  await ask(page, "look");
  await answered(page);
  const {images} = requests(server, "/api/chat")[0].body.messages[0];
  assert.deepEqual(pngSize(images[0]), [64, 48]);
  const [width, height] = pngSize(images[1]);
  assert.ok(width * height <= 4.1e6 && Math.abs(width / height - 4.5) < 0.01, `${width} x ${height}`);
  assert.deepEqual(pngSize(images[2]), [40, 120]);
});

onPage("images are pasted and dropped; a model that sees none gets none, and the page says why", "/ui", {}, async (page, server) => {
  await modelChosen(page);
  const drawing = await drawnFile(page, "drawing.png", "image/png", 80, 60);
  const give = (kind, more = {}) => page.evaluate(([kind, data, more]) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], "drawing.png", {type: "image/png"}));
    for (const [type, text] of Object.entries(more)) transfer.setData(type, text);
    const event = kind === "paste" ? new ClipboardEvent("paste", {clipboardData: transfer, bubbles: true, cancelable: true})
      : new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true});
    document.getElementById("prompt").dispatchEvent(event);
    return event.defaultPrevented;
  }, [kind, drawing.buffer.toString("base64"), more]);
  await give("paste");
  await page.waitForFunction(() => document.getElementById("notice").textContent === "gpt-oss:120b sees no images; qwen3-vl:30b does.");
  assert.equal(await page.locator("#attached li").count(), 0);
  await page.selectOption("#model", "qwen3-vl:30b");
  assert.equal(await page.getAttribute("#attach", "aria-label"), "Attach images or text files");
  assert.equal(await give("paste", {"text/plain": "a table", "text/html": "<b>a table</b>"}), false, "text that brings its picture");
  await give("paste");
  await give("drop");
  await page.locator("#attached img").nth(1).waitFor();

  await page.selectOption("#model", "gpt-oss:120b");
  await ask(page, "look");
  await page.waitForFunction(() => document.getElementById("notice").textContent.startsWith("gpt-oss:120b sees no images"));
  assert.equal(requests(server, "/api/chat").length, 0);
  assert.equal(await page.inputValue("#prompt"), "look");
  await page.selectOption("#model", "qwen3-vl:30b");
  await page.press("#prompt", "Enter");
  await answered(page);
  assert.equal(requests(server, "/api/chat")[0].body.messages[0].images.length, 2);

  await page.selectOption("#model", "llama3.3:70b");
  await page.locator("#model-note", {hasText: "This model sees no images: it is told where one was."}).waitFor();
  await ask(page, "and now?");
  await answered(page);
  const asked = requests(server, "/api/chat")[1].body.messages;
  assert.equal(asked[0].images, undefined);
  assert.match(asked[0].content, /^\[an image, drawing\.png, that you cannot see\]\n\[an image, [^]*look$/);
});

onPage("chats are renamed, searched and imported", "/ui", {}, async (page) => {
  await modelChosen(page);
  await ask(page, "first question");
  await answered(page);
  await page.click("#more summary");
  await page.click("#rename-chat");
  assert.equal(await page.inputValue("#name"), "first question");
  await page.fill("#name", "About dams");
  await page.keyboard.press("Enter");
  await page.locator("#conversation-list button", {hasText: "About dams"}).waitFor();
  await page.keyboard.press("Alt+n");
  await ask(page, "another one");
  await answered(page);
  const titles = () => page.locator("#conversation-list button").allInnerTexts();
  assert.deepEqual(await titles(), ["another one", "About dams"]);
  await page.fill("#search", "first QUESTION");
  assert.deepEqual(await titles(), ["About dams"]);
  await page.fill("#search", "no such words");
  assert.ok(await page.locator("#search-none").isVisible());
  await page.fill("#search", "");
  const chat = JSON.stringify({id: "x", model: "llama3.3:70b", title: "From elsewhere", options: {}, updated_ms: 1,
                               messages: [{role: "user", content: "hi"}, {role: "assistant", content: "ho", model: "llama3.3:70b"}]});
  await page.setInputFiles("#import-file", {name: "chat.json", mimeType: "application/json", buffer: Buffer.from(chat)});
  await page.locator("#conversation-list button[aria-current]", {hasText: "From elsewhere"}).waitFor();
  assert.equal(await page.locator(".message.assistant .markdown").last().innerText(), "ho");
  assert.equal(await page.inputValue("#model"), "llama3.3:70b");
  await page.setInputFiles("#import-file", {name: "no.json", mimeType: "application/json", buffer: Buffer.from("{}")});
  await page.waitForFunction(() => document.getElementById("notice").textContent.startsWith("no.json holds no chat"));
});

onPage("Enter sends, Shift+Enter does not", "/ui", {}, async (page, server) => {
  await modelChosen(page);
  await page.focus("#prompt");
  await page.keyboard.type("one");
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.type("two");
  assert.equal(requests(server, "/api/chat").length, 0);
  await page.keyboard.press("Enter");
  await answered(page);
  assert.equal(requests(server, "/api/chat")[0].body.messages[0].content, "one\ntwo");
});

onPage("keys lead everywhere", "/ui", {}, async (page) => {
  await modelChosen(page);
  for (const [key, view] of [["Alt+2", "models"], ["Alt+3", "tiers"], ["Alt+1", "chat"]]) {
    await page.keyboard.press(key);
    await page.waitForSelector(`#view-${view}:not([hidden])`);
  }
  await page.keyboard.press("Alt+2");
  await page.locator("#models-title").click();
  await page.keyboard.press("?");
  assert.ok(await page.locator("#shortcuts").isVisible());
  await page.keyboard.press("Escape");
  assert.ok(!(await page.locator("#shortcuts").isVisible()));
  await page.keyboard.press("/");
  await page.waitForFunction(() => document.activeElement.id === "prompt");
});

onPage("models are listed with what is loaded where; they load, unload, and start a chat", "/ui#models", {}, async (page, server) => {
  const row = page.locator(".models tbody tr").first();
  assert.match(await row.innerText(), /gpt-oss:120b[^]*60\.80 GiB[^]*loaded until it is unloaded[^]*10\.40 GiB GPU, 34\.20 GiB RAM, 16\.20 GiB disk/);
  await Promise.all([page.waitForResponse("**/api/generate"), page.click('[data-action="Unload gpt-oss:120b"]')]);
  await Promise.all([page.waitForResponse("**/api/generate"), page.click('[data-action="Load llama3.3:70b"]')]);
  assert.deepEqual(requests(server, "/api/generate").map(({body}) => body),
                   [{model: "gpt-oss:120b", stream: false, keep_alive: 0}, {model: "llama3.3:70b", stream: false}]);
  await page.click('[data-action="Details llama3.3:70b"]');
  await page.waitForSelector("#details[open]");
  assert.match(await page.locator("#details").innerText(), /gpt-oss\.block_count\s+36/);
  await page.keyboard.press("Escape");
  await page.click('[data-action="Chat llama3.3:70b"]');
  await page.waitForSelector("#view-chat:not([hidden])");
  assert.equal(await page.inputValue("#model"), "llama3.3:70b");
});

onPage("a model is pulled with progress", "/ui#models", {}, async (page, server) => {
  await page.fill("#pull-name", "hf.co/a/b:Q4_K_M");
  await page.press("#pull-name", "Enter");
  await page.waitForFunction(() => document.getElementById("notice").textContent === "hf.co/a/b:Q4_K_M is here.");
  assert.equal(requests(server, "/api/pull")[0].body.model, "hf.co/a/b:Q4_K_M");
});

onPage("without models the page says how to get one", "/ui", {server: {models: []}}, async (page) => {
  await page.waitForSelector(".empty a[href='#models']");
  await page.goto(`${page.url().split("#")[0]}#tiers`);
  await page.waitForFunction(() => document.getElementById("tiers").innerText !== "");  // after the first answer
  assert.match(await page.locator("#tiers").innerText(), /No model is loaded/);
});

onPage("the tiers show what was reached beside what was predicted", "/ui#tiers", {}, async (page) => {
  const card = page.locator(".card").first();
  await card.locator(".tile .value", {hasText: "tok/s"}).waitFor();
  const text = await card.innerText();
  assert.match(text, /6\.12 tok\/s\s+predicted 6\.40 tok\/s for one request; 96 % reached/);
  assert.match(text, /GB\/s\s+of 3\.10 GB\/s measured; 32 % of the time waited for/);
  assert.match(text, /Expert hit rate\s+9\d %/);
  assert.match(text, /GPU 10\.40 GiB 17 %/);
  assert.equal(await page.locator(".card").count(), 2);
  assert.equal(await page.locator(".card").nth(1).locator(".tile:visible").count(), 3);  // a dense model has no hit rate
});

onPage("the map is walked with the keyboard, read out, and there as a table", "/ui#tiers", {}, async (page) => {
  const card = page.locator(".card").first();
  const canvas = card.locator("canvas");
  await canvas.focus();
  assert.match(await canvas.getAttribute("aria-label"), /^36 layers of 128 experts: [\d,]+ GPU, [\d,]+ RAM, [\d,]+ partly in RAM, [\d,]+ disk/);
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowRight");
  assert.match(await card.locator(".map + p").innerText(), /^Layer 0, expert 0: (on GPU|in RAM|partly in RAM|on disk), heat \d of 9$/);
  // The picture is the data: each tier's colour is somewhere in it.
  const colours = await canvas.evaluate((element) => {
    const {data} = element.getContext("2d").getImageData(0, 0, element.width, element.height);
    const seen = new Set();
    for (let at = 0; at < data.length; at += 4) if (data[at + 3] === 255) seen.add(`rgb(${data[at]}, ${data[at + 1]}, ${data[at + 2]})`);
    return ["gpu", "ram", "part", "disk"].map((name) => seen.has(getComputedStyle(element.parentElement.querySelector(`.fill-${name}`)).backgroundColor));
  });
  assert.deepEqual(colours, [true, true, true, true]);
  await card.locator("details summary").last().click();
  await card.locator("details tbody tr").nth(35).waitFor();
  assert.equal(await card.locator("details tbody tr").count(), 36);
});

onPage("a server that knows no single layers still shows the rest", "/ui#tiers", {server: {residency: false}}, async (page, server) => {
  const card = page.locator(".card").first();
  await card.locator(".tile .value", {hasText: "tok/s"}).waitFor();
  assert.match(await card.innerText(), /does not report single layers and experts/);
  assert.equal(requests(server, "/api/spillway/residency").length, 2);  // asked once per model, and not again
});

onPage("a model that the kernel's page cache holds has no map", "/ui#tiers", {server: {residency: "kernel"}}, async (page) => {
  const card = page.locator(".card").first();
  await card.locator(".tile .value", {hasText: "tok/s"}).waitFor();
  assert.match(await card.innerText(), /left to the kernel's page cache/);
  assert.equal(await card.locator("canvas:visible").count(), 0);
});

onPage("weights left to the kernel are where it holds them, and no speed is reached where nothing was read", "/ui#tiers", {server: {mmap: true}}, async (page) => {
  const card = page.locator(".card").first();
  await card.locator(".tile .value", {hasText: "tok/s"}).waitFor();
  const text = await card.innerText();
  assert.match(text, /Kernel's page cache 52\.80 GiB 87 %/);
  assert.match(text, /predicted 0\.20 tok\/s for one request, with reads; all of it was in memory/);
  assert.doesNotMatch(text, /% reached|measured/);
  assert.match(text, /What the kernel's page cache holds/);
  assert.ok(await card.locator("canvas").isVisible());
});

onPage("a load is seen on each page", "/ui#tiers", {}, async (page, server) => {
  server.setLoading({model: "llama3.3:70b", done: 10 * 1024 ** 3, total: 40 * 1024 ** 3, elapsed_s: 6});
  await page.locator("#tiers-loading", {hasText: "Loading llama3.3:70b: 10.00 GiB of 40.00 GiB (25 %), about 18 s left"}).waitFor();
  server.setLoading(null);
  await page.waitForSelector("#tiers-loading", {state: "hidden"});
});

{
  let load;
  const held = new Promise((resolve) => (load = resolve));
  onPage("a model that is being loaded says how far it is, and one on disk how it will run", "/ui#models", {server: {heldLoad: held}}, async (page, server) => {
    await page.locator('[data-forecast="llama3.3:70b"]', {hasText: "does not fit"}).waitFor();
    server.setLoading({model: "llama3.3:70b", done: 10 * 1024 ** 3, total: 40 * 1024 ** 3, elapsed_s: 6});
    const button = page.locator('[data-action="Load llama3.3:70b"]');
    await button.click();
    await button.filter({hasText: "10.00 GiB of 40.00 GiB (25 %)"}).waitFor();
    load();
    await button.filter({hasText: /^Load$/}).waitFor();
  });
}

onPage("a server with a key asks for it, once", "/ui", {server: {apiKey: "s3cret"}}, async (page, server) => {
  await page.waitForSelector("#key-dialog[open]");
  await page.fill("#key", "s3cret");
  await page.keyboard.press("Enter");
  await modelChosen(page);
  await ask(page, "hello");
  await answered(page);
  assert.equal(requests(server, "/api/chat")[0].headers.authorization, "Bearer s3cret");
});

onPage("colours follow the system until somebody chooses, and the choice is kept", "/ui", {context: {colorScheme: "dark"}}, async (page) => {
  await modelChosen(page);
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await ground();
  await page.click("#theme");
  const light = await ground();
  assert.notEqual(light, dark);
  await page.reload();
  await modelChosen(page);
  assert.equal(await ground(), light);
});

for (const [size, viewport] of [["desktop", DESKTOP], ["phone", PHONE]])
  for (const colorScheme of ["light", "dark"])
    onPage(`nothing is cut off and every control has a name: ${size}, ${colorScheme}`, "/ui", {context: {viewport, colorScheme}}, async (page, server) => {
      const look = async (name) => {
        if (shots) await page.screenshot({path: join(shots, `${size}-${colorScheme}-${name}.png`)});
        const [wide, unnamed] = await page.evaluate(() => [
          document.documentElement.scrollWidth - innerWidth,
          [...document.querySelectorAll("button, input, select, textarea, canvas, a")]
            .filter((element) => element.checkVisibility())
            .filter((element) => !(element.getAttribute("aria-label") || element.labels?.length || element.textContent.trim()))
            .map((element) => element.outerHTML.slice(0, 80))]);
        assert.ok(wide <= 0, `${name} is ${wide} px too wide`);
        assert.deepEqual(unnamed, []);
      };
      await modelChosen(page);
      await look("empty");
      await ask(page, "What is a spillway?");
      await answered(page);
      await look("chat");
      await page.click("#show-options");
      await look("options");
      await page.click("#show-options");
      await page.setInputFiles("#attach-files", {name: "a rather long name of some notes.txt", mimeType: "text/plain", buffer: Buffer.from("x\n")});
      await page.waitForSelector("#attached:not([hidden])");
      await page.selectOption("#model", "qwen3-vl:30b");
      await page.setInputFiles("#attach-files", [await drawnFile(page, "dam.jpg", "image/jpeg", 900, 500), await drawnFile(page, "tall.png", "image/png", 40, 600, "#b3261e"),
                                                 await drawnFile(page, "dot.png", "image/png", 1, 1, "#11161a")]);
      await page.locator("#attached img").nth(2).waitFor();
      await look("attached");
      await ask(page, "please answer slowly");
      server.go();
      server.go();
      await page.locator(".message .waiting", {hasText: "Loading"}).waitFor();
      await look("waiting");
      await page.click('[aria-label="Enlarge dam.jpg"]');
      await look("enlarged");
      await page.keyboard.press("Escape");
      await page.keyboard.press("Escape");
      await answered(page);
      await page.click("#more summary");
      await look("menu");
      await page.click("#rename-chat");
      await look("rename");
      await page.keyboard.press("Escape");
      await ask(page, "please fail");
      await answered(page);
      await look("failure");
      await page.goto(page.url().split("#")[0] + "#models");
      await page.waitForSelector(".models");
      await look("models");
      await page.goto(page.url().split("#")[0] + "#tiers");
      await page.locator(".tile .value", {hasText: "tok/s"}).first().waitFor();
      await look("tiers");
      await page.locator(".card canvas").first().scrollIntoViewIfNeeded();
      await look("map");
      if (size === "phone") {
        await page.goto(page.url().split("#")[0] + "#chat");
        await page.click("#show-sidebar");
        await look("sidebar");
      }
    });
