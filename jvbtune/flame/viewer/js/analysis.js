// What is derived from the profile for a state: trees, layouts, rows, significance. Each is kept until what it
// depends on changes.

import { calleesOf, callersOf, chainTargets, filterTree } from './reshape.js';
import { layOut } from './layout.js';
import { Noise, discoveryLimit, testedSorted } from './noise.js';
import { normalisation } from './normalise.js';
import { frameSums, sumByFrame } from './rows.js';
import { pattern } from './format.js';

/** @typedef {import('./decode.js').Profile} Profile */
/** @typedef {import('./decode.js').Tree} Tree */
/** @typedef {import('./state.js').State} State */

/**
 * @typedef {object} Judged
 * @property {import('./noise.js').Measured} measured
 * @property {Float32Array} ps
 * @property {Float64Array} sorted
 */

/** @typedef {{self: Float64Array[], total: Float64Array[], present: Uint8Array, judged: Judged, exact: boolean}} Rows */

export class Analysis {
  /** @param {Profile} profile */
  constructor(profile) {
    this.profile = profile;
    this.differential = profile.meta.sides.length > 1;
    this.mergedFrame = profile.names.length;
    this.frames = profile.names.length + 1;
    /** @type {Map<string, any>} */
    this.kept = new Map();
    /** @type {State} */
    this.state = /** @type {any} */ (null);
  }

  /** @param {number} frame */
  nameOf(frame) {
    return frame === this.mergedFrame ? `⟨merged: ${this.state.merge}⟩` : this.profile.names[frame];
  }

  /** @param {number} frame */
  kindOf(frame) {
    return this.profile.meta.kinds[frame === this.mergedFrame ? this.profile.kinds[this.profile.names.length - 1] : this.profile.kinds[frame]];
  }

  /**
   * One value a purpose: a new key replaces the old value, so that a moved slider leaves nothing behind.
   * @template T @param {string} purpose @param {string} key @param {() => T} make @returns {T}
   */
  keep(purpose, key, make) {
    const old = this.kept.get(purpose);
    if (old && old.key === key) return old.value;
    const value = make();
    this.kept.set(purpose, { key, value });
    return value;
  }

  /** Which frames match, by id; null where there is nothing to match. @param {string} purpose @param {string} text */
  matches(purpose, text) {
    return this.keep(`match ${purpose}`, text, () => {
      const expression = text === '' ? null : pattern(text);
      if (!expression) return null;
      const out = new Uint8Array(this.frames);
      const root = this.profile.names.length - 1;
      for (let f = 0; f < root; f++) out[f] = expression.test(this.profile.names[f]) ? 1 : 0;
      return out;
    });
  }

  get searched() {
    return this.matches('search', this.state.search);
  }

  get filterKey() {
    const { hide, focus, merge, threads } = this.state;
    return JSON.stringify([hide, focus, merge, threads]);
  }

  get filtered() {
    return this.tree('main') !== this.profile.tree;
  }

  /** @param {string} which main, callers or callees @returns {Tree} */
  tree(which) {
    if (which === 'main') {
      return this.keep('main', this.filterKey, () => filterTree(this.profile.tree, {
        hide: this.matches('hide', this.state.hide),
        focus: this.matches('focus', this.state.focus),
        merge: this.matches('merge', this.state.merge),
        threads: this.threadMarks(),
      }));
    }
    const key = `${this.filterKey} ${this.state.frame}`;
    return this.keep(which, key, () => {
      const main = this.tree('main');
      const wanted = this.frameNamed(this.state.frame);
      const made = which === 'callers' ? callersOf(main, wanted) : calleesOf(main, wanted);
      return { ...made, target: chainTargets(main.target, made.target) };
    });
  }

  /** @param {string} name */
  frameNamed(name) {
    const found = this.profile.names.indexOf(name);
    return found < 0 && name.startsWith('⟨merged') ? this.mergedFrame : found;
  }

  /** Names of the threads, by the first frames of kind `thread`. */
  get threads() {
    return this.keep('threads', '', () => {
      const { tree, names, kinds, meta } = this.profile;
      const kind = meta.kinds.indexOf('thread');
      const found = new Map();
      for (let i = 1; i < tree.size; i = tree.end[i]) {
        if (kinds[tree.frame[i]] === kind) found.set(names[tree.frame[i]], tree.total.map((values) => values[i]));
      }
      return found;
    });
  }

  threadMarks() {
    if (this.state.threads === '') return null;
    const out = new Set(this.state.threads.split('\n'));
    return Uint8Array.from(this.profile.names, (name) => (out.has(name) ? 1 : 0));
  }

