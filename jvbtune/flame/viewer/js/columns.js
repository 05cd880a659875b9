// The columns of the table, for one profile, for two, and for values that an analysis adds.

import { figure, percentChange, probability, shortName, signed } from './format.js';

/** @typedef {import('./table.js').Column} Column */

/**
 * @param {import('./viewer.js').Viewer} viewer
 * @returns {Column[]}
 */
export function columnsOf(viewer) {
  const { analysis } = viewer;
  const { meta, frameColumns } = analysis.profile;
  const rows = analysis.rows;
  const { scales, unit, id } = analysis.normalised;
  /** @type {Column[]} */
  const columns = [{
    id: 'name', label: 'Frame', title: 'Frame, merged over all call sites', bar: null,
    value: (f) => analysis.nameOf(f).toLowerCase(), text: (f) => shortName(analysis.nameOf(f)),
  }];
  for (const { id: key, label, title } of meta.columns) {
    const values = frameColumns[key];
    if (!values) continue;
    columns.push({ id: key, label, title, bar: null, value: (f) => (Number.isNaN(values[f]) ? -Infinity : values[f]), text: (f) => figure(values[f]) });
  }
  const plain = (/** @type {string} */ key, /** @type {string} */ label, /** @type {string} */ title, /** @type {Float64Array} */ values, /** @type {number} */ scale) =>
    columns.push({ id: key, label, title: `${title}, ${unit}`, bar: null, value: (f) => values[f] * scale, text: (f) => figure(values[f] * scale) });
  const whole = (/** @type {number} */ side) => analysis.profile.tree.total[side][0];
  if (!analysis.differential) {
    plain('total_a', 'Total', 'The frame and all it calls; a recursion counts once', rows.total[0], scales[0]);
    plain('self_a', 'Self', 'The frame itself', rows.self[0], scales[0]);
    for (const [key, label, values] of /** @type {[string, string, Float64Array][]} */ ([['share', 'Total %', rows.total[0]], ['self_share', 'Self %', rows.self[0]]])) {
      columns.push({
        id: key, label, title: 'Share of the whole', bar: null, value: (f) => values[f],
        text: (f) => `${((100 * values[f]) / whole(0)).toFixed(2)} %`,
      });
    }
  } else {
    const delta = (/** @type {Float64Array[]} */ values) => (/** @type {number} */ f) => values[1][f] * scales[1] - values[0][f] * scales[0];
    const deltas = { total: delta(rows.total), self: delta(rows.self) };
    const { explains } = frameColumns;
    if (explains && analysis.asTested) {
      const largest = largestOf((f) => explains[f], rows.present);
      columns.push({
        id: 'explains', signed: true, label: 'Explains', bar: (f) => (largest ? explains[f] / largest : 0),
        title: `The part of the whole's difference that the frame explains and its callees do not, ${unit}`,
        value: (f) => explains[f], text: (f) => (explains[f] === 0 ? '–' : signed(explains[f])),
      });
    }
    for (const kind of /** @type {('total' | 'self')[]} */ (['total', 'self'])) {
      const largest = largestOf(deltas[kind], rows.present);
      columns.push({
        id: `delta_${kind}`, signed: true, label: kind === 'total' ? 'Δ total' : 'Δ self', bar: (f) => (largest ? deltas[kind](f) / largest : 0),
        noise: (f) => !analysis.significant(rows.judged, f),
        title: `B − A of ${kind === 'total' ? 'the frame and all it calls; a recursion counts once' : 'the frame itself'}, ${unit}`,
        value: deltas[kind], text: (f) => signed(deltas[kind](f)),
      });
      if (kind === 'self') continue;
      if (analysis.noise.method !== 'none') {
        columns.push({
          id: 'interval', signed: true, label: `${analysis.confidenceText} interval`, bar: null, title: `Interval of Δ total, ${unit}. ${viewer.methodText()}`,
          value: (f) => deltas.total(f), text: (f) => viewer.intervalText(rows.judged, f),
        });
      }
      columns.push({
        id: 'change', signed: true, label: 'Δ %', title: 'Relative change of the total', bar: null,
        value: (f) => Math.log(rows.total[1][f] * scales[1]) - Math.log(rows.total[0][f] * scales[0]) || 0,
        text: (f) => percentChange(rows.total[0][f] * scales[0], rows.total[1][f] * scales[1]),
      });
      plain('total_a', 'Total A', 'A: the frame and all it calls; a recursion counts once', rows.total[0], scales[0]);
      plain('total_b', 'Total B', 'B: the frame and all it calls; a recursion counts once', rows.total[1], scales[1]);
    }
    plain('self_a', 'Self A', 'A: the frame itself', rows.self[0], scales[0]);
    plain('self_b', 'Self B', 'B: the frame itself', rows.self[1], scales[1]);
    if (id !== 'packets' && viewer.norms.includes('packets')) {
      const perPacket = meta.normalisations.packets.factors;
      const value = (/** @type {number} */ f) => rows.total[1][f] * perPacket[1] - rows.total[0][f] * perPacket[0];
      columns.push({ id: 'per_packet', signed: true, label: 'Δ per packet', bar: null, title: 'B − A of the total, µs of CPU per packet', value, text: (f) => signed(value(f)) });
    }
    if (analysis.noise.method !== 'none') {
      columns.push({
        id: 'p', label: 'p', bar: null, title: 'p-value of Δ total; –: too few samples to test',
        value: (f) => (Number.isNaN(rows.judged.p[f]) ? 2 : rows.judged.p[f]), text: (f) => probability(rows.judged.p[f]),
      });
    }
  }
  columns.push({ id: 'kind', label: 'Kind', title: 'What the frame is', bar: null, value: (f) => analysis.kindOf(f), text: (f) => analysis.kindOf(f) });
  return columns;
}

