// How sure a difference is, for what the comparison (jvbtune/flame/compare) did not test itself: another normalisation,
// a filtered tree, a sandwich. From slices a Welch test of each row by itself, which finds less than the comparison's, in
// which rows lend each other what they have in common; without slices sampling noise alone (Poisson), a lower bound on
// the noise, as there. Corrected for all tests by Benjamini and Hochberg.

import { normalQuantile, poissonP, studentP, studentQuantile } from './statistics.js';

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
    this.method = sides.length < 2 ? 'none' : profile.slices.every((slices) => slices.length >= 2) ? 'slices' : 'poisson';
    this.perSample = sides.map((/** @type {any} */ side) => side.units_per_sample);
    this.fewest = Math.max(FEWEST_SAMPLES, SMALLEST_SHARE * profile.tree.total.reduce((sum, values, side) => sum + values[0] / this.perSample[side], 0));
    this.confidence = 1 - (test?.level ?? 0.05);
  }

  /**
   * @param {Float64Array[]} values [A, B] by row, in the profile's own unit
   * @param {() => Float64Array[][]} slices [side][slice] the same of each slice
   * @param {ArrayLike<number> | null} weights how many tests a row stands for; null: one each
   * @param {Int32Array | null} row
   * @returns {Judged}
   */
  judge(values, slices, weights, row) {
    const count = values[0].length;
    const out = { row, p: new Float32Array(count).fill(NaN), q: new Float32Array(count), low: new Float32Array(count).fill(NaN), high: new Float32Array(count).fill(NaN) };
    if (this.method === 'poisson') this.#poisson(values, out);
    else if (this.method === 'slices') this.#slices(values, slices(), out);
    out.q = adjusted(out.p, weights);
    return out;
  }

  /** @param {Float64Array} value @param {number} side @param {number} i */
  #samples(value, side, i) {
    return value[i] / this.perSample[side];
  }

  /** @param {Judged} out @param {number} i @param {number} delta @param {number} half */
  #enclose(out, i, delta, half) {
    out.low[i] = delta - half;
    out.high[i] = delta + half;
  }

  /** @param {Float64Array[]} values @param {Judged} out */
  #poisson(values, out) {
    const [one, other] = this.normalised.scales.map((scale, side) => scale * this.perSample[side]);
    if (!(one > 0 && other > 0)) return;
    const z = normalQuantile(this.confidence);
    /** @type {Map<number, number>} */
    const known = new Map();  // few pairs of counts are different
    for (let i = 0; i < out.p.length; i++) {
      const a = this.#samples(values[0], 0, i);
      const b = this.#samples(values[1], 1, i);
      if (!(a + b >= this.fewest)) continue;
      const key = a < 1e6 && b < 1e6 && Number.isInteger(a) && Number.isInteger(b) ? a * 1e6 + b : -1;
      let p = known.get(key);
      if (p === undefined || key < 0) {
        p = poissonP(a, b, one / (one + other));
        known.set(key, p);
      }
      out.p[i] = p;
      this.#enclose(out, i, other * b - one * a, z * Math.sqrt(one * one * a + other * other * b));
    }
  }

  /** @param {Float64Array[]} values @param {Float64Array[][]} slices @param {Judged} out */
  #slices(values, slices, out) {
    const { scales, exposures } = this.normalised;
    const squares = slices.map((measured, side) => squaredErrors(measured, values[side], exposures[side]));
    const [na, nb] = slices.map((measured) => measured.length);
    for (let i = 0; i < out.p.length; i++) {
      if (!(this.#samples(values[0], 0, i) + this.#samples(values[1], 1, i) >= this.fewest)) continue;
      const [a, b] = [scales[0] ** 2 * squares[0][i], scales[1] ** 2 * squares[1][i]];
      const error = Math.sqrt(a + b);
      if (!(error > 0)) continue;
      const freedom = (a + b) ** 2 / (a ** 2 / (na - 1) + b ** 2 / (nb - 1));
      const delta = values[1][i] * scales[1] - values[0][i] * scales[0];
      out.p[i] = studentP(delta / error, freedom);
      this.#enclose(out, i, delta, error * studentQuantile(this.confidence, freedom));
    }
  }
}

/**
 * Squared standard error of the sum of slices, from their scatter about what their exposure lets expect.
 * @param {Float64Array[]} slices @param {Float64Array} sums @param {number[]} exposure
 */
function squaredErrors(slices, sums, exposure) {
  const out = new Float64Array(sums.length);
  slices.forEach((values, number) => {
    for (let i = 0; i < out.length; i++) out[i] += (values[i] - sums[i] * exposure[number]) ** 2;
  });
  const rest = 1 - exposure.reduce((sum, e) => sum + e * e, 0);
  for (let i = 0; i < out.length; i++) out[i] /= rest;
  return out;
}

/**
 * Benjamini–Hochberg: the lowest false-discovery rate at which each row is a discovery.
 * @param {Float32Array} ps NaN: not tested @param {ArrayLike<number> | null} weights
 */
export function adjusted(ps, weights) {
  /** @type {Map<number, number>} */
  const tests = new Map();
  let all = 0;
  for (let i = 0; i < ps.length; i++) {
    if (Number.isNaN(ps[i])) continue;
    const weight = weights === null ? 1 : weights[i];
    tests.set(ps[i], (tests.get(ps[i]) ?? 0) + weight);
    all += weight;
  }
  const sorted = Float64Array.from(tests.keys()).sort();
  let rank = all;
  let lowest = 1;
  for (let k = sorted.length - 1; k >= 0; k--) {
    const weight = /** @type {number} */ (tests.get(sorted[k]));
    lowest = Math.min(lowest, (sorted[k] * all) / rank);
    tests.set(sorted[k], lowest);
    rank -= weight;
  }
  return Float32Array.from(ps, (p) => tests.get(p) ?? NaN);
}