  get normKey() {
    return `${this.state.norm} ${this.state.norm === 'factor' ? this.state.factor : ''}`;
  }

  get normalised() {
    return this.keep('normalised', this.normKey, () => {
      const factors = this.state.factor.split(':').map(Number);
      return normalisation(this.profile, this.state.norm, factors.map((f) => (f > 0 && Number.isFinite(f) ? f : 1)));
    });
  }

  get noise() {
    return this.keep('noise', this.normKey, () => new Noise(this.profile, this.normalised));
  }

  /** @param {string} which @param {string} mode */
  layout(which, mode) {
    const tree = this.tree(which);
    const key = `${this.normKey} ${this.filterKey} ${which === 'main' ? '' : this.state.frame}`;
    return this.keep(`layout ${which} ${mode}`, key, () => layOut(tree, this.normalised.scales, mode));
  }

  /** Significance of each node. @param {string} which @returns {Judged} */
  nodes(which) {
    const tree = this.tree(which);
    const key = `${this.normKey} ${this.filterKey} ${which === 'main' ? '' : this.state.frame}`;
    return this.keep(`nodes ${which}`, key, () => {
      const noise = this.noise;
      const measured = { values: tree.total, squares: noise.squares(tree, (totals) => totals) };
      const given = this.profile.columns.p_value;
      const ps = given && which === 'main' && this.asTested ? given : noise.ps(measured);
      return { measured, ps, sorted: testedSorted(ps) };
    });
  }

  /** @returns {Rows} */
  get rows() {
    const tree = this.tree('main');
    return this.keep('rows', `${this.normKey} ${this.filterKey}`, () => {
      const { frameValues, meta } = this.profile;
      const sums = this.keep('sums', this.filterKey, () => frameSums(tree, this.frames));
      const noise = this.noise;
      let { self, total, present } = sums;
      const exact = !meta.pruned || (!this.filtered && frameValues !== null);
      if (frameValues && !this.filtered) ({ self, total, present } = frameValues);
      const squares = noise.squares(tree, (totals) => sumByFrame(tree, this.frames, sums.marks, totals));
      const measured = { values: total, squares };
      const given = this.profile.frameColumns.p_value;
      const ps = given && this.asTested ? given : noise.ps(measured);
      return { self, total, present, judged: { measured, ps, sorted: testedSorted(ps) }, exact };
    });
  }

  /** Highest p-value that counts as a discovery at the state's level. @param {string} purpose @param {Judged} judged */
  limit(purpose, judged) {
    return this.keep(`limit ${purpose}`, `${this.state.level} ${this.normKey} ${this.filterKey} ${this.state.frame}`,
      () => (this.state.level >= 1 ? 1 : discoveryLimit(judged.sorted, this.state.level)));
  }

  /** Whether a difference counts. @param {string} purpose @param {Judged} judged @param {number} i */
  significant(purpose, judged, i) {
    if (this.noise.method === 'none' || this.state.level >= 1) return true;
    return judged.ps[i] <= this.limit(purpose, judged);
  }

  /**
   * Interval of a difference at 95 %: as the comparison gave it where that is what is shown, else computed here.
   * @param {Judged} judged @param {number} i @param {string} purpose rows, main, callers or callees
   * @returns {[number, number] | null}
   */
  interval(judged, i, purpose) {
    const given = purpose === 'rows' ? this.profile.frameColumns : this.profile.columns;
    if (given.low && (purpose === 'rows' || purpose === 'main') && this.asTested && !Number.isNaN(given.low[i])) return [given.low[i], given.high[i]];
    const half = this.noise.halfWidth(judged.measured, i);
    if (Number.isNaN(half)) return null;
    const delta = this.noise.delta(judged.measured, i);
    return [delta - half, delta + half];
  }

  /** Whether what is shown is what the comparison tested. */
  get asTested() {
    return !this.filtered && this.state.norm === this.profile.meta.test?.normalisation;
  }

  /** Outermost matching nodes of the main tree, and what they sum up to. */
  get found() {
    const tree = this.tree('main');
    const matched = this.searched;
    return this.keep('found', `${this.filterKey} ${this.state.search}`, () => {
      if (!matched) return null;
      /** @type {number[]} */
      const nodes = [];
      const sums = tree.total.map(() => 0);
      const { frame, end, size } = tree;
      for (let i = 1; i < size;) {
        if (matched[frame[i]]) {
          nodes.push(i);
          for (let side = 0; side < sums.length; side++) sums[side] += tree.total[side][i];
          i = end[i];
        } else i++;
      }
      return { nodes, sums };
    });
  }
}
