// SPDX-License-Identifier: MIT
// What will go along with the next message, chosen, dropped on the page, or pasted: text files, and images for a model that
// sees.
import {imageType, imageUrl} from "./attached_image.js";
import {textOf} from "./attached_text.js";
import {announce, byId, h, newId} from "./dom.js";
import {readyImage} from "./image_canvas.js";

let files = [];       // {name, text}
let images = [];      // {id, name, type, data}
let cannotSee = "";   // why no image may be attached; empty: it may
let reading = Promise.resolve();  // of files that were given last

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
    // Word processors put a picture of the text beside the text.
    const {types} = event.clipboardData;
    if (event.clipboardData.files.length === 0 || (types.includes("text/plain") && types.includes("text/html"))) return;
    event.preventDefault();
    add(event.clipboardData.files);
  });
}

// `why`: a sentence that says why the model sees no images, or "".
export function allowImages(why) {
  cannotSee = why;
  const what = why ? "Attach text files" : "Attach images or text files";
  byId("attach").setAttribute("aria-label", what);
  byId("attach").title = what;
}

// Gives them away, once all are read: the next message begins without. null: they cannot be sent; the user was told why.
export async function takeAttached() {
  await reading;
  if (images.length > 0 && cannotSee) {
    announce(cannotSee);
    return null;
  }
  const taken = {files, images: images.map((image) => ({...image, id: newId()}))};  // one may have been sent before
  setAttached();
  return taken;
}

export function setAttached(wanted = {}) {
  files = [...(wanted.files ?? [])];
  images = [...(wanted.images ?? [])];
  show();
}

function add(list) {
  const given = [...list];  // the browser's list empties itself
  reading = reading.then(async () => {
    for (const file of given) {
      try {
        await read(file);
      } catch (failure) {
        announce(failure.message);
      }
      show();
    }
  });
  return reading;
}

async function read(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const type = imageType(bytes, file.type);
  if (type === "") {
    files.push({name: file.name, text: textOf(file.name, bytes)});
    return;
  }
  if (cannotSee) throw new Error(cannotSee);
  images.push({id: newId(), name: file.name, ...(await readyImage(file.name, bytes, type))});
}

function show() {
  const button = ({name}, remove) => h("button.quiet", {type: "button", "aria-label": `Remove ${name}`, onclick: () => {
    remove();
    show();
    byId("prompt").focus();  // not lost with the button
  }}, "×");
  byId("attached").hidden = files.length + images.length === 0;
  byId("attached").replaceChildren(
    ...images.map((image) => h("li.thumbnail", {}, h("img", {src: imageUrl(image), alt: image.name, title: image.name}),
                               button(image, () => (images = images.filter((each) => each !== image))))),
    ...files.map((file) => h("li.tag", {}, file.name, button(file, () => (files = files.filter((each) => each !== file))))));
}
