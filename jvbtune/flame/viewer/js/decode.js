// Reads the data that the page carries: base64 → inflate → varint columns → typed arrays in preorder.

/**
 * One tree, in preorder. Node 0 is the root; `end[i]` is the first node after the subtree of `i`.
 * @typedef {object} Tree
 * @property {number} size               number of nodes
 * @property {Int32Array} frame          frame id of each node
 * @property {Int32Array} parent         −1 for the root
 * @property {Uint16Array} depth         0 for the root
 * @property {Int32Array} end
 * @property {Float64Array[]} self       [A, B], in the profile's own unit
 * @property {Float64Array[]} total      [A, B], in the profile's own unit
 * @property {Int32Array | null} target  profile's node → this tree's node, −1 where left out; null: the same
 * @property {number} maxDepth
 */

/**
 * @typedef {object} Profile
 * @property {any} meta
 * @property {string[]} names            by frame id; the last one is the root
 * @property {Uint8Array} kinds          by frame id, an index into `meta.kinds`
 * @property {Tree} tree
 * @property {Int32Array} selfNodes      nodes with a value of their own on either side
 * @property {Float64Array[][]} slices   [side][slice] values, parallel to `selfNodes`
 * @property {Float64Array[] | null} moments  by side Σ w² of each of `selfNodes`; null: a side's samples weigh the same
 * @property {Int32Array} row            by node: its row in `columns`; empty without columns
 * @property {Record<string, Float32Array>} columns       further values by row, NaN where there is none
 * @property {Record<string, Float32Array>} frameColumns  the same by frame
 * @property {{self: Float64Array[], total: Float64Array[], present: Uint8Array, slices: Float64Array[][], stacks: Float64Array, moments: Float64Array[] | null} | null} frameValues
 *   exact sums by frame, where the tree itself was pruned
 */

