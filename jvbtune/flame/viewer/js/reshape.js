// Makes new trees out of the profile's: hidden, focused, merged, one thread's, and the callers and callees of a frame.
// Every reshaping keeps the sum of all values that it does not leave out on purpose.

import { subtreeEnds, totalsOf } from './decode.js';

/** @typedef {import('./decode.js').Tree} Tree */

/** Grows with its content; a tree of unknown size is written into it. */
class Builder {
  constructor(/** @type {number} */ room, /** @type {number} */ sides) {
    this.size = 0;
    this.frame = new Int32Array(room);
    this.parent = new Int32Array(room);
    this.depth = new Uint16Array(room);
    this.self = Array.from({ length: sides }, () => new Float64Array(room));
  }

  /** @param {number} frame @param {number} parent */
  add(frame, parent) {
    if (this.size === this.frame.length) this.#grow();
    const node = this.size++;
    this.frame[node] = frame;
    this.parent[node] = parent;
    this.depth[node] = parent < 0 ? 0 : this.depth[parent] + 1;
    return node;
  }

  #grow() {
    const room = this.frame.length * 2 + 16;
    const longer = (/** @type {any} */ array) => {
      const out = new array.constructor(room);
      out.set(array);
      return out;
    };
    this.frame = longer(this.frame);
    this.parent = longer(this.parent);
    this.depth = longer(this.depth);
    this.self = this.self.map(longer);
  }

  /** @param {Int32Array | null} target @returns {Tree} */
  finish(target) {
    const size = this.size;
    const frame = this.frame.slice(0, size);
    const parent = this.parent.slice(0, size);
    const depth = this.depth.slice(0, size);
    const self = this.self.map((values) => values.slice(0, size));
    let maxDepth = 0;
    for (let i = 0; i < size; i++) if (depth[i] > maxDepth) maxDepth = depth[i];
    const total = self.map((values) => totalsOf(values, parent));
    return { size, frame, parent, depth, end: subtreeEnds(parent), self, total, target, maxDepth };
  }
}

/**
 * What to make of the frames. `map[frame]` is the frame to show instead, −1 to take the frame out of the stacks (its
 * time stays with its caller). `merged` is the one frame that calls of itself are folded into, or −1.
 * @typedef {{map: Int32Array | null, merged: number, keep: Uint8Array | null, inside: Uint8Array | null}} Rules
 */

/**
 * Merges subtrees from the given nodes into one tree. All the nodes become its root.
 * @param {Tree} tree @param {number[]} starts @param {number} rootFrame @param {Rules} rules
 * @returns {Tree}
 */
export function mergeForest(tree, starts, rootFrame, rules) {
  const { frame, end, self } = tree;
  const { map, merged, keep, inside } = rules;
  const builder = new Builder(Math.min(tree.size, 1 << 16), self.length);
  const target = new Int32Array(tree.size).fill(-1);
  const next = new Int32Array(tree.size);
  const heads = new Int32Array(frame[0] + 2).fill(-1);
  /** @type {{head: number, frame: number, parent: number}[]} */
  const waiting = [];
  let sources = starts.slice();
  let group = { head: -1, frame: rootFrame, parent: -1 };
  for (;;) {
    const node = builder.add(group.frame, group.parent);
    const found = [];
    for (let s = 0; s < sources.length; s++) {
      const source = sources[s];
      target[source] = node;
      if (inside === null || inside[source]) {
        for (let side = 0; side < self.length; side++) builder.self[side][node] += self[side][source];
      }
      for (let child = source + 1; child < end[source]; child = end[child]) {
        if (keep !== null && !keep[child]) continue;
        const shown = map === null ? frame[child] : map[frame[child]];
        if (shown === -1 || (shown === merged && group.frame === merged)) {
          sources.push(child);
        } else {
          if (heads[shown] === -1) found.push(shown);
          next[child] = heads[shown];
          heads[shown] = child;
        }
      }
    }
    found.sort((a, b) => b - a);
    for (const shown of found) {
      waiting.push({ head: heads[shown], frame: shown, parent: node });
      heads[shown] = -1;
    }
    const following = waiting.pop();
    if (!following) return builder.finish(target);
    group = following;
    sources = [];
    for (let source = group.head; source !== -1; source = next[source]) sources.push(source);
  }
}

/** The occurrences of a frame that are not below another of its own. @param {Tree} tree @param {number} wanted */
export function outermost(tree, wanted) {
  const found = [];
  for (let i = 0; i < tree.size;) {
    if (tree.frame[i] === wanted) {
      found.push(i);
      i = tree.end[i];
    } else i++;
  }
  return found;
}

