// SPDX-License-Identifier: MIT
// The list of conversations beside the chat: searched, imported, opened.
import {announce, byId, h} from "./dom.js";

let store;
let onOpen;  // (id)

export function startChatList(of_store, open, imported) {
  store = of_store;
  onOpen = open;
  byId("search").addEventListener("input", () => show());
  byId("import").addEventListener("click", () => byId("import-file").click());
  byId("import-file").addEventListener("change", async () => {
    for (const file of byId("import-file").files) await take(file, imported);
    byId("import-file").value = "";
  });
}

let shown = {current: "", unsaved: null, isRunning: () => false};

// `unsaved`: {id, title} of a conversation that is not kept yet, or null.
export function showChatList(state) {
  shown = state;
  show();
}

function show() {
  const words = byId("search").value;
  const list = store.list(words);
  if (shown.unsaved && words.trim() === "" && !list.some(({id}) => id === shown.unsaved.id)) list.unshift(shown.unsaved);
  byId("conversation-list").replaceChildren(...list.map(({id, title}) =>
    h("li", {}, h("button.quiet", {type: "button", title, "aria-current": id === shown.current ? "true" : null,
                                   onclick: () => onOpen(id)},
                  title, shown.isRunning(id) ? h("span.dot", {"aria-label": "being answered"}) : null))));
  byId("search-none").hidden = words.trim() === "" || list.length > 0;
}

async function take(file, imported) {
  let text = "";
  try {
    text = await file.text();
  } catch {
    announce(`${file.name} cannot be read.`);
    return;
  }
  const ids = store.import(text, Date.now());
  if (ids.length === 0) announce(`${file.name} holds no chat: what "Export as JSON" writes can be imported.`);
  else imported(ids);
}
