// How sure a difference is. From slices: Welch's test and interval on the normalised values of the slices. Without
// slices: sampling noise alone (Poisson), which is a lower bound on the noise.

import { discoveryLimit, poissonP, studentP, studentQuantile } from './statistics.js';

/** @typedef {import('./decode.js').Tree} Tree */
/** @typedef {import('./decode.js').Profile} Profile */
/** @typedef {import('./normalise.js').Normalisation} Normalisation */

/**
 * Totals of two sides and how far they scatter, by node or by row.
 * @typedef {object} Measured
 * @property {Float64Array[]} values    [A, B], in the profile's own unit
 * @property {Float64Array[] | null} squares  [A, B] squared standard errors in the shown unit; null: Poisson
 */

/** Below this many samples on both sides together no test is made: none could find anything. */
const FEWEST_SAMPLES = 8;

export const CONFIDENCE = 0.95;

export class Noise {
  /** @param {Profile} profile @param {Normalisation} normalised */
  constructor(profile, normalised) {
    this.profile = profile;
    this.normalised = normalised;
    const sides = profile.meta.sides;
    this.method = sides.length < 2 ? 'none' : profile.slices.every((slices) => slices.length >= 2) ? 'slices' : 'poisson';
    this.perSample = sides.map((/** @type {any} */ side) => side.units_per_sample);
  }

  /**
   * Squared standard errors, by a function that turns one slice's values of nodes into what is measured.
   * @param {Tree} tree @param {(nodeTotals: Float64Array) => Float64Array} measure
   * @returns {Float64Array[] | null}
   */
  squares(tree, measure) {
    if (this.method !== 'slices') return null;
    const { selfNodes, slices } = this.profile;
    return slices.map((values, side) => {
      /** @type {Float64Array} */
      let mean = new Float64Array(0);
      /** @type {Float64Array} */
      let square = mean;
      values.forEach((sliceValues, number) => {
        const scale = this.normalised.slices[side][number];
        const total = new Float64Array(tree.size);
        for (let i = 0; i < selfNodes.length; i++) {
          const node = tree.target === null ? selfNodes[i] : tree.target[selfNodes[i]];
          if (node >= 0) total[node] += sliceValues[i] * scale;
        }
        for (let i = tree.size - 1; i > 0; i--) total[tree.parent[i]] += total[i];
        const measured = measure(total);
        if (number === 0) {
          mean = new Float64Array(measured.length);
          square = new Float64Array(measured.length);
        }
        for (let i = 0; i < measured.length; i++) {  // Welford
          const off = measured[i] - mean[i];
          mean[i] += off / (number + 1);
          square[i] += off * (measured[i] - mean[i]);
        }
      });
      const count = values.length;
      for (let i = 0; i < square.length; i++) square[i] /= (count - 1) * count;
      return square;
    });
  }

  /** @param {Measured} measured @param {number} i */
  delta(measured, i) {
    const [a, b] = this.normalised.scales;
    return measured.values[1][i] * b - measured.values[0][i] * a;
  }

  /** Standard error of the difference and its degrees of freedom (Welch–Satterthwaite). @param {Measured} measured @param {number} i */
  error(measured, i) {
    if (measured.squares === null) {
      let square = 0;
      this.normalised.scales.forEach((scale, side) => {
        square += scale * scale * this.perSample[side] * measured.values[side][i];
      });
      return { error: Math.sqrt(square), freedom: Infinity };
    }
    const [a, b] = [measured.squares[0][i], measured.squares[1][i]];
    const [na, nb] = this.profile.slices.map((slices) => slices.length);
    const freedom = (a + b) ** 2 / (a ** 2 / (na - 1) + b ** 2 / (nb - 1));
    return { error: Math.sqrt(a + b), freedom };
  }

  /** Half the width of the interval of the difference, NaN where there is none. @param {Measured} measured @param {number} i */
  halfWidth(measured, i) {
    if (this.method === 'none') return NaN;
    const { error, freedom } = this.error(measured, i);
    if (!(error > 0)) return NaN;
    return error * (freedom === Infinity ? 1.959963984540054 : studentQuantile(CONFIDENCE, freedom));
  }

  /** p-value of the difference, NaN where there is too little to test. @param {Measured} measured @param {number} i */
  p(measured, i) {
    if (this.method === 'none') return NaN;
    const a = measured.values[0][i] / this.perSample[0];
    const b = measured.values[1][i] / this.perSample[1];
    if (!(a + b >= FEWEST_SAMPLES)) return NaN;
    if (measured.squares === null) {
      const [one, other] = this.normalised.scales.map((scale, side) => scale * this.perSample[side]);
      return one > 0 && other > 0 ? poissonP(a, b, one / (one + other)) : NaN;
    }
    const { error, freedom } = this.error(measured, i);
    return error > 0 ? studentP(this.delta(measured, i) / error, freedom) : NaN;
  }

  /** All p-values. @param {Measured} measured @returns {Float32Array} */
  ps(measured) {
    const out = new Float32Array(measured.values[0].length);
    for (let i = 0; i < out.length; i++) out[i] = this.p(measured, i);
    return out;
  }
}

/** The p-values that were tested, ascending: what the false-discovery rate is taken over. @param {Float32Array} ps */
export function testedSorted(ps) {
  return Float64Array.from(ps.filter((p) => !Number.isNaN(p))).sort();
}

export { discoveryLimit };
