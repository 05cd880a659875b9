// What a frame is coloured by: the difference, an analysis's column, its kind, its package. Grey is for what is not known
// or not significant.

import { changeOf, kindCategories, packageOf, rankCategories } from './colours.js';

/** @typedef {import('./viewer.js').Viewer} Viewer */

/** The colour of each node of a tree, as a function. @param {Viewer} viewer @param {string} which @returns {(node: number) => number} */
export function fillsOf(viewer, which) {
  const { analysis, state, palette: colours } = viewer;
  const tree = analysis.tree(which);
  const { scales } = analysis.normalised;
  const column = analysis.profile.meta.columns.find((/** @type {any} */ one) => one.id === state.colour);
  if (column) {
    const byNode = which === 'main' && !analysis.filtered;
    const { columns, frameColumns, row } = analysis.profile;
    const of = byNode ? columns : frameColumns;
    const value = (/** @type {string} */ id, /** @type {number} */ node) => of[id]?.[byNode ? row[node] : tree.frame[node]] ?? NaN;
    const [low, high] = column.interval ?? ['', ''];
    return (node) => {
      const found = value(column.id, node);
      const unsure = value(low, node) <= column.middle && value(high, node) >= column.middle;
      return Number.isNaN(found) || unsure ? colours.grey : colours.diverging((found - column.middle) / column.span);
    };
  }
  if (state.colour !== 'delta') {
    const { index } = categoriesOf(viewer);
    return (node) => (node === 0 ? colours.grey : colours.category(index[tree.frame[node]] ?? -1));
  }
  const judged = analysis.nodes(which);
  const [wholeA, wholeB] = analysis.profile.tree.total.map((values, side) => values[0] * scales[side]);
  const small = (state.small / 100) * Math.max(wholeA, wholeB);
  return (node) => {
    const a = tree.total[0][node] * scales[0];
    const b = tree.total[1][node] * scales[1];
    if (!analysis.significant(judged, node) || Math.abs(b - a) < small) return colours.grey;
    return colours.diverging(changeOf(a, b));
  };
}

/** Kinds or packages as colours, by frame. @param {Viewer} viewer */
export function categoriesOf(viewer) {
  const { analysis, state } = viewer;
  return analysis.keep('categories', state.colour, () => {
    const { names, tree } = analysis.profile;
    const kinds = names.map((_, f) => analysis.kindOf(f));
    if (state.colour === 'kind') return kindCategories(kinds);
    const weights = new Float64Array(analysis.frames);
    for (let i = 1; i < tree.size; i++) for (const values of tree.self) weights[tree.frame[i]] += values[i];
    return rankCategories(names.map((name, f) => packageOf(name, kinds[f])), weights);
  });
}
