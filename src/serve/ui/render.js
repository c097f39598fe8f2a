// SPDX-License-Identifier: MIT
// A tree of markdown.js as elements. Only the blocks that changed are made anew, so a long answer grows without flicker,
// and what the reader selected stays selected.
import {h} from "./dom.js";
import {parseMarkdown} from "./markdown.js";

const TAGS = new Set(["p", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "blockquote", "ul", "ol", "li", "table", "thead",
                      "tbody", "tr", "th", "td", "br", "code", "em", "strong", "del"]);
const shown = new WeakMap();  // container -> its blocks, as text

export function renderMarkdown(container, text) {
  const blocks = parseMarkdown(text);
  const keys = blocks.map((block) => JSON.stringify(block));
  const before = shown.get(container) ?? [];
  blocks.forEach((block, index) => {
    if (keys[index] === before[index]) return;
    const element = toElement(block);
    if (index < container.children.length) container.children[index].replaceWith(element);
    else container.append(element);
  });
  while (container.children.length > blocks.length) container.lastElementChild.remove();
  shown.set(container, keys);
}

function toElement(node) {
  if (typeof node === "string") return document.createTextNode(node);
  const children = node.children.map((child) => (node.tag === "pre" ? child : toElement(child)));
  if (node.tag === "pre") return codeBlock(node.language, children[0]);
  if (node.tag === "a") return h("a", {href: node.href, rel: "noopener noreferrer nofollow", target: "_blank"}, ...children);
  if (node.tag === "table") return h("div.table-scroll", {tabindex: "0", role: "region", "aria-label": "Table"},
                                     h("table", {}, ...children));
  if (!TAGS.has(node.tag)) return h("span", {}, ...children);
  // A heading of an answer stands below the page's own.
  const tag = /^h[1-6]$/.test(node.tag) ? `h${Math.min(6, Number(node.tag[1]) + 2)}` : node.tag;
  return h(tag, {start: node.start, class: node.align && node.align !== "left" ? `align-${node.align}` : null}, ...children);
}

function codeBlock(language, code) {
  const copy = h("button.quiet", {type: "button", onclick: () => copyText(copy, code)}, "Copy");
  return h("figure.code", {}, h("figcaption", {}, h("span", {}, language || "text"), copy),
           h("pre", {tabindex: "0"}, h("code", {}, code)));
}

export async function copyText(button, text) {
  const label = button.textContent;
  let done = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {  // plain http on another host than localhost: browsers offer no clipboard there
    const area = h("textarea", {"aria-hidden": "true", class: "offscreen"});
    area.value = text;
    document.body.append(area);
    area.select();
    done = document.execCommand("copy");
    area.remove();
    button.focus();
  }
  button.textContent = done ? "Copied" : "Not allowed";
  setTimeout(() => (button.textContent = label), 1500);
}
