// Where each frame stands: x and width by what the width means, and the boxes that can be seen.

/** @typedef {import('./decode.js').Tree} Tree */

/** @typedef {{x: Float64Array, width: Float64Array}} Layout in the shown unit, the root from 0 to its width */

/**
 * Width by `a`, `b`, `sum` (A + B), or `delta`: |Δ| of the frame itself and of all below it, so that what grew and what
 * shrank add up instead of cancelling out.
 * @param {Tree} tree @param {number[]} scales @param {string} mode @returns {Layout}
 */
export function layOut(tree, scales, mode) {
  const { size, self, total, parent } = tree;
  const width = new Float64Array(size);
  const side = mode === 'b' ? 1 : 0;
  if (mode === 'delta') {
    for (let i = size - 1; i >= 0; i--) {
      width[i] += Math.abs(self[1][i] * scales[1] - self[0][i] * scales[0]);
      if (i > 0) width[parent[i]] += width[i];
    }
  } else if (mode === 'sum') {
    for (let i = 0; i < size; i++) width[i] = total[0][i] * scales[0] + total[1][i] * scales[1];
  } else {
    for (let i = 0; i < size; i++) width[i] = total[side][i] * scales[side];
  }
  const x = new Float64Array(size);
  const free = new Float64Array(size);
  for (let i = 1; i < size; i++) {
    const above = parent[i];
    x[i] = free[above];
    free[i] = x[i];
    free[above] += width[i];
  }
  return { x, width };
}

/**
 * The boxes to draw, outermost first. `node` is −1 for a run of frames that are too narrow to be told apart.
 * @typedef {{count: number, node: Int32Array, row: Uint16Array, left: Float32Array, width: Float32Array}} Boxes
 */

const NARROWEST_PX = 1;

/**
 * @param {Tree} tree @param {Layout} layout
 * @param {{zoom: number, pixels: number, firstRow: number, lastRow: number, threshold: number}} window
 *   `threshold`: frames narrower than this, in the layout's unit, are left out
 * @returns {Boxes}
 */
export function visibleBoxes(tree, layout, { zoom, pixels, firstRow, lastRow, threshold }) {
  const { depth, end, parent } = tree;
  const { x, width } = layout;
  let room = 4096;
  let boxes = { count: 0, node: new Int32Array(room), row: new Uint16Array(room), left: new Float32Array(room), width: new Float32Array(room) };
  const add = (/** @type {number} */ node, /** @type {number} */ row, /** @type {number} */ left, /** @type {number} */ wide) => {
    if (boxes.count === room) {
      room *= 2;
      const grown = (/** @type {any} */ array) => {
        const out = new array.constructor(room);
        out.set(array);
        return out;
      };
      boxes = { count: boxes.count, node: grown(boxes.node), row: grown(boxes.row), left: grown(boxes.left), width: grown(boxes.width) };
    }
    const i = boxes.count++;
    boxes.node[i] = node;
    boxes.row[i] = row;
    boxes.left[i] = left;
    boxes.width[i] = wide;
  };
  for (let above = parent[zoom]; above >= 0; above = parent[above]) {
    if (depth[above] >= firstRow && depth[above] <= lastRow) add(above, depth[above], 0, pixels);
  }
  const from = x[zoom];
  const factor = width[zoom] > 0 ? pixels / width[zoom] : 0;
  // Runs of narrow siblings: one open run per row, closed when a box stands apart from it.
  const runLeft = new Float64Array(tree.maxDepth + 1).fill(-1);
  const runRight = new Float64Array(tree.maxDepth + 1);
  const close = (/** @type {number} */ row) => {
    if (runLeft[row] >= 0 && runRight[row] - runLeft[row] >= 0.35) {
      add(-1, row, runLeft[row], Math.max(0.5, runRight[row] - runLeft[row]));
    }
    runLeft[row] = -1;
  };
  for (let i = zoom; i < end[zoom];) {
    const wide = width[i] * factor;
    const row = depth[i];
    if (row > lastRow || wide === 0 || width[i] < threshold) {
      i = end[i];
    } else if (wide < NARROWEST_PX) {
      if (row >= firstRow) {
        const left = (x[i] - from) * factor;
        if (runLeft[row] >= 0 && left - runRight[row] > 0.5) close(row);
        if (runLeft[row] < 0) runLeft[row] = left;
        runRight[row] = left + wide;
      }
      i = end[i];
    } else {
      if (row >= firstRow) add(i, row, (x[i] - from) * factor, wide);
      i++;
    }
  }
  for (let row = firstRow; row <= Math.min(lastRow, tree.maxDepth); row++) close(row);
  return boxes;
}
