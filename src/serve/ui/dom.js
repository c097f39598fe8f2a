// SPDX-License-Identifier: MIT
// Elements in one line. Text is always a text node: no string becomes markup anywhere in this page.

// h("button.primary", {type: "button", onclick: f, "aria-label": "Send"}, "Send", child, ...)
export function h(selector, properties = {}, ...children) {
  const [tag, ...classes] = selector.split(".");
  return fill(document.createElement(tag), classes, properties, children);
}

export function svg(tag, properties = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), [], properties, children);
}

function fill(element, classes, properties, children) {
  if (classes.length > 0) element.classList.add(...classes);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// Not crypto.randomUUID: browsers lack it on plain http.
export const newId = () => `${Date.now().toString(36)}${Math.random().toString(36).slice(2, 8)}`;

export const byId = (id) => document.getElementById(id);

// Sets the text only where it differs, so that a screen reader hears of changes alone.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// A sentence for everybody, read out, and seen for six seconds or until it is clicked.
export function announce(text) {
  const place = byId("notice");
  place.textContent = text;
  place.hidden = false;
  place.onclick = () => (place.hidden = true);
  clearTimeout(announce.timer);
  announce.timer = setTimeout(place.onclick, 6000);
}

export function download(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], {type}));
  h("a", {href: url, download: name}).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

// Asks for a name in the page's own dialog; null when the user thinks better of it.
export function askName(title, value = "") {
  const dialog = byId("name-dialog");
  setText(byId("name-title"), title);
  byId("name").value = value;
  dialog.returnValue = "";
  dialog.showModal();
  byId("name").select();
  return new Promise((resolve) =>
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "ok" ? byId("name").value.trim() || null : null),
                            {once: true}));
}