/** What a frame calls, merged over all its call sites. @param {Tree} tree @param {number} wanted */
export function calleesOf(tree, wanted) {
  return mergeForest(tree, outermost(tree, wanted), wanted, { map: null, merged: -1, keep: null, inside: null });
}

/**
 * Who calls a frame, merged over all its call sites: the frame is the root, its callers stand below it.
 * @param {Tree} tree @param {number} wanted @returns {Tree}
 */
export function callersOf(tree, wanted) {
  const { frame, parent, total } = tree;
  const sites = outermost(tree, wanted);
  const builder = new Builder(Math.max(64, sites.length * 4), total.length);
  const leaf = new Int32Array(sites.length);
  const at = Int32Array.from(sites);
  const next = new Int32Array(sites.length);
  const heads = new Int32Array(frame[0] + 2).fill(-1);
  /** @type {{head: number, frame: number, parent: number}[]} */
  const waiting = [];
  for (let s = 0; s < sites.length; s++) next[s] = s + 1 < sites.length ? s + 1 : -1;
  let group = { head: sites.length ? 0 : -1, frame: wanted, parent: -1 };
  for (;;) {
    const node = builder.add(group.frame, group.parent);
    const found = [];
    for (let s = group.head, following = -1; s !== -1; s = following) {
      following = next[s];
      const above = parent[at[s]];
      if (above <= 0) {
        leaf[s] = node;
        for (let side = 0; side < total.length; side++) builder.self[side][node] += total[side][sites[s]];
      } else {
        at[s] = above;
        const shown = frame[above];
        if (heads[shown] === -1) found.push(shown);
        next[s] = heads[shown];
        heads[shown] = s;
      }
    }
    found.sort((a, b) => b - a);
    for (const shown of found) {
      waiting.push({ head: heads[shown], frame: shown, parent: node });
      heads[shown] = -1;
    }
    const following = waiting.pop();
    if (!following) break;
    group = following;
  }
  const target = new Int32Array(tree.size).fill(-1);
  sites.forEach((site, s) => target.fill(leaf[s], site, tree.end[site]));
  return builder.finish(target);
}

/** Chains two reshapings: profile → first → second. @param {Int32Array | null} first @param {Int32Array | null} second */
export function chainTargets(first, second) {
  if (first === null) return second;
  if (second === null) return first;
  return first.map((node) => (node < 0 ? -1 : second[node]));
}

/**
 * Marks what lies on a stack through a matching frame: `inside` from that frame on, `keep` also what leads there.
 * @param {Tree} tree @param {Uint8Array} matches by frame id
 */
function focusMarks(tree, matches) {
  const inside = new Uint8Array(tree.size);
  const keep = new Uint8Array(tree.size);
  for (let i = 1; i < tree.size; i++) inside[i] = matches[tree.frame[i]] | inside[tree.parent[i]];
  for (let i = tree.size - 1; i > 0; i--) {
    keep[i] |= inside[i];
    keep[tree.parent[i]] |= keep[i];
  }
  return { inside, keep };
}

/**
 * The tree under the user's filters. `mergedFrame` is the id of the frame that stands for all merged ones.
 * @param {Tree} tree
 * @param {{hide: Uint8Array | null, focus: Uint8Array | null, merge: Uint8Array | null, threads: Uint8Array | null}} filters
 *   each by frame id; `threads` marks the first frames to leave out
 * @returns {Tree}
 */
export function filterTree(tree, { hide, focus, merge, threads }) {
  if (!hide && !focus && !merge && !threads) return tree;
  const rootFrame = tree.frame[0];
  const mergedFrame = rootFrame + 1;
  let map = null;
  if (hide || merge) {
    map = new Int32Array(rootFrame + 1);
    for (let f = 0; f <= rootFrame; f++) map[f] = hide && hide[f] ? -1 : merge && merge[f] ? mergedFrame : f;
  }
  let keep = null;
  let inside = null;
  if (focus) ({ keep, inside } = focusMarks(tree, focus));
  if (threads) {
    keep ??= new Uint8Array(tree.size).fill(1);
    for (let i = 1; i < tree.size; i = tree.end[i]) if (threads[tree.frame[i]]) keep[i] = 0;
  }
  return mergeForest(tree, [0], rootFrame, { map, merged: merge ? mergedFrame : -1, keep, inside });
}
