// SPDX-License-Identifier: MIT
// The live view: per loaded model where its weights are, what the disk does, and what was predicted. Asks the server once
// a second, only while it is looked at.
import {getJson} from "./api.js";
import {byId, h, setText, svg} from "./dom.js";
import {formatBytes, formatCount, formatPercent, formatRate, formatThroughput} from "./format.js";
import {cellAt, cellRect, countTiers, describeCell, layoutHeatMap, neighbour} from "./heat_map.js";
import {LiveHistory} from "./live_rates.js";
import {describeSpeed, tierNames} from "./tier_words.js";
import {describeWaiting} from "./waiting.js";

const POLL_MS = 1000;
const TIERS = [["g", "gpu", "GPU"], ["r", "ram", "RAM"], ["p", "part", "partly in RAM"], ["d", "disk", "disk"]];

const cards = new Map();  // model -> its Card
let shown = false;
let timer = 0;
const unmapped = new Set();  // models of which the server reports no single layers and experts

export function startTiers() {
  document.addEventListener("visibilitychange", schedule);
  addEventListener("resize", () => cards.forEach((card) => card.drawMap()));
}

export function showTiers(visible) {
  shown = visible;
  schedule();
}

export function redrawTiers() {
  cards.forEach((card) => card.drawMap());
}

function schedule() {
  clearTimeout(timer);
  timer = 0;
  if (shown && !document.hidden) poll();
}

async function poll() {
  try {
    const {models, loading} = await getJson("/api/spillway/live");
    showLoading(loading);
    const now_s = performance.now() / 1000;
    const residency = await Promise.all(models.map(({model}) => residencyOf(model)));
    showAll(models, residency, now_s);
  } catch (failure) {
    byId("tiers").replaceChildren(h("p.failure", {role: "alert"}, failure.message));
    cards.clear();
  }
  if (shown && !document.hidden) timer = setTimeout(poll, POLL_MS);
}

async function residencyOf(model) {
  if (unmapped.has(model)) return null;
  try {
    return await getJson(`/api/spillway/residency?model=${encodeURIComponent(model)}`);
  } catch (failure) {
    if (failure.status === 404) unmapped.add(model);  // asked again when it was unloaded and is back
    return null;
  }
}

function showLoading(loading) {
  const place = byId("tiers-loading");
  place.hidden = !loading;
  if (!loading) return;
  const {text, fraction} = describeWaiting({phase: "loading", ...loading}, 0);
  setText(byId("tiers-loading-text"), text);
  byId("tiers-loading-bar").value = fraction ?? 0;
}

function showAll(models, residency, now_s) {
  const place = byId("tiers");
  for (const name of unmapped) if (!models.some(({model}) => model === name)) unmapped.delete(name);
  for (const [name, card] of cards)
    if (!models.some(({model}) => model === name)) {
      card.element.remove();
      cards.delete(name);
    }
  if (models.length === 0) {
    place.replaceChildren(h("p.plain", {}, "No model is loaded. Ask one something on the page ", h("a", {href: "#chat"}, "Chat"),
                            ", or load it on the page ", h("a", {href: "#models"}, "Models"), "."));
    return;
  }
  if (cards.size === 0) place.replaceChildren();
  models.forEach((model, index) => {
    if (!cards.has(model.model)) {
      cards.set(model.model, new Card(model.model));
      place.append(cards.get(model.model).element);
    }
    cards.get(model.model).update(model, residency[index], now_s);
  });
}

// A row of named parts of a whole, and what each holds.
class Bar {
  #bar = h("div.bar", {role: "img"});
  #legend = h("ul.legend");
  element = h("div", {}, this.#bar, this.#legend);

  show(parts) {
    const seen = parts.filter(([, , bytes]) => bytes > 0);
    const total = seen.reduce((sum, [, , bytes]) => sum + bytes, 0);
    this.#bar.setAttribute("aria-label", seen.map(([, name, bytes]) => `${name} ${formatBytes(bytes)}`).join(", "));
    this.#bar.replaceChildren(...seen.map(([colour, , bytes]) => {
      const part = h(`span.fill-${colour}`);
      part.style.flexGrow = String(bytes / total);
      return part;
    }));
    this.#legend.replaceChildren(...seen.map(([colour, name, bytes]) =>
      h("li", {}, h(`span.swatch.fill-${colour}`), `${name} `, h("strong", {}, formatBytes(bytes)),
        ` ${formatPercent(bytes / total)}`)));
  }
}

// A number, what it is measured against, and its last minutes.
class Tile {
  #value = h("strong.value");
  #note = h("span.muted.small");
  #line = svg("polyline", {class: "spark"});
  #expected = svg("line", {class: "expected", x1: "0", x2: "100"});
  #chart = svg("svg", {viewBox: "0 0 100 30", preserveAspectRatio: "none", "aria-hidden": "true"}, this.#expected, this.#line);
  element;

