// How sure a difference is, by the comparison's own tests (jvbtune/flame/compare/significance.py): over slices, or, for
// want of them, sampling noise alone (Poisson), a lower bound on the noise. Corrected for all tests by Benjamini and
// Hochberg. Rows that the very same stacks go through are one test.

import { judgeSlices, loanOf } from './moderated.js';
import { normalQuantile, poissonP } from './statistics.js';

/** @typedef {import('./decode.js').Profile} Profile */
/** @typedef {import('./normalise.js').Normalisation} Normalisation */

/**
 * The outcome by row; `row[node]` is the node's row, null where they are the same. NaN: not tested.
 * `low` and `high` enclose the difference, B − A.
 * @typedef {{row: Int32Array | null, p: Float32Array, q: Float32Array, low: Float32Array, high: Float32Array}} Judged
 */

/** Below this many samples on both sides together, or this share of them, no test is made: it could hardly find anything. */
const FEWEST_SAMPLES = 16;
const SMALLEST_SHARE = 0.001;

export class Noise {
  /** @param {Profile} profile @param {Normalisation} normalised */
  constructor(profile, normalised) {
    this.profile = profile;
    this.normalised = normalised;
    const { sides, test } = profile.meta;
    this.method = sides.length < 2 || test?.method === 'none' ? 'none' : profile.slices.every((slices) => slices.length >= 2) ? 'slices' : 'poisson';
    this.perSample = sides.map((/** @type {any} */ side) => side.units_per_sample);
    this.factors = normalised.scales.map((scale, side) => scale * this.perSample[side]);
    const whole = profile.tree.total.reduce((sum, values, side) => sum + values[0] / this.perSample[side], 0);
    this.fewest = Math.max(FEWEST_SAMPLES, SMALLEST_SHARE * whole);
    this.confidence = 1 - (test?.level ?? 0.05);
    // Relative differences that unlike captures show by themselves (jvbtune/flame/compare/likeness.py).
    const scaled = ['packets', 'seconds', 'share'].includes(normalised.id);
    this.allowedFrame = test?.allowed_frame ?? 0;
    this.allowedWhole = (scaled ? test?.allowed_whole : test?.allowed_frame) ?? 0;
    this.z = normalQuantile(this.confidence);
  }

  /**
   * @param {Float64Array[]} values [A, B] by row, in the profile's own unit
   * @param {() => Float64Array[][]} slices [side][slice] the same of each slice
   * @param {(() => ArrayLike<number>) | null} alike what is equal for rows of the same stacks; null: each has its own
   * @param {Int32Array | null} row
   * @param {{loans?: () => ReturnType<typeof loanOf>[], moments?: () => Float64Array[] | null, wholeFirst?: boolean}} more
   *   `loans` of others, where the rows have none of their own; `moments` Σ w² by side and row, where samples differ in
   *   weight; `wholeFirst`: the first row is the whole
   * @returns {Judged}
   */
  judge(values, slices, alike, row, { loans, moments, wholeFirst = false } = {}) {
    const count = values[0].length;
    const empty = () => new Float32Array(count).fill(NaN);
    const out = { row, p: empty(), q: empty(), low: empty(), high: empty() };
    if (this.method === 'none' || !(Math.min(...this.factors) > 0)) return out;
    const tests = this.#tests(values, alike);
    const once = tests.map(([i]) => i);
    let found;
    const allowed = once.map((i) => (wholeFirst && i === 0 ? this.allowedWhole : this.allowedFrame));
    if (this.method === 'poisson') {
      const [a, b] = this.perSample;
      const squares = moments?.() ?? null;
      found = once.map((i, t) => {
        const [x, y] = [values[0][i] / a, values[1][i] / b];
        return this.#poisson(x, y, squares ? (squares[0][i] / a ** 2 + squares[1][i] / b ** 2) / (x + y) : 1, allowed[t]);
      });
    } else {
      const sides = this.#sliced(once, slices());
      found = judgeSlices(sides, this.confidence, loans ? loans() : sides.map(loanOf), allowed);
    }
    const q = adjusted(found.map(({ p }) => p));
    if (wholeFirst && once[0] === 0) q[0] = found[0].p;  // one question, asked beforehand: not corrected for the others
    tests.forEach((rows, t) => {
      const { p, delta, half } = found[t];
      for (const i of rows) [out.p[i], out.q[i], out.low[i], out.high[i]] = [p, q[t], delta - half, delta + half];
    });
    return out;
  }

  /**
   * What the rows have in common, for others to borrow. @param {Float64Array[]} values @param {() => Float64Array[][]} slices
   * @param {() => ArrayLike<number>} alike
   */
  loans(values, slices, alike) {
    return this.#sliced(this.#tests(values, alike).map(([i]) => i), slices()).map(loanOf);
  }

  /** The tests to make, each with its rows. @param {Float64Array[]} values @param {(() => ArrayLike<number>) | null} alike */
  #tests([a, b], alike) {
    /** @type {number[][]} */
    const tests = [];
    const known = new Map();
    const marks = alike?.();
    for (let i = 0; i < a.length; i++) {
      if (!(a[i] / this.perSample[0] + b[i] / this.perSample[1] >= this.fewest)) continue;
      const same = marks ? known.get(marks[i]) : undefined;
      if (same) same.push(i);
      else {
        tests.push([i]);
        if (marks) known.set(marks[i], tests[tests.length - 1]);
      }
    }
    return tests;
  }

  /**
   * @param {number} a @param {number} b in samples of the sides' usual weights @param {number} weight how much heavier these
   * are @param {number} allowed the relative difference that is none
   */
  #poisson(a, b, weight, allowed) {
    const [one, other] = this.factors;
    const [more, fewer] = [one * (1 + allowed), one / (1 + allowed)];
    const tested = (a + b) / weight >= FEWEST_SAMPLES;
    return {
      p: tested ? poissonP(a / weight, b / weight, more / (more + other), fewer / (fewer + other)) : NaN,
      delta: tested ? other * b - one * a : NaN,
      half: this.z * Math.sqrt(weight * (one * one * a + other * other * b)) + allowed * Math.min(one * a, other * b),
    };
  }

  /** @param {number[]} rows @param {Float64Array[][]} slices */
  #sliced(rows, slices) {
    const { meta } = this.profile;
    return slices.map((side, s) => ({
      counts: side.map((values) => Float64Array.from(rows, (i) => values[i] / this.perSample[s])),
      wholes: meta.sides[s].slices.map((/** @type {any} */ slice) => slice.total / this.perSample[s]),
      exposure: this.normalised.exposures[s],
      factor: this.factors[s],
      ofShare: this.normalised.id === 'share',
    }));
  }
}

/** Benjamini–Hochberg: the lowest false-discovery rate at which each row is a discovery. @param {number[]} ps NaN: not tested */
export function adjusted(ps) {
  const order = ps.map((_, i) => i).filter((i) => !Number.isNaN(ps[i])).sort((i, j) => ps[j] - ps[i]);
  const out = new Float64Array(ps.length).fill(NaN);
  let lowest = 1;
  order.forEach((i, k) => {
    lowest = Math.min(lowest, (ps[i] * order.length) / (order.length - k));
    out[i] = lowest;
  });
  return out;
}
