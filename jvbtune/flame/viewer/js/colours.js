// Colour scales, light and dark, and the legends that say what a colour means.
// Blue and orange stay apart under every common colour blindness; grey means "no significant change".

/** @typedef {{fill: string, ink: string}} Swatch */

const DIVERGING = {
  light: ['#1f5fa8', '#6ea6d7', '#dcdcd6', '#f2ae62', '#bf5409'],
  dark: ['#5aa9f2', '#33658f', '#454a52', '#96602a', '#f59a45'],
};
const GREY = { light: '#e4e4e0', dark: '#34383e' };
const RUN = { light: '#cfcfca', dark: '#41464d' };
const CATEGORIES = {
  light: ['#8fb8de', '#f0b27a', '#a5cf9f', '#d7a3c4', '#e6d07d', '#9ccfcc', '#c4b2e0', '#d9b99b', '#b7c27e', '#e69f96', '#a9b8c6'],
  dark: ['#3f6f9e', '#a8672a', '#4d7f49', '#875474', '#8a7726', '#3f7f7c', '#6b5896', '#7d5f44', '#66702f', '#94524a', '#566676'],
};
/** Steps of the diverging scale on either side of its middle. */
const STEPS = 16;

/** @param {string} hex */
const channels = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

/** @param {string} one @param {string} other @param {number} share */
function mix(one, other, share) {
  const [from, to] = [channels(one), channels(other)];
  return `#${from.map((v, i) => Math.round(v + (to[i] - v) * share).toString(16).padStart(2, '0')).join('')}`;
}

/** Black or white, whichever is easier to read on the fill. @param {string} fill @returns {Swatch} */
function swatch(fill) {
  const [r, g, b] = channels(fill).map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  const light = 0.2126 * r + 0.7152 * g + 0.0722 * b;
  return { fill, ink: (light + 0.05) / 0.05 > 1.05 / (light + 0.05) ? '#000' : '#fff' };
}

/** @param {string[]} stops @param {number} position 0…1 */
function along(stops, position) {
  const place = Math.min(stops.length - 1.0001, Math.max(0, position) * (stops.length - 1));
  return mix(stops[Math.floor(place)], stops[Math.floor(place) + 1], place % 1);
}

/**
 * All swatches of a theme in one list, so that a box's colour is a small number.
 * @param {boolean} dark
 */
export function palette(dark) {
  const theme = dark ? 'dark' : 'light';
  /** @type {Swatch[]} */
  const swatches = [];
  for (let i = 0; i <= 2 * STEPS; i++) swatches.push(swatch(along(DIVERGING[theme], i / (2 * STEPS))));
  const grey = swatches.push(swatch(GREY[theme])) - 1;
  const run = swatches.push(swatch(RUN[theme])) - 1;
  const category = swatches.length;
  for (const fill of CATEGORIES[theme]) swatches.push(swatch(fill));
  return {
    swatches,
    grey,
    run,
    /** @param {number} value −1…1 */
    diverging: (value) => Math.round((Math.max(-1, Math.min(1, value)) + 1) * STEPS),
    /** @param {number} index −1: none of its own */
    category: (index) => (index < 0 ? grey : category + (index % CATEGORIES.light.length)),
    gradient: DIVERGING[theme],
  };
}

/** The relative change that has the full colour: doubled, or halved. */
const FULL_LOG2 = 1;

/** Change from a to b as −1…1. @param {number} a @param {number} b */
export function changeOf(a, b) {
  if (a <= 0 && b <= 0) return 0;
  if (a <= 0) return 1;
  if (b <= 0) return -1;
  return Math.max(-1, Math.min(1, Math.log2(b / a) / FULL_LOG2));
}

/** The package of a Java frame, by its first three parts; of others, what stands before `::`. @param {string} name @param {string} kind */
export function packageOf(name, kind) {
  const path = name.split('/');
  if (path.length > 1 && !name.includes(' ')) return path.slice(0, Math.min(3, path.length - 1)).join('/');
  const scope = name.indexOf('::');
  return scope > 0 ? name.slice(0, scope) : kind;
}

/** A kind has the same colour in every picture. Kinds that belong together stand next to each other in a legend. */
const KINDS = ['java', 'inlined', 'C1', 'interpreted', 'kernel', 'native', 'C++', 'GC', 'JIT', 'python'];

/** @param {string[]} kinds by frame @returns {{index: Int32Array, legend: string[]}} */
export function kindCategories(kinds) {
  return { index: Int32Array.from(kinds, (kind) => KINDS.indexOf(kind)), legend: KINDS.map((kind) => (kinds.includes(kind) ? kind : '')) };
}

/**
 * Categories by frame, the ones that cost the most first; those beyond the palette share the grey.
 * @param {string[]} labels by frame @param {ArrayLike<number>} weights by frame
 * @returns {{index: Int32Array, legend: string[]}}
 */
export function rankCategories(labels, weights) {
  /** @type {Map<string, number>} */
  const sums = new Map();
  labels.forEach((label, i) => sums.set(label, (sums.get(label) ?? 0) + weights[i]));
  const ranked = [...sums].filter(([, sum]) => sum > 0).sort((a, b) => b[1] - a[1]);
  const legend = ranked.slice(0, CATEGORIES.light.length).map(([label]) => label);
  const place = new Map(legend.map((label, i) => [label, i]));
  return { index: Int32Array.from(labels, (label) => place.get(label) ?? -1), legend };
}
