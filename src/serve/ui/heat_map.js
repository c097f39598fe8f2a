// SPDX-License-Identifier: MIT
// Where the cells of the map of a model lie: one line of cells per layer, the dense part first and its experts behind
// it. Pure geometry in CSS pixels, cells cut at whole ones; the drawing is tiers.js.

const CELL_MAX = 18;
const CELL_MIN = 2;
const DENSE_MAX = 30;
const BAND_GAP = 6;  // between the dense part and the experts

const clamp = (value, low, high) => Math.max(low, Math.min(high, value));

// The larger cells win: layers down the page, or across it.
//   {across, n_layer, n_expert, cell_w, cell_h, dense, width, height}
// across: a layer is a column. cell_w, cell_h: of an expert; dense: length of the dense part along its layer.
export function layoutHeatMap({n_layer, n_expert, width_max, height_max}) {
  const dense = n_expert > 0 ? clamp(Math.floor(height_max / 16), 10, 22) : DENSE_MAX;
  const band = n_expert > 0 ? dense + BAND_GAP : dense;
  const arrange = (across) => {
    const columns = across ? n_layer : n_expert;
    const rows = across ? n_expert : n_layer;
    const room_w = across ? width_max : width_max - band;
    const room_h = across ? height_max - band : height_max;
    const cell_w = columns > 0 ? clamp(room_w / columns, CELL_MIN, CELL_MAX) : 0;
    const cell_h = rows > 0 ? clamp(room_h / rows, CELL_MIN, CELL_MAX) : 0;
    return {across, n_layer, n_expert, cell_w, cell_h, dense, band,
            width: Math.round(columns * cell_w) + (across ? 0 : band), height: Math.round(rows * cell_h) + (across ? band : 0)};
  };
  if (n_expert === 0) return arrange(true);
  const down = arrange(false);
  const beside = arrange(true);
  const fits = (layout) => layout.width <= width_max + 1;
  if (fits(down) !== fits(beside)) return fits(down) ? down : beside;
  const size = (layout) => Math.min(layout.cell_w, layout.cell_h) * 100 + layout.cell_w * layout.cell_h / 10;
  return size(beside) > size(down) ? beside : down;
}

// The cell's place; expert -1 is the dense part.
export function cellRect(layout, layer, expert) {
  const {across, cell_w, cell_h, dense, band} = layout;
  const cut = (index, size) => [Math.round(index * size), Math.round((index + 1) * size) - Math.round(index * size)];
  const [side, thickness] = cut(layer, across ? cell_w : cell_h);
  const [start, length] = expert < 0 ? [-band, dense] : cut(expert, across ? cell_h : cell_w);
  const along = band + start;
  return across ? {x: side, y: along, w: thickness, h: length} : {x: along, y: side, w: length, h: thickness};
}

// {layer, expert} of the cell at a point; null between and outside the cells.
export function cellAt(layout, x, y) {
  const {across, cell_w, cell_h, dense, band, n_layer, n_expert} = layout;
  const layer = Math.floor(across ? x / cell_w : y / cell_h);
  const along = across ? y : x;
  if (layer < 0 || layer >= n_layer || along < 0) return null;
  if (along < dense) return {layer, expert: -1};
  const expert = Math.floor((along - band) / (across ? cell_h : cell_w));
  return expert >= 0 && expert < n_expert ? {layer, expert} : null;
}

// The cell an arrow key leads to; stays where the map ends.
export function neighbour(layout, cell, key) {
  const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[key];
  if (!step) return cell;
  const [d_layer, d_expert] = layout.across ? step : [step[1], step[0]];
  return {layer: clamp(cell.layer + d_layer, 0, layout.n_layer - 1),
          expert: clamp(cell.expert + d_expert, -1, layout.n_expert - 1)};
}

const TIER_NAMES = {g: "on GPU", r: "in RAM", p: "partly in RAM", d: "on disk"};

// What a cell holds, in words. `layer`: an element of the residency's "layers".
export function describeCell(layer, index, expert) {
  if (expert < 0) {
    const {gpu = 0, ram = 0, disk = 0} = layer.dense ?? {};
    const total = gpu + ram + disk;
    if (total === 0) return `Layer ${index}, dense part: no weights`;
    const parts = [[gpu, "on GPU"], [ram, "in RAM"], [disk, "on disk"]].filter(([bytes]) => bytes > 0);
    const text = parts.map(([bytes, where]) =>
      bytes === total ? where : `${Math.round((bytes / total) * 100)} % ${where}`).join(", ");
    return `Layer ${index}, dense part: ${text}`;
  }
  const heat = layer.heat?.[expert];
  const where = TIER_NAMES[layer.experts?.[expert]] ?? "unknown";
  return `Layer ${index}, expert ${expert}: ${where}${heat === undefined ? "" : `, heat ${heat} of 9`}`;
}

// Experts of a layer by tier.
export function countTiers(layer) {
  const counts = {g: 0, r: 0, p: 0, d: 0};
  for (const tier of layer.experts ?? "") if (tier in counts) ++counts[tier];
  return counts;
}