  constructor(label) {
    this.element = h("div.tile", {}, h("span.label", {}, label), this.#value, this.#note, this.#chart);
  }

  show(value, note, series, expected) {
    setText(this.#value, value);
    setText(this.#note, note);
    const top = Math.max(expected || 0, ...series.map((each) => each ?? 0)) * 1.1 || 1;
    const y = (each) => (29 - (each / top) * 28).toFixed(2);
    const step = 100 / Math.max(1, series.length - 1);
    // Where nothing was measured the line keeps its height: a gap of a polling interval is not news.
    let last = null;
    const points = [];
    series.forEach((each, index) => {
      last = each ?? last;
      if (last !== null) points.push(`${(index * step).toFixed(2)},${y(last)}`);
    });
    this.#line.setAttribute("points", points.join(" "));
    this.#expected.setAttribute("visibility", expected > 0 ? "visible" : "hidden");
    for (const side of ["y1", "y2"]) this.#expected.setAttribute(side, y(expected || 0));
  }
}

class Card {
  #history = new LiveHistory();
  #mode = h("span.tag");
  #why = h("p.muted");
  #tiers = new Bar();
  #memory = new Bar();
  #tiles = {speed: new Tile("Speed"), disk: new Tile("Disk"), hits: new Tile("Expert hit rate"),
            bytes: new Tile("Read per token")};
  #map = new LayerMap();
  #slots = h("tbody");
  #queue = h("p.muted.small");
  element;

  constructor(name) {
    const column = (text) => h("th", {scope: "col"}, text);
    this.element = h("article.card", {"aria-label": name},
      h("header", {}, h("h2", {}, name), this.#mode), this.#why,
      h("h3", {}, "Weights"), this.#tiers.element,
      h("div.tiles", {}, ...Object.values(this.#tiles).map((tile) => tile.element)),
      this.#map.element,
      h("h3", {}, "Memory budget"), this.#memory.element,
      h("h3", {}, "Requests"),
      h("div.table-scroll", {tabindex: "0", role: "region", "aria-label": `Requests of ${name}`},
        h("table", {}, h("thead", {}, h("tr", {}, column("Slot"), column("State"), column("In context"), column("Prompt"),
                                        column("Answer"))), this.#slots)),
      this.#queue);
  }

  update(model, residency, now_s) {
    this.#history.add(now_s, model);
    setText(this.#mode, model.mode);
    setText(this.#why, model.why);
    const names = tierNames(model);
    this.#tiers.show([["gpu", "GPU", model.gpu_bytes], ["ram", names.ram, model.ram_bytes], ["disk", names.disk, model.disk_bytes]]);
    this.#showTiles(model, residency);
    this.#showMemory(model.memory);
    this.#map.update(residency, !unmapped.has(model.model));
    this.#slots.replaceChildren(...model.slots.map((slot) =>
      h("tr", {}, h("th", {scope: "row"}, slot.id), h("td", {}, slot.state),
        h("td", {}, `${formatCount(slot.context_tokens)} of ${formatCount(slot.n_ctx)}`),
        h("td", {}, formatCount(slot.prompt_tokens)), h("td", {}, formatCount(slot.answer_tokens)))));
    setText(this.#queue, model.queued > 0 ? `${formatCount(model.queued)} more wait for a slot.` : "");
  }

  drawMap() {
    this.#map.draw();
  }

  #showTiles(model, residency) {
    const rates = this.#history.rates ?? {};
    const {tok_per_s: predicted, bytes_read_per_token} = model.predicted;
    this.#tiles.speed.show(formatRate(rates.tok_per_s), describeSpeed(model, rates), this.#history.series("tok_per_s"), predicted);

    const limit = model.disk?.bytes_per_s;
    const notes = [];
    if (limit > 0) notes.push(`of ${formatThroughput(limit)} measured`);
    if (Number.isFinite(rates.wait_fraction)) notes.push(`${formatPercent(rates.wait_fraction)} of the time waited for`);
    // What the kernel reads for its page cache we do not see pass; only that it had to.
    if (model.mode === "mmap")
      this.#tiles.disk.show(rates.faults_per_s > 0 ? `${formatCount(Math.ceil(rates.faults_per_s))} faults/s` : "–",
                            "the kernel reads, page by page as they are touched", this.#history.series("faults_per_s"), 0);
    else
      this.#tiles.disk.show(formatThroughput(rates.disk_bytes_per_s), notes.join("; "),
                            this.#history.series("disk_bytes_per_s"), limit);

    const {hits, misses} = model.reads;
    this.#tiles.hits.element.hidden = hits + misses === 0 && (residency?.n_expert === 0 || model.mode !== "stream");
    this.#tiles.bytes.element.hidden = model.mode === "mmap";
    this.#tiles.hits.show(formatPercent(rates.hit_rate), hits + misses > 0
      ? `${formatPercent(hits / (hits + misses))} since it was loaded` : "no expert was asked for yet",
      this.#history.series("hit_rate"), 0);

    this.#tiles.bytes.show(formatBytes(rates.bytes_per_token), bytes_read_per_token > 0
      ? `predicted ${formatBytes(bytes_read_per_token)}` : "none predicted", this.#history.series("bytes_per_token"),
      bytes_read_per_token);
  }

  #showMemory(memory) {
    const used = memory.pinned_bytes + memory.pool_bytes + memory.other_bytes;
    this.#memory.show([["ram", "pinned weights", memory.pinned_bytes], ["pool", "room for streaming", memory.pool_bytes],
                       ["other", "KV cache, buffers, program", memory.other_bytes],
                       ["disk", "free", Math.max(0, memory.budget_bytes - used)]]);
  }
}

// The map of one model's layers and experts. With the keyboard: arrows move from cell to cell.
class LayerMap {
  #residency = null;
  #layout = null;
  #cell = null;
  #colours = h("select", {onchange: () => this.draw()}, h("option", {value: "tier"}, "tier"), h("option", {value: "heat"}, "heat"));
  #choice = h("label.small", {}, "Colour by ", this.#colours);
  #legend = h("ul.legend");
  #canvas = h("canvas", {tabindex: "0", role: "application", "aria-roledescription": "map"});
  #readout = h("p.muted.small", {"aria-live": "polite"});
  #rows = h("tbody");
  #samples = Object.fromEntries(["gpu", "ram", "part", "disk", "hot"].map((name) => [name, h(`i.fill-${name}`, {hidden: true})]));
  #frame = h("div.map", {}, this.#canvas, ...Object.values(this.#samples));
  #missing = h("p.muted", {hidden: true});
  #sampled = h("p.muted.small");
  #all;
  element;

  constructor() {
    const column = (text) => h("th", {scope: "col"}, text);
    const table = h("details", {}, h("summary", {}, "As a table"),
      h("div.table-scroll.tall", {tabindex: "0", role: "region", "aria-label": "Layers and experts"},
        h("table", {}, h("thead", {}, h("tr", {}, column("Layer"), column("Dense part"), column("Experts on GPU"),
                                        column("in RAM"), column("partly"), column("on disk"))), this.#rows)));
    table.addEventListener("toggle", () => this.#showTable(table.open));
    this.#all = h("div", {}, this.#sampled, this.#legend, this.#frame, this.#readout, table);
    this.element = h("section", {}, h("div.row", {}, h("h3", {}, "Layers and experts"), this.#choice), this.#missing, this.#all);
    this.#canvas.addEventListener("pointermove", (event) => this.#point(cellAt(this.#layout, event.offsetX, event.offsetY)));
    this.#canvas.addEventListener("pointerleave", () => this.#point(null));
    this.#canvas.addEventListener("pointerdown", (event) => this.#point(cellAt(this.#layout, event.offsetX, event.offsetY)));
    this.#canvas.addEventListener("keydown", (event) => {
      if (!event.key.startsWith("Arrow") || !this.#layout) return;
      event.preventDefault();
      this.#point(this.#cell ? neighbour(this.#layout, this.#cell, event.key) : {layer: 0, expert: -1});
    });
    this.tableOpen = () => table.open;
  }

  update(residency, detailed) {
    const known = residency?.layers.length > 0;
    setText(this.#missing, residency ? "What of this model is in memory is left to the kernel's page cache, which does not say."
                                     : "This server does not report single layers and experts.");
    setText(this.#sampled, residency?.page_cache ? "What the kernel's page cache holds, as a look at some of its pages tells." : "");
    this.#missing.hidden = known || (!residency && detailed);
    this.#all.hidden = !known;
    this.#choice.hidden = !known || !residency.layers.some((layer) => layer.heat);
    if (!known) return;
    this.#residency = residency;
    this.draw();
    this.#showTable(this.tableOpen());
  }

  draw() {
    if (!this.#residency || !this.#frame.clientWidth) return;
    const {layers, n_expert} = this.#residency;
    const layout = layoutHeatMap({n_layer: layers.length, n_expert, width_max: this.#frame.clientWidth,
                                  height_max: Math.min(420, innerHeight * 0.6)});
    this.#layout = layout;
    const scale = devicePixelRatio || 1;
    const canvas = this.#canvas;
    canvas.width = Math.max(1, Math.round(layout.width * scale));
    canvas.height = Math.max(1, Math.round(layout.height * scale));
    canvas.style.width = `${layout.width}px`;
    canvas.style.height = `${layout.height}px`;
    // A canvas knows no var() and no light-dark(): what they come to is read off elements that use them.
    const colour = (name) => getComputedStyle(this.#samples[name]).backgroundColor;
    const byHeat = this.#colours.value === "heat" && !this.#choice.hidden;
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    const fill = {g: colour("gpu"), r: colour("ram"), p: colour("part"), d: colour("disk")};
    const hot = colour("hot");
    const gap = Math.min(layout.cell_w, layout.cell_h || layout.cell_w) >= 5 ? 1 : 0;
    const paint = ({x, y, w, h: height}, style_, alpha = 1) => {
      context.globalAlpha = alpha;
      context.fillStyle = style_;
      context.fillRect(x, y, Math.max(1, w - gap), Math.max(1, height - gap));
    };
    layers.forEach((layer, index) => {
      this.#paintDense(cellRect(layout, index, -1), layer.dense, fill, paint, layout.across);
      for (let expert = 0; expert < n_expert; ++expert) {
        const rect = cellRect(layout, index, expert);
        if (byHeat) {
          paint(rect, fill.d);
          paint(rect, hot, Number(layer.heat?.[expert] ?? 0) / 9);
        } else {
          paint(rect, fill[layer.experts?.[expert]] ?? fill.d);
        }
      }
    });
    context.globalAlpha = 1;
    if (this.#cell) {
      const {x, y, w, h: height} = cellRect(layout, this.#cell.layer, this.#cell.expert);
      context.strokeStyle = getComputedStyle(canvas).color;
      context.lineWidth = 2;
      context.strokeRect(x, y, w - gap, height - gap);
    }
    this.#describe(byHeat);
  }

  // GPU, RAM and disk one behind the other, as long as their shares.
  #paintDense({x, y, w, h: height}, dense, fill, paint, across) {
    const parts = [["g", dense?.gpu ?? 0], ["r", dense?.ram ?? 0], ["d", dense?.disk ?? 0]];
    const total = parts.reduce((sum, [, bytes]) => sum + bytes, 0);
    paint({x, y, w, h: height}, fill.d);
    let from = 0;
    for (const [tier, bytes] of parts) {
      if (bytes === 0 || total === 0) continue;
      const share = bytes / total;
      // Across, the column fills from the top; down, the row from the left.
      const rect = across ? {x, y: y + from * height, w, h: share * height} : {x: x + from * w, y, w: share * w, h: height};
      if (tier !== "d") paint(rect, fill[tier]);
      from += share;
    }
  }

  #describe(byHeat) {
    const {layers, n_expert} = this.#residency;
    const sums = {g: 0, r: 0, p: 0, d: 0};
    for (const layer of layers) for (const [tier, n] of Object.entries(countTiers(layer))) sums[tier] += n;
    const items = byHeat
      ? [h("li", {}, h("span.swatch.fill-disk"), "never used"), h("li", {}, h("span.swatch.fill-hot"), "used most")]
      : TIERS.filter(([tier]) => n_expert === 0 ? tier !== "p" : sums[tier] > 0).map(([tier, name, label]) =>
          h("li", {}, h(`span.swatch.fill-${name}`), label, n_expert > 0 ? h("strong", {}, ` ${formatCount(sums[tier])}`) : null));
    this.#legend.replaceChildren(...items);
    const summary = n_expert > 0
      ? `${layers.length} layers of ${n_expert} experts: ` +
        TIERS.filter(([tier]) => sums[tier] > 0).map(([tier, , label]) => `${formatCount(sums[tier])} ${label}`).join(", ")
      : `${layers.length} layers`;
    this.#canvas.setAttribute("aria-label", `${summary}. Arrow keys move from cell to cell.`);
    const hint = n_expert > 0
      ? `${this.#layout.across ? "A column" : "A row"} is a layer: the dense part first, then its experts.`
      : "A column is a layer.";
    setText(this.#readout, this.#cell
      ? describeCell(layers[this.#cell.layer], this.#cell.layer, this.#cell.expert) : hint);
  }

  #point(cell) {
    if (cell?.layer === this.#cell?.layer && cell?.expert === this.#cell?.expert) return;
    this.#cell = cell;
    this.draw();
  }

  #showTable(open) {
    if (!open || !this.#residency) return;
    this.#rows.replaceChildren(...this.#residency.layers.map((layer, index) => {
      const counts = countTiers(layer);
      return h("tr", {}, h("th", {scope: "row"}, index), h("td", {}, describeCell(layer, index, -1).split(": ")[1]),
               ...["g", "r", "p", "d"].map((tier) => h("td", {}, counts[tier])));
    }));
  }
}
