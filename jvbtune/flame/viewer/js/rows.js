// The table's rows: one a frame, over all its places in the tree. A frame that calls itself counts once in its total.

/** @typedef {import('./decode.js').Tree} Tree */

/** Marks the nodes that are not below another node of the same frame. @param {Tree} tree @param {number} frames */
export function outermostMarks(tree, frames) {
  const { frame, depth, size } = tree;
  const marks = new Uint8Array(size);
  const active = new Int32Array(frames);
  const path = new Int32Array(tree.maxDepth + 2);
  let level = -1;
  for (let i = 0; i < size; i++) {
    for (; level >= depth[i]; level--) active[path[level]]--;
    level = depth[i];
    path[level] = frame[i];
    if (active[frame[i]]++ === 0) marks[i] = 1;
  }
  marks[0] = 0;  // the root is no frame of the program
  return marks;
}

/**
 * Sums by frame. @param {Tree} tree @param {number} frames @param {Uint8Array | null} marks nodes to count; null: all
 * @param {Float64Array} values by node @returns {Float64Array} by frame
 */
export function sumByFrame(tree, frames, marks, values) {
  const sums = new Float64Array(frames);
  for (let i = 1; i < tree.size; i++) if (marks === null || marks[i]) sums[tree.frame[i]] += values[i];
  return sums;
}

/**
 * @param {Tree} tree @param {number} frames number of frame ids
 * @returns {{self: Float64Array[], total: Float64Array[], marks: Uint8Array, present: Uint8Array}} by frame
 */
export function frameSums(tree, frames) {
  const marks = outermostMarks(tree, frames);
  const present = new Uint8Array(frames);
  for (let i = 1; i < tree.size; i++) present[tree.frame[i]] = 1;
  return {
    self: tree.self.map((values) => sumByFrame(tree, frames, null, values)),
    total: tree.total.map((values) => sumByFrame(tree, frames, marks, values)),
    marks,
    present,
  };
}
