// SPDX-License-Identifier: MIT
// What the server knows of a model before it is asked anything: its own options, its template, how it will run. Each is
// asked for once, until the models change.
import {getJson, postJson} from "./api.js";

const shown = new Map();      // model -> promise of /api/show's reply
const forecasts = new Map();  // model -> promise of a forecast

export function forgetModelFacts() {
  shown.clear();
  forecasts.clear();
}

// null: the server does not say.
export const showOf = (model) => once(shown, model, () => postJson("/api/show", {model}));

// With {error} where it says that the model does not fit; null where it says nothing.
export const forecastOf = (model) =>
  once(forecasts, model, async () => {
    try {
      return await getJson(`/api/spillway/forecast?model=${encodeURIComponent(model)}`);
    } catch (failure) {
      if (failure.status === 400 || failure.status === 500) return {error: failure.message};
      throw failure;
    }
  });

// A model whose prompt nobody told how to write.
export function templateNote(show) {
  if (!show || show.template?.trim() || show.renderer) return "";
  return "This model has no chat template: turns are written as its vocabulary suggests. A base model goes on with a text " +
         "rather than answering.";
}

// `model`: of /api/tags. A server that does not say what it can do is asked.
export const seesImages = (model) => !model?.capabilities || model.capabilities.includes("vision");

// Of a chat whose images the model is not shown.
export function sightNote(model, hasImages) {
  return hasImages && !seesImages(model) ? "This model sees no images: it is told where one was." : "";
}

function once(kept, model, ask) {
  if (!kept.has(model)) {
    const asked = ask().catch(() => {
      kept.delete(model);
      return null;
    });
    kept.set(model, asked);
  }
  return kept.get(model);
}