/** @param {(frame: number) => number} value @param {Uint8Array} present */
function largestOf(value, present) {
  let largest = 0;
  for (let f = 0; f < present.length; f++) if (present[f]) largest = Math.max(largest, Math.abs(value(f)));
  return largest;
}

/**
 * Frames of the table in order. @param {import('./viewer.js').Viewer} viewer @param {Column[]} columns
 * @returns {{frames: Int32Array, counts: Record<string, number>}}
 */
export function orderedFrames(viewer, columns) {
  const { analysis, state } = viewer;
  const { total, present, judged } = analysis.rows;
  const matched = state.matching ? analysis.searched : null;
  /** @type {Record<string, number[]>} */
  const sets = { all: [], new: [], removed: [], changed: [] };
  const { scales } = analysis.normalised;
  const tested = analysis.noise.method !== 'none';
  const counted = (/** @type {number} */ f) => !tested || analysis.significant(judged, f);
  const differs = (/** @type {number} */ f) => total[0][f] * scales[0] !== total[1][f] * scales[1];
  for (let f = 0; f < present.length; f++) {
    if (!present[f] || (matched && !matched[f])) continue;
    sets.all.push(f);
    if (!analysis.differential) continue;
    if (!differs(f) || !counted(f)) continue;
    sets.changed.push(f);
    if (total[0][f] === 0) sets.new.push(f);
    else if (total[1][f] === 0) sets.removed.push(f);
  }
  const counts = Object.fromEntries(Object.entries(sets).map(([key, list]) => [key, list.length]));
  const frames = Int32Array.from(sets[state.rows] ?? sets.all);
  const column = columns.find(({ id }) => id === state.sort) ?? columns[1];
  const values = Array.from(present, (there, f) => (there ? column.value(f) : 0));
  if (column.signed && state.bySize) for (let f = 0; f < values.length; f++) values[f] = Math.abs(/** @type {number} */ (values[f]));
  const sign = state.ascending && !(column.signed && state.bySize) ? 1 : -1;
  const size = (/** @type {number} */ f) => Math.abs(total[total.length - 1][f] * scales[total.length - 1] - (total.length > 1 ? total[0][f] * scales[0] : 0));
  frames.sort((a, b) => (values[a] < values[b] ? -sign : values[a] > values[b] ? sign : size(b) - size(a) || a - b));
  return { frames, counts };
}
