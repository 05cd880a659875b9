// What one sees, as one flat record, and its place in the URL fragment: a link shows the same to somebody else.

/**
 * @typedef {object} State
 * @property {'flame' | 'icicle' | 'sandwich'} view
 * @property {boolean} split        A and B side by side
 * @property {'a' | 'b' | 'sum' | 'delta'} width
 * @property {string} norm
 * @property {string} factor        "A:B", for the normalisation by a factor
 * @property {string} colour
 * @property {string} search
 * @property {string} hide
 * @property {string} focus
 * @property {string} merge
 * @property {string} threads       names left out, one a line
 * @property {number} level         false-discovery rate at which a difference counts as significant
 * @property {number} least         frames below this share of the whole, in percent, are not drawn
 * @property {number} small         differences below this share of the whole, in percent, are greyed
 * @property {number} zoom          node of the main picture that fills the width
 * @property {number} zoomCallers
 * @property {number} zoomCallees
 * @property {string} pane          tree that holds the focused node: main, callers, callees
 * @property {number} node          focused node, −1: none
 * @property {string} frame         the sandwich's frame
 * @property {string} marked        the frame marked in all its places, by its key
 * @property {string} sort          the table's column
 * @property {boolean} ascending
 * @property {boolean} bySize        differences sorted by their size, whatever their sign
 * @property {string} rows          all, new, removed, changed
 * @property {boolean} matching     only the rows that match the search
 * @property {boolean} table        whether the table is shown
 * @property {boolean} filters      whether the panel of filters is open
 * @property {number} tableWidth    in percent of the window
 * @property {'' | 'dark' | 'light'} theme  empty: as the system has it
 */

/** @param {any} meta @returns {State} */
export function defaults(meta) {
  const differential = meta.sides.length > 1;
  return {
    view: 'flame', split: false, width: differential ? 'sum' : 'a', norm: meta.normalisation, factor: '1:1',
    colour: meta.colour, search: '', hide: '', focus: '', merge: '', threads: '',
    level: 0.05, least: 0, small: 0, zoom: 0, zoomCallers: 0, zoomCallees: 0, pane: 'main', node: -1, frame: '', marked: '',
    sort: meta.sort, ascending: false, bySize: true, rows: 'all', matching: false, table: true, filters: false, tableWidth: 42, theme: '',
  };
}

/** Only what differs from the defaults is written. @param {State} state @param {State} base */
export function toFragment(state, base) {
  const out = new URLSearchParams();
  for (const [key, value] of Object.entries(state)) {
    if (value !== /** @type {any} */ (base)[key]) out.set(key, typeof value === 'boolean' ? (value ? '1' : '0') : String(value));
  }
  return out.toString();
}

/**
 * A fragment may come from anybody: unknown keys, numbers that are none and words that no control offers fall back.
 * @param {string} fragment @param {State} base @param {Record<string, string[]>} words allowed ones by key
 * @returns {State}
 */
export function fromFragment(fragment, base, words) {
  const state = /** @type {any} */ ({ ...base });
  for (const [key, text] of new URLSearchParams(fragment.replace(/^#/, ''))) {
    if (!Object.hasOwn(base, key)) continue;
    const usual = /** @type {any} */ (base)[key];
    if (typeof usual === 'boolean') state[key] = text === '1';
    else if (typeof usual === 'number') state[key] = Number.isFinite(Number(text)) && text !== '' ? Number(text) : usual;
    else if (!words[key] || words[key].includes(text)) state[key] = text;
  }
  return state;
}
