// What a value is multiplied by, so that two captures of different length, rate or load can be held against each other.

/** @typedef {import('./decode.js').Profile} Profile */

/**
 * `scales[side]` turns a value of the profile's own unit into the shown unit; `exposures[side][slice]` is the share of a
 * side's value that a slice should have: its share of the packets, the seconds, the whole.
 * @typedef {{id: string, label: string, unit: string, scales: number[], exposures: number[][]}} Normalisation
 */

/** @type {Record<string, string>} */
export const NORMALISATION_LABELS = {
  packets: 'per packet',
  seconds: 'CPU seconds',
  share: 'share of the total',
  samples: 'samples',
  factor: 'by a factor',
};

/** The normalisations that the metadata permits, the chosen one first. @param {Profile} profile @returns {string[]} */
export function possibleNormalisations({ meta }) {
  return [...Object.keys(meta.normalisations), 'factor'].filter((id, i, all) => all.indexOf(id) === i);
}

/**
 * @param {Profile} profile @param {string} id
 * @param {number[]} factors the user's own, used where `id` is `factor`
 * @returns {Normalisation}
 */
export function normalisation({ meta }, id, factors) {
  const known = id === 'factor' ? null : meta.normalisations[id];
  /** @type {number[]} */
  const scales = known ? known.factors : meta.sides.map((/** @type {any} */ _, /** @type {number} */ side) => factors[side] ?? 1);
  const work = (/** @type {any} */ part, /** @type {number} */ total) =>
    id === 'packets' ? part.packets : id === 'share' ? total : part.seconds ?? 0;
  const exposures = meta.sides.map((/** @type {any} */ side) => {
    const works = side.slices.map((/** @type {any} */ slice) => work(slice, slice.total));
    const usable = works.every((/** @type {number} */ w) => w > 0);
    const sum = works.reduce((/** @type {number} */ a, /** @type {number} */ b) => a + b, 0);
    return works.map((/** @type {number} */ w) => (usable ? w / sum : 1 / works.length));
  });
  return {
    id,
    label: NORMALISATION_LABELS[id] ?? `by ${id}`,
    unit: known ? known.unit : `weighted ${meta.unit}`,
    scales,
    exposures,
  };
}
