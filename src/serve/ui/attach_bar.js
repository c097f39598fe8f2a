// SPDX-License-Identifier: MIT
// The text files that will go along with the next message: chosen, dropped on the page, or pasted.
import {textOf} from "./attached_text.js";
import {announce, byId, h} from "./dom.js";

let files = [];  // {name, text}

export function startAttaching() {
  byId("attach").addEventListener("click", () => byId("attach-files").click());
  byId("attach-files").addEventListener("change", async () => {
    await add(byId("attach-files").files);
    byId("attach-files").value = "";
  });
  const view = byId("view-chat");
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  view.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    view.classList.add("dropping");
  });
  view.addEventListener("dragleave", () => view.classList.remove("dropping"));
  view.addEventListener("drop", (event) => {
    view.classList.remove("dropping");
    if (!hasFiles(event)) return;
    event.preventDefault();
    add(event.dataTransfer.files);
  });
  byId("prompt").addEventListener("paste", (event) => {
    if (event.clipboardData.files.length === 0) return;
    event.preventDefault();
    add(event.clipboardData.files);
  });
}

// Gives them away: the next message begins without.
export function takeFiles() {
  const taken = files;
  setFiles([]);
  return taken;
}

export function setFiles(wanted) {
  files = [...wanted];
  show();
}

async function add(list) {
  for (const file of list) {
    try {
      files.push({name: file.name, text: textOf(file.name, await file.arrayBuffer())});
    } catch (failure) {
      announce(failure.message);
    }
  }
  show();
}

function show() {
  byId("attached").hidden = files.length === 0;
  byId("attached").replaceChildren(...files.map((file) =>
    h("li.tag", {}, file.name,
      h("button.quiet", {type: "button", "aria-label": `Remove ${file.name}`,
                         onclick: () => setFiles(files.filter((each) => each !== file))}, "×"))));
}
