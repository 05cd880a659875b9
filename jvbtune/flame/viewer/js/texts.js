// Words and figures: the head, the details, the tooltip, the legend, and the screen reader's sentence.

import { categoriesOf } from './fills.js';
import { figure, percentChange, probability, share, signed } from './format.js';

/** @typedef {import('./viewer.js').Viewer} Viewer */

/** @param {string} tag @param {Record<string, string>} attributes @param {...(Node | string)} children */
export function element(tag, attributes = {}, ...children) {
  const out = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) out.setAttribute(key, value);
  out.append(...children);
  return out;
}

/**
 * Figures of a node as pairs of label and text, exact as the data holds them.
 * @param {Viewer} viewer @param {string} which @param {number} node @returns {[string, string][]}
 */
export function figuresOf(viewer, which, node) {
  const { analysis } = viewer;
  const tree = analysis.tree(which);
  const { scales, unit, id } = analysis.normalised;
  const { meta } = analysis.profile;
  const value = (/** @type {Float64Array[]} */ from, /** @type {number} */ side) => from[side][node] * scales[side];
  /** @type {[string, string][]} */
  const out = [];
  const sideLine = (/** @type {number} */ side) => {
    const raw = meta.unit === unit ? '' : ` (${figure(tree.total[side][node])} ${meta.unit})`;
    const part = id === 'share' ? '' : ` · ${share(tree.total[side][node], analysis.profile.tree.total[side][0])}`;
    return `${figure(value(tree.total, side))} ${unit}${part}${raw} · self ${figure(value(tree.self, side))}`;
  };
  if (analysis.differential) {
    const [a, b] = [value(tree.total, 0), value(tree.total, 1)];
    const own = value(tree.self, 1) - value(tree.self, 0);
    const judged = analysis.nodes(which);
    out.push(['A', sideLine(0)], ['B', sideLine(1)]);
    const range = viewer.intervalText(judged, node);
    const interval = range === '–' ? '' : `, ${analysis.confidenceText} ${range}`;
    out.push(['Δ', `${signed(b - a)} ${unit} (${percentChange(a, b)})${interval} · self ${signed(own)}`]);
    if (id !== 'packets' && viewer.norms.includes('packets')) {
      const [fa, fb] = meta.normalisations.packets.factors;
      out.push(['Δ per packet', `${signed(tree.total[1][node] * fb - tree.total[0][node] * fa)} µs`]);
    }
    if (analysis.noise.method !== 'none') {
      const p = analysis.pOf(judged, node);
      const word = Number.isNaN(p) ? 'too few samples to test' : analysis.significant(judged, node) ? 'significant' : 'not significant';
      out.push(['p', Number.isNaN(p) ? word : `${probability(p)}, corrected ${probability(analysis.qOf(judged, node))}: ${word}`]);
    }
  } else {
    out.push(['Total', sideLine(0)]);
  }
  if (which === 'main' && !analysis.filtered) {
    for (const column of meta.columns) {
      const values = analysis.profile.columns[column.id];
      if (values) out.push([column.label, figure(values[analysis.profile.row[node]])]);
    }
  }
  return out;
}

/** One sentence for a screen reader. @param {Viewer} viewer @param {string} which @param {number} node */
export function sentence(viewer, which, node) {
  const { analysis } = viewer;
  const frame = analysis.tree(which).frame[node];
  const pairs = figuresOf(viewer, which, node).map(([label, text]) => `${label === 'Δ' ? 'difference' : label} ${text}`);
  return `${analysis.nameOf(frame)}, ${analysis.kindOf(frame)}. ${pairs.join('. ')}`;
}

