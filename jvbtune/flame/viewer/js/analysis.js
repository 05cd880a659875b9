// What is derived from the profile for a state: trees, layouts, rows, significance. Each is kept until what it
// depends on changes.

import { calleesOf, callersOf, chainTargets, filterTree } from './reshape.js';
import { layOut } from './layout.js';
import { chainsOf, rowTotals } from './chains.js';
import { Noise } from './noise.js';
import { normalisation } from './normalise.js';
import { frameSums } from './rows.js';
import { pattern } from './format.js';

/** @typedef {import('./decode.js').Profile} Profile */
/** @typedef {import('./decode.js').Tree} Tree */
/** @typedef {import('./state.js').State} State */

/** @typedef {import('./noise.js').Judged} Judged */
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
    return this.profile.meta.kinds[frame === this.mergedFrame ? 0 : this.profile.kinds[frame]];
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
      const wanted = this.frameOf(this.state.frame);
      const made = which === 'callers' ? callersOf(main, wanted) : calleesOf(main, wanted);
      return { ...made, target: chainTargets(main.target, made.target) };
    });
  }

  /** A frame in a link: its name, with the kind where frames of two kinds share it. @param {number} frame */
  keyOf(frame) {
    const name = this.nameOf(frame);
    return this.frameKeys.get(name) === frame || frame === this.mergedFrame ? name : `${name} [${this.kindOf(frame)}]`;
  }

  /** @param {string} key @returns {number} −1: there is none */
  frameOf(key) {
    if (this.state.merge !== '' && key === this.nameOf(this.mergedFrame)) return this.mergedFrame;
    return this.frameKeys.get(key) ?? -1;
  }

  /** @returns {Map<string, number>} */
  get frameKeys() {
    return this.keep('frame keys', '', () => {
      const keys = new Map();
      const root = this.profile.names.length - 1;
      for (let f = 0; f < root; f++) keys.set(keys.has(this.profile.names[f]) ? `${this.profile.names[f]} [${this.kindOf(f)}]` : this.profile.names[f], f);
      return keys;
    });
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

  /** @param {string} which */
  chains(which) {
    const tree = this.tree(which);
    return this.keep(`chains ${which}`, `${this.filterKey} ${which === 'main' ? '' : this.state.frame}`, () => chainsOf(tree));
  }

  /** What the comparison found: for what it tested, nothing else counts. @param {Record<string, Float32Array>} columns @param {Int32Array | null} row @returns {Judged | null} */
  given({ p_value: p, q_value: q, low, high }, row) {
    return p && this.asTested ? { row, p, q, low, high } : null;
  }

  /** Significance of each node. @param {string} which @returns {Judged} */
  nodes(which) {
    const tree = this.tree(which);
    const key = `${this.normKey} ${this.filterKey} ${which === 'main' ? '' : this.state.frame}`;
    return this.keep(`nodes ${which}`, key, () => {
      const given = which === 'main' ? this.given(this.profile.columns, this.profile.row) : null;
      if (given) return given;
      const chains = this.chains(which);
      const values = tree.total.map((totals) => Float64Array.from(chains.first, (node) => totals[node]));
      return this.noise.judge(values, () => this.sliceTotals(which), null, chains.row, {
        loans: which === 'main' ? undefined : () => this.tableLoans,
        moments: () => this.momentTotals(which),
        wholeFirst: which === 'main',
      });
    });
  }

  /** Σ w² of each side by chain; null where all samples of a side weigh the same. @param {string} which @returns {Float64Array[] | null} */
  momentTotals(which) {
    const { selfNodes, moments } = this.profile;
    return moments && moments.map((values) => rowTotals(this.tree(which), this.chains(which), selfNodes, values));
  }

  /** Totals of each slice by chain. @param {string} which @returns {Float64Array[][]} */
  sliceTotals(which) {
    const tree = this.tree(which);
    const { selfNodes, slices } = this.profile;
    return slices.map((side) => side.map((values) => rowTotals(tree, this.chains(which), selfNodes, values)));
  }

  /** Values by frame, of the whole tree or of what the filters leave. @returns {Rows} */
  get rows() {
    return this.keep('rows', `${this.normKey} ${this.filterKey}`, () => {
      const { self, total, present, slices, stacks, moments, exact } = this.byFrame;
      const judged = this.given(this.profile.frameColumns, null) ?? this.noise.judge(total, slices, stacks, null, { moments });
      return { self, total, present, judged, exact };
    });
  }

  /** Sums by frame, and what a test of them takes. */
  get byFrame() {
    return this.keep('by frame', this.filterKey, () => {
      const { frameValues, meta } = this.profile;
      const sums = this.keep('sums', this.filterKey, () => frameSums(this.tree('main'), this.frames));
      const whole = this.filtered ? null : frameValues;
      return {
        ...(whole ?? sums),
        slices: () => whole?.slices ?? this.frameSlices(sums.marks),
        stacks: () => whole?.stacks ?? this.sameStacks(sums.marks),
        moments: () => (whole ? whole.moments : this.momentTotals('main')?.map((byRow) => this.byOutermost(sums.marks, byRow)) ?? null),
        exact: !meta.pruned || whole !== null,
      };
    });
  }

  /** What the rows of the table have in common: a sandwich has too few of its own, and its frame is one of them. */
  get tableLoans() {
    return this.keep('loans', `${this.normKey} ${this.filterKey}`, () => this.noise.loans(this.byFrame.total, this.byFrame.slices, this.byFrame.stacks));
  }

  /** A number by frame that frames of the very same stacks share. @param {Uint8Array} marks nodes to count */
  sameStacks(marks) {
    const tree = this.tree('main');
    const { selfNodes } = this.profile;
    const drawn = selfNodes.map((_, i) => Math.imul(i + 1, 0x9e3779b1) >>> 2);  // whole numbers: their sums are exact
    const byRow = rowTotals(tree, this.chains('main'), selfNodes, drawn);
    return this.byOutermost(marks, byRow);
  }

  /** Totals of each slice by frame. @param {Uint8Array} marks nodes to count @returns {Float64Array[][]} */
  frameSlices(marks) {
    return this.sliceTotals('main').map((side) => side.map((byRow) => this.byOutermost(marks, byRow)));
  }

  /** Sums by frame of what chains hold. @param {Uint8Array} marks nodes to count @param {Float64Array} byRow */
  byOutermost(marks, byRow) {
    const tree = this.tree('main');
    const { row } = this.chains('main');
    const out = new Float64Array(this.frames);
    for (let i = 0; i < tree.size; i++) if (marks[i]) out[tree.frame[i]] += byRow[row[i]];
    return out;
  }

  /** Whether a difference counts at the state's level. @param {Judged} judged @param {number} i node or frame */
  significant(judged, i) {
    if (this.noise.method === 'none' || this.state.level >= 1) return true;
    return judged.q[judged.row === null ? i : judged.row[i]] <= Math.fround(this.state.level);
  }

  get confidenceText() {
    return `${+(100 * this.noise.confidence).toFixed(2)} %`;
  }

  /** @param {Judged} judged @param {number} i */
  pOf(judged, i) {
    return judged.p[judged.row === null ? i : judged.row[i]];
  }

  /** p after the correction for all tests. @param {Judged} judged @param {number} i */
  qOf(judged, i) {
    return judged.q[judged.row === null ? i : judged.row[i]];
  }

  /** Interval of a difference, null where there is none. @param {Judged} judged @param {number} i @returns {[number, number] | null} */
  interval(judged, i) {
    const place = judged.row === null ? i : judged.row[i];
    return Number.isNaN(judged.low[place]) ? null : [judged.low[place], judged.high[place]];
  }

  /** Whether what is shown is what the comparison tested. */
  get asTested() {
    return !this.filtered && this.state.norm === this.profile.meta.test?.normalisation;
  }

  /** Outermost matching nodes of the main tree, and what they sum up to: a match below a match adds nothing. */
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
