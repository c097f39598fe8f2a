// SPDX-License-Identifier: MIT
// Messages on the page: made once, and drawn anew as an answer grows.
import {imageUrl} from "./attached_image.js";
import {h, setText} from "./dom.js";
import {formatCount, formatRate, formatSeconds} from "./format.js";
import {copyText, renderMarkdown} from "./render.js";
import {describeWaiting} from "./waiting.js";

const elements = new WeakMap();  // answer -> its parts on the page

// `edit`: called when the user wants to write it anew; `enlarge(url, name)`: to look at an image.
export function questionElement(message, edit, enlarge) {
  const images = (message.images ?? []).map((image) => imageElement(image, enlarge));
  const files = (message.files ?? []).map(({name, text}) =>
    h("details.file", {}, h("summary", {}, name), h("pre", {tabindex: "0"}, text)));
  return h("article.message.user", {"aria-label": "You"}, images.length > 0 ? h("div.images", {}, ...images) : null, ...files,
           message.content === "" ? null : h("div.text", {}, message.content),
           h("footer", {}, h("button.quiet", {type: "button", onclick: edit}, "Edit")));
}

function imageElement(image, enlarge) {
  if (image.lost) return h("span.muted.small", {}, `${image.name}: the browser has not kept this image`);
  if (!image.data) return h("span.picture", {"aria-label": image.name, "aria-busy": "true"});
  const url = imageUrl(image);
  return h("button.picture", {type: "button", "aria-label": `Enlarge ${image.name}`, title: image.name, onclick: () => enlarge(url, image.name)},
           h("img", {src: url, alt: image.name}));
}

// `runOf`: what is under way for an answer, or null; `again`: the user wants another one.
export function answerElement(message, name, runOf, again) {
  const parts = {runOf, body: h("div.markdown"), thought: h("div.markdown"), summary: h("summary", {}, "Thinking"),
                 waiting: h("p.waiting"), bar: h("progress", {max: "1", "aria-label": "Progress"}),
                 failure: h("p.failure", {role: "alert", hidden: true}), stats: h("span.stats")};
  parts.thinking = h("details.thinking", {hidden: true}, parts.summary, parts.thought);
  parts.thinking.addEventListener("toggle", () => updateAnswer(message));
  parts.wait = h("div.wait", {hidden: true}, parts.waiting, parts.bar);
  const copy = h("button.quiet", {type: "button", onclick: () => copyText(copy, message.content)}, "Copy");
  const retry = h("button.quiet", {type: "button", onclick: again}, "Again");
  parts.footer = h("footer", {}, parts.stats, copy, retry);
  elements.set(message, parts);
  const article = h("article.message.assistant", {"aria-label": name}, h("header", {}, name), parts.thinking, parts.wait,
                    parts.body, parts.failure, parts.footer);
  updateAnswer(message);
  return article;
}

export function updateAnswer(message) {
  const parts = elements.get(message);
  if (!parts) return;
  const run = parts.runOf(message);
  renderMarkdown(parts.body, message.content);
  showThinking(parts, message, run);
  showWaiting(parts, run);
  parts.failure.hidden = !message.error;
  setText(parts.failure, message.error ?? "");
  setText(parts.stats, statsText(message, run));
  parts.footer.classList.toggle("busy", Boolean(run));
}

function showThinking(parts, message, run) {
  parts.thinking.hidden = !message.thinking;
  if (!message.thinking) return;
  const over = message.content !== "" || !run;
  const took = message.thinking_s ?? (run?.first_ms ? (performance.now() - run.first_ms) / 1000 : undefined);
  const time = took >= 1 ? ` for ${formatSeconds(took)}` : over ? " for a moment" : "";
  setText(parts.summary, `${over ? "Thought" : "Thinking"}${time}`);
  if (parts.thinking.open) renderMarkdown(parts.thought, message.thinking);
}

function showWaiting(parts, run) {
  parts.wait.hidden = !run || run.n_pieces > 0;
  if (parts.wait.hidden) return;
  const {text, fraction} = describeWaiting(run.progress, (performance.now() - run.started_ms) / 1000);
  setText(parts.waiting, text);
  parts.bar.hidden = fraction === null;
  parts.bar.value = fraction ?? 0;
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
