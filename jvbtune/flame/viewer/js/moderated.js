// The comparison's own test over slices (jvbtune/flame/compare/significance.py, where its ground is given), so that it
// holds for another normalisation, under filters and in a sandwich too: a Welch test for which rows lend each other what
// they have in common. Numbers are samples; each row must be another than the others.

import { chiSquareQuantile, fQuantile, inverseTrigamma, studentP, studentQuantile, trigamma } from './statistics.js';

const PRIOR_SAMPLES = 5;
const PRIOR_ROWS = 10;
const LARGEST_LOAN = 20;
const OUTLIER = 0.9;

/**
 * One side: `counts[slice]` by row; `wholes[slice]`; `exposure[slice]`, each slice's share of what the normalisation
 * counts by; `factor` from a sample to the shown unit.
 * @typedef {{counts: Float64Array[], wholes: number[], exposure: number[], factor: number, ofShare: boolean}} Sliced
 */

/** @param {ArrayLike<number>} values */
function sumOf(values) {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i];
  return sum;
}

/**
 * Squared standard error of the sum of slices, from their scatter about what their exposure lets expect.
 * @param {ArrayLike<number>[]} counts by slice @param {number[]} exposure
 */
function squaredErrors(counts, exposure) {
  const out = new Float64Array(counts[0].length);
  const rest = 1 - sumOf(exposure.map((e) => e * e));
  for (let i = 0; i < out.length; i++) {
    let sum = 0;
    for (const values of counts) sum += values[i];
    for (let k = 0; k < counts.length; k++) out[i] += (counts[k][i] - sum * exposure[k]) ** 2;
    out[i] /= rest;
  }
  return out;
}

/** @param {Float64Array[]} counts */
function totalsOfSlices(counts) {
  return Float64Array.from(counts[0], (_, i) => counts.reduce((sum, values) => sum + values[i], 0));
}

/**
 * What the rows of a side have in common: a count of λ scatters by `excess` λ + `relative` λ², worth `freedom` degrees of
 * freedom; `common` is the squared relative scatter that all rows share, with a bound.
 * @param {Sliced} side
 */
export function loanOf({ counts, wholes, exposure, ofShare }) {
  const whole = sumOf(wholes);
  const d = counts.length - 1;
  const lent = { excess: 1, relative: 0, freedom: 0, common: 0, bound: 0 };
  if (!ofShare && whole > 0) {
    const [square] = squaredErrors(wholes.map((one) => [one]), exposure);
    lent.common = Math.max(0, square - whole) / whole ** 2;
    lent.bound = Math.max(0, (square * d) / chiSquareQuantile(0.1, d) - whole) / whole ** 2;
  }
  const total = totalsOfSlices(counts);
  const use = Array.from(total.keys()).filter((i) => total[i] >= PRIOR_SAMPLES * counts.length && total[i] < 0.5 * whole);
  if (use.length < PRIOR_ROWS || Math.min(...wholes) <= 0) return lent;
  const squares = squaredErrors(counts, wholes.map((one) => one / whole));
  const size = use.map((i) => total[i] * (1 - total[i] / whole));
  const ratio = use.map((i, k) => squares[i] / size[k]);
  [lent.excess, lent.relative] = trendOf(size, ratio);
  const logs = ratio.map((r, k) => Math.log(Math.max(r / (lent.excess + lent.relative * size[k]), 1e-3)));
  const mean = sumOf(logs) / logs.length;
  const spread = sumOf(logs.map((l) => (l - mean) ** 2)) / (logs.length - 1) - trigamma(d / 2);
  lent.freedom = spread <= 0 ? LARGEST_LOAN : Math.min(LARGEST_LOAN, 2 * inverseTrigamma(spread));
  return lent;
}

/** Least squares of ratio = excess + relative · size, weighted as variances scatter. @param {number[]} size @param {number[]} ratio @returns {[number, number]} */
function trendOf(size, ratio) {
  let [excess, relative] = [1, 0];
  for (let round = 0; round < 15; round++) {
    let [w0, w1, w2, r0, r1] = [0, 0, 0, 0, 0];
    for (let i = 0; i < size.length; i++) {
      const weight = (excess + relative * size[i]) ** -2;
      w0 += weight;
      w1 += weight * size[i];
      w2 += weight * size[i] ** 2;
      r0 += weight * ratio[i];
      r1 += weight * size[i] * ratio[i];
    }
    const determinant = w0 * w2 - w1 * w1;
    let fitted = determinant > 0 ? [(r0 * w2 - r1 * w1) / determinant, (r1 * w0 - r0 * w1) / determinant] : [r0 / w0, 0];
    if (fitted[1] < 0) fitted = [r0 / w0, 0];
    if (fitted[0] < 1) fitted = [1, Math.max(0, (r1 - w1) / w2)];
    [excess, relative] = fitted;
  }
  return [excess, relative];
}

/**
 * @param {Sliced[]} sides two, each of at least two slices @param {number} confidence
 * @param {ReturnType<typeof loanOf>[]} loans by side @param {number[]} allowed by row: the relative difference that is none
 * @returns {{p: number, delta: number, half: number}[]} by row; NaN: cannot be tested
 */
export function judgeSlices(sides, confidence, loans, allowed) {
  const totals = sides.map(({ counts }) => totalsOfSlices(counts));
  const errors = sides.map(({ counts, exposure }) => squaredErrors(counts, exposure));
  const wholes = sides.map((side) => sumOf(side.wholes));
  const freedoms = sides.map(({ counts }) => counts.length - 1);
  const outlier = fQuantile(OUTLIER, sumOf(freedoms), Math.max(1, Math.min(...loans.map((lent) => lent.freedom))));
  const [fa, fb] = sides.map((side) => side.factor);
  return Array.from(totals[0], (_, i) => {
    // What a side would count if there were no difference: a frame of one side only has noise on the other too.
    const alike = (totals[0][i] + totals[1][i]) / (1 / fa + 1 / fb);
    const rows = sides.map(({ factor, ofShare }, s) => {
      const { excess, relative, freedom, common, bound } = loans[s];
      const count = alike / factor;
      const rest = ofShare ? Math.max(0, 1 - count / Math.max(1, wholes[s])) : 1;
      const alone = excess * count * rest + relative * (count * rest) ** 2;
      return {
        own: factor ** 2 * errors[s][i],
        prior: factor ** 2 * (alone + common * count ** 2),
        weight: freedom * (alone / Math.max(alone + bound * count ** 2, 1e-300)) ** 2,
      };
    });
    const prior = rows[0].prior + rows[1].prior;
    const outlying = rows[0].own + rows[1].own > outlier * prior;
    let [square, below] = [0, 0];
    rows.forEach(({ own, prior: lent, weight }, s) => {
      const w = outlying ? 0 : weight;
      const mixed = (w * lent + freedoms[s] * own) / (w + freedoms[s]);
      square += mixed;
      below += mixed ** 2 / (w + freedoms[s]);
    });
    if (!(prior > 0 && square > 0)) return { p: NaN, delta: NaN, half: NaN };
    const freedom = square ** 2 / Math.max(below, 1e-300);
    const delta = fb * totals[1][i] - fa * totals[0][i];
    const margin = allowed[i] * Math.min(fa * totals[0][i], fb * totals[1][i]);
    const beyond = Math.max(0, Math.abs(delta) - margin);
    return { p: studentP(beyond / Math.sqrt(square), freedom), delta, half: studentQuantile(confidence, freedom) * Math.sqrt(square) + margin };
  });
}
