// Most frames are the only callee of their caller and hold the same values. What is worked out from values is worked
// out once for each such chain: a chain is a row, and `row` says which one a node belongs to.

/** @typedef {import('./decode.js').Tree} Tree */

/**
 * `row[node]`; `first[row]` its outermost node; `parent[row]` the row of that node's caller, −1 for the root. Rows
 * ascend in preorder.
 * @typedef {{row: Int32Array, first: Int32Array, parent: Int32Array, count: number}} Chains
 */

/** @param {Tree} tree @returns {Chains} */
export function chainsOf(tree) {
  const { size, parent, total } = tree;
  const [one, other] = [total[0], total[total.length - 1]];
  const row = new Int32Array(size);
  const first = new Int32Array(size);
  let count = 0;
  for (let i = 0; i < size; i++) {
    const above = parent[i];
    if (above >= 0 && one[i] === one[above] && other[i] === other[above]) {
      row[i] = row[above];
    } else {
      row[i] = count;
      first[count++] = i;
    }
  }
  const above = new Int32Array(count);
  for (let r = 0; r < count; r++) above[r] = r === 0 ? -1 : row[parent[first[r]]];
  return { row, first: first.slice(0, count), parent: above, count };
}

/**
 * Totals by row of values that belong to nodes of the profile (a slice's).
 * @param {Tree} tree @param {Chains} chains @param {Int32Array} selfNodes @param {ArrayLike<number>} values
 */
export function rowTotals(tree, chains, selfNodes, values) {
  const { row, parent, count } = chains;
  const { target } = tree;
  const out = new Float64Array(count);
  for (let i = 0; i < selfNodes.length; i++) {
    const node = target === null ? selfNodes[i] : target[selfNodes[i]];
    if (node >= 0) out[row[node]] += values[i];
  }
  for (let r = count - 1; r > 0; r--) out[parent[r]] += out[r];
  return out;
}