/** The head: what stands against what, in which unit. @param {Viewer} viewer @param {HTMLElement} host */
export function showSums(viewer, host) {
  const { analysis } = viewer;
  const { meta, tree } = analysis.profile;
  const shown = analysis.tree('main');
  const { scales, unit } = analysis.normalised;
  const parts = meta.sides.map((/** @type {any} */ side, /** @type {number} */ i) => {
    const name = analysis.differential ? element('span', { class: 'side' }, 'AB'[i]) : '';
    const left = shown.total[i][0] === tree.total[i][0] ? '' : ` of ${figure(tree.total[i][0] * scales[i])} shown (${share(shown.total[i][0], tree.total[i][0])})`;
    return element('div', {}, name, `${side.title} `, element('b', {}, `${figure(shown.total[i][0] * scales[i])} ${unit}`), element('span', { class: 'quiet' }, left), ' ', element('span', { class: 'taken' }, side.detail));
  });
  if (analysis.differential) {
    const [a, b] = shown.total.map((values, i) => values[0] * scales[i]);
    const judged = analysis.nodes('main');
    const half = analysis.noise.method === 'none' ? '' : `, ${analysis.confidenceText} ${viewer.intervalText(judged, 0)}`;
    parts.push(element('div', {}, 'Δ ', element('b', {}, `${signed(b - a)} ${unit}`), element('span', { class: 'quiet' }, ` (${percentChange(a, b)})${half}`)));
  }
  host.replaceChildren(...parts);
}

/** @param {Viewer} viewer @param {HTMLElement} host */
export function showLegend(viewer, host) {
  const { palette, state, analysis } = viewer;
  const note = (/** @type {string} */ text) => element('span', {}, text);
  const dot = (/** @type {number} */ swatch, /** @type {string} */ text) => {
    const square = element('span', { class: 'swatch' });
    square.style.background = palette.swatches[swatch].fill;
    return element('span', {}, square, text);
  };
  const scale = (/** @type {string} */ from, /** @type {string} */ to) => {
    const bar = element('span', { class: 'scale' });
    bar.style.background = `linear-gradient(to right, ${palette.gradient.join(', ')})`;
    return element('span', {}, from, bar, to);
  };
  const column = analysis.profile.meta.columns.find((/** @type {any} */ one) => one.id === state.colour);
  if (state.colour === 'delta') {
    const grey = analysis.noise.method === 'none' || state.level >= 1 ? 'no value' : `not significant (false-discovery rate ${state.level})`;
    host.replaceChildren(scale('B halved or gone', 'B doubled or new'), dot(palette.grey, grey), note('+ only in B, − only in A'));
  } else if (column) {
    host.replaceChildren(scale(column.low_text, column.high_text), note(column.middle_text), dot(palette.grey, column.interval ? `no value, or its interval contains ${column.middle}` : 'no value'));
  } else {
    const { legend } = categoriesOf(viewer);
    host.replaceChildren(...legend.flatMap((label, i) => (label ? [dot(palette.category(i), label)] : [])), dot(palette.grey, 'other'));
  }
  host.append(note(viewer.widthText()));
}

/** The zoomed node's callers, each a step back. @param {Viewer} viewer @param {HTMLElement} host */
export function showCrumbs(viewer, host) {
  const which = viewer.activeTree();
  const tree = viewer.analysis.tree(which);
  const path = [];
  for (let node = viewer.zoomOf(which); node >= 0; node = tree.parent[node]) path.unshift(node);
  const items = path.flatMap((node, i) => {
    const name = viewer.analysis.nameOf(tree.frame[node]);
    const button = element('button', { type: 'button', title: name, 'data-node': String(node) }, viewer.shortLabel(tree.frame[node]));
    if (i === path.length - 1) button.setAttribute('aria-current', 'true');
    return i === 0 ? [button] : [element('span', { 'aria-hidden': 'true' }, '›'), button];
  });
  host.replaceChildren(...items);
  host.scrollLeft = host.scrollWidth;
}

/**
 * Name and figures of the frame under the pointer, beside it. @param {Viewer} viewer @param {HTMLElement} tip
 * @param {{x: number, y: number} | null} at null: no frame @param {boolean} changed another frame than before
 */
export function showTip(viewer, tip, at, changed) {
  tip.hidden = at === null;
  if (at === null) return;
  const { which, node } = viewer.hovered;
  if (changed) {
    const table = element('table', {});
    for (const [label, text] of figuresOf(viewer, which, node)) table.append(element('tr', {}, element('th', { scope: 'row' }, label), element('td', {}, text)));
    tip.replaceChildren(element('div', { class: 'name' }, viewer.analysis.nameOf(viewer.analysis.tree(which).frame[node])), table);
  }
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(at.x + 14, innerWidth - box.width - 6))}px`;
  tip.style.top = `${at.y + 18 + box.height > innerHeight ? Math.max(4, at.y - box.height - 12) : at.y + 18}px`;
}