/** @param {string} text @returns {Uint8Array} */
function bytesOfBase64(text) {
  const ready = /** @type {any} */ (Uint8Array);
  if (ready.fromBase64) return ready.fromBase64(text);
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/** @param {Uint8Array} bytes @returns {Promise<Uint8Array>} */
async function inflate(bytes) {
  const stream = new Blob([/** @type {any} */ (bytes)]).stream().pipeThrough(new DecompressionStream('deflate'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/**
 * Sections of the inflated data, each read by its name and the coding that the header states.
 * @param {Uint8Array} bytes
 * @param {{name: string, coding: string, bytes: number, count: number, scale?: number}[]} sections
 */
function sectionReader(bytes, sections) {
  const places = new Map();
  let offset = 0;
  for (const section of sections) {
    places.set(section.name, { ...section, offset });
    offset += section.bytes;
  }
  if (offset !== bytes.length) throw new Error(`The data holds ${bytes.length} bytes, its header says ${offset}.`);
  /** @param {string} name @param {any} into @returns {any} */
  const numbers = (name, into) => {
    const { coding, count, offset: start, scale = 1, bytes: length } = places.get(name);
    const out = new into(count);
    if (coding === 'float64' || coding === 'float32') {
      const whole = bytes.slice(start, start + length).buffer;
      out.set(coding === 'float64' ? new Float64Array(whole) : new Float32Array(whole));
      return out;
    }
    let at = start;
    for (let i = 0; i < count; i++) {
      let byte = bytes[at++];
      let value = byte & 127;
      for (let factor = 128; byte > 127; factor *= 128) {
        byte = bytes[at++];
        value += (byte & 127) * factor;
      }
      out[i] = value * scale;
    }
    return out;
  };
  return {
    has: (/** @type {string} */ name) => places.has(name),
    numbers,
    text: (/** @type {string} */ name) => {
      const { offset: start, bytes: length } = places.get(name);
      return new TextDecoder().decode(bytes.subarray(start, start + length));
    },
  };
}

/** Node numbers that ascend, stored as gaps. @param {Int32Array} gaps */
function ascending(gaps) {
  for (let i = 1; i < gaps.length; i++) gaps[i] += gaps[i - 1];
  return gaps;
}

/**
 * Structure: for each node below the root how many levels the walk goes up before it, and the frame as its rank among
 * the callees of its parent's frame.
 * @param {ReturnType<typeof sectionReader>} read @param {number} size @param {number} frames
 */
function decodeStructure(read, size, frames) {
  const ups = read.numbers('ups', Uint16Array);
  const ranks = read.numbers('ranks', Int32Array);
  const calleeCounts = read.numbers('callee_counts', Int32Array);
  const callees = read.numbers('callees', Int32Array);
  const first = new Int32Array(frames + 2);
  for (let i = 0; i <= frames; i++) first[i + 1] = first[i] + calleeCounts[i];
  const frame = new Int32Array(size);
  const parent = new Int32Array(size);
  const depth = new Uint16Array(size);
  frame[0] = frames;
  parent[0] = -1;
  let path = new Int32Array(1024);
  let level = 0;
  let maxDepth = 0;
  for (let i = 1; i < size; i++) {
    level -= ups[i - 1];
    const above = path[level];
    level++;
    if (level === path.length) {
      const longer = new Int32Array(path.length * 2);
      longer.set(path);
      path = longer;
    }
    path[level] = i;
    parent[i] = above;
    depth[i] = level;
    if (level > maxDepth) maxDepth = level;
    frame[i] = callees[first[frame[above]] + ranks[i - 1]];
  }
  return { frame, parent, depth, maxDepth };
}

/**
 * Further values: a node has a row of its own where it differs from its caller.
 * @param {ReturnType<typeof sectionReader>} read @param {string[]} ids @param {Int32Array} parent
 */
function decodeColumns(read, ids, parent) {
  if (ids.length === 0) return { row: new Int32Array(0), columns: {} };
  const places = ascending(read.numbers('node_places', Int32Array));
  const row = new Int32Array(parent.length);
  for (let i = 1, next = 1; i < parent.length; i++) row[i] = places[next] === i ? next++ : row[parent[i]];
  return { row, columns: Object.fromEntries(ids.map((id) => [id, read.numbers(`node_${id}`, Float32Array)])) };
}

/** Where each subtree ends. @param {Int32Array} parent @returns {Int32Array} */
export function subtreeEnds(parent) {
  const end = new Int32Array(parent.length);
  for (let i = parent.length - 1; i >= 0; i--) {
    if (end[i] === 0) end[i] = i + 1;
    const above = parent[i];
    if (above >= 0 && end[above] < end[i]) end[above] = end[i];
  }
  return end;
}

/** Adds each node's value to all above it. @param {Float64Array} self @param {Int32Array} parent */
export function totalsOf(self, parent) {
  const total = self.slice();
  for (let i = total.length - 1; i > 0; i--) total[parent[i]] += total[i];
  return total;
}

/**
 * @param {any} meta the page's header
 * @param {string} base64
 * @returns {Promise<Profile>}
 */
export async function decodeProfile(meta, base64) {
  const read = sectionReader(await inflate(bytesOfBase64(base64)), meta.sections);
  const names = JSON.parse(read.text('names'));
  const size = meta.nodes;
  const { frame, parent, depth, maxDepth } = decodeStructure(read, size, names.length);
  names.push(meta.root_name);
  const kinds = new Uint8Array(names.length);
  kinds.set(read.numbers('kinds', Uint8Array));
  kinds[names.length - 1] = meta.kinds.indexOf('root');
  const selfNodes = ascending(read.numbers('self_nodes', Int32Array));
  const self = meta.sides.map((/** @type {any} */ _, /** @type {number} */ side) => {
    const values = read.numbers(`self_${side}`, Float64Array);
    const out = new Float64Array(size);
    for (let i = 0; i < selfNodes.length; i++) out[selfNodes[i]] = values[i];
    return out;
  });
  const total = self.map((/** @type {Float64Array} */ values) => totalsOf(values, parent));
  const slices = meta.sides.map((/** @type {any} */ side, /** @type {number} */ index) =>
    side.slices.map((/** @type {any} */ _, /** @type {number} */ slice) =>
      read.numbers(`slice_${index}_${slice}`, Float64Array)));
  const moments = read.has('moments_0') ? meta.sides.map((/** @type {any} */ _, /** @type {number} */ side) => read.numbers(`moments_${side}`, Float64Array)) : null;
  const { row, columns } = decodeColumns(read, meta.node_columns, parent);
  const frameColumns = Object.fromEntries(meta.frame_columns.map((/** @type {string} */ id) => {
    const out = new Float32Array(names.length + 1).fill(NaN);
    out.set(read.numbers(`frame_${id}`, Float32Array));
    return [id, out];
  }));
  let frameValues = null;
  if (meta.pruned) {
    const byFrame = (/** @type {string} */ what) => {
      const out = new Float64Array(names.length + 1);
      out.set(read.numbers(`frame_${what}`, Float64Array));
      return out;
    };
    const bySide = (/** @type {string} */ what) => meta.sides.map((/** @type {any} */ _, /** @type {number} */ side) => byFrame(`${what}_${side}`));
    const sliced = meta.sides.map((/** @type {any} */ { slices: parts }, /** @type {number} */ side) =>
      parts.map((/** @type {any} */ __, /** @type {number} */ slice) => byFrame(`slice_${side}_${slice}`)));
    frameValues = { self: bySide('self'), total: bySide('total'), present: new Uint8Array(names.length + 1), slices: sliced, stacks: byFrame('stacks'), moments: moments && bySide('moments') };
    const { total: sums, present } = frameValues;
    for (let f = 0; f < names.length - 1; f++) present[f] = sums.some((/** @type {Float64Array} */ values) => values[f] > 0) ? 1 : 0;
  }
  const tree = { size, frame, parent, depth, end: subtreeEnds(parent), self, total, target: null, maxDepth };
  return { meta, names, kinds, tree, selfNodes, slices, moments, row, columns, frameColumns, frameValues };
}
