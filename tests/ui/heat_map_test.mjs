// SPDX-License-Identifier: MIT
import assert from "node:assert/strict";
import {test} from "node:test";
import {cellAt, cellRect, countTiers, describeCell, layoutHeatMap, neighbour} from "../../src/serve/ui/heat_map.js";

const SHAPES = [[36, 128], [61, 256], [94, 128], [32, 8], [1, 2], [48, 512], [80, 0], [126, 0], [1, 0]];
const WIDTHS = [320, 358, 700, 1100];

const each = (visit) => {
  for (const [n_layer, n_expert] of SHAPES)
    for (const width_max of WIDTHS) visit(layoutHeatMap({n_layer, n_expert, width_max, height_max: 420}), width_max);
};

test("the map is as wide as there is room, unless the cells would be too small to see", () => {
  each((layout, width_max) => {
    const columns = layout.across ? layout.n_layer : layout.n_expert;
    if (columns * 2 + layout.band <= width_max) assert.ok(layout.width <= width_max + 1, JSON.stringify(layout));
    assert.ok(layout.width > 0 && layout.height > 0);
  });
});

test("every cell lies inside, has an area, and is found by its middle", () => {
  each((layout) => {
    for (let layer = 0; layer < layout.n_layer; ++layer)
      for (let expert = -1; expert < layout.n_expert; ++expert) {
        const {x, y, w, h} = cellRect(layout, layer, expert);
        assert.ok(w >= 1 && h >= 1 && x >= 0 && y >= 0 && x + w <= layout.width && y + h <= layout.height);
        assert.deepEqual(cellAt(layout, x + w / 2, y + h / 2), {layer, expert});
      }
  });
});

test("neighbouring cells neither overlap nor leave a gap", () => {
  each((layout) => {
    for (let expert = 1; expert < layout.n_expert; ++expert) {
      const [a, b] = [cellRect(layout, 0, expert - 1), cellRect(layout, 0, expert)];
      assert.equal(layout.across ? a.y + a.h : a.x + a.w, layout.across ? b.y : b.x);
    }
  });
});

test("a phone gets columns of layers, a wide window rows", () => {
  assert.equal(layoutHeatMap({n_layer: 36, n_expert: 128, width_max: 350, height_max: 420}).across, true);
  assert.equal(layoutHeatMap({n_layer: 36, n_expert: 128, width_max: 1100, height_max: 420}).across, false);
});

test("outside the cells there is nothing", () => {
  const layout = layoutHeatMap({n_layer: 4, n_expert: 8, width_max: 700, height_max: 420});
  for (const [x, y] of [[-1, 0], [0, -1], [layout.width + 40, 1], [1, layout.height + 40]]) assert.equal(cellAt(layout, x, y), null);
});

test("arrow keys follow the picture and stop at its edges", () => {
  const layout = layoutHeatMap({n_layer: 36, n_expert: 128, width_max: 1100, height_max: 420});
  assert.deepEqual(neighbour(layout, {layer: 0, expert: -1}, "ArrowRight"), {layer: 0, expert: 0});
  assert.deepEqual(neighbour(layout, {layer: 0, expert: -1}, "ArrowDown"), {layer: 1, expert: -1});
  assert.deepEqual(neighbour(layout, {layer: 0, expert: -1}, "ArrowLeft"), {layer: 0, expert: -1});
  assert.deepEqual(neighbour(layout, {layer: 35, expert: 127}, "ArrowDown"), {layer: 35, expert: 127});
});

test("cells are told in words", () => {
  const layer = {dense: {gpu: 0, ram: 300, disk: 100}, experts: "grpd", heat: "9500"};
  assert.equal(describeCell(layer, 3, -1), "Layer 3, dense part: 75 % in RAM, 25 % on disk");
  assert.equal(describeCell(layer, 3, 2), "Layer 3, expert 2: partly in RAM, heat 0 of 9");
  assert.equal(describeCell({dense: {gpu: 5, ram: 0, disk: 0}, experts: "d"}, 0, 0), "Layer 0, expert 0: on disk");
  assert.deepEqual(countTiers(layer), {g: 1, r: 1, p: 1, d: 1});
  assert.deepEqual(countTiers({}), {g: 0, r: 0, p: 0, d: 0});
});
