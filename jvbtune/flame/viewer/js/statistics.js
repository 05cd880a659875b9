// Distributions, and the false-discovery rate. Sources are named where a formula is used.

/** Natural logarithm of the gamma function (Lanczos, g = 7, n = 9). @param {number} x @returns {number} */
function logGamma(x) {
  const c = [0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
    12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7];
  if (x < 0.5) return Math.log(Math.PI / Math.sin(Math.PI * x)) - logGamma(1 - x);
  let sum = c[0];
  for (let i = 1; i < 9; i++) sum += c[i] / (x - 1 + i);
  const t = x + 6.5;
  return 0.5 * Math.log(2 * Math.PI) + (x - 0.5) * Math.log(t) - t + Math.log(sum);
}

/** @param {(x: number) => number} rising @param {number} wanted @param {number} highest */
function solve(rising, wanted, highest) {
  let [low, high] = [0, highest];
  for (let i = 0; i < 100; i++) {
    const middle = (low + high) / 2;
    if (rising(middle) < wanted) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/**
 * Regularised incomplete beta function I_x(a, b), by Lentz's continued fraction (Numerical Recipes, 6.4).
 * @param {number} x @param {number} a @param {number} b @returns {number}
 */
export function incompleteBeta(x, a, b) {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  if (x > (a + 1) / (a + b + 2)) return 1 - incompleteBeta(1 - x, b, a);
  const tiny = 1e-300;
  const clear = (/** @type {number} */ v) => (Math.abs(v) < tiny ? tiny : v);
  const front = Math.exp(a * Math.log(x) + b * Math.log1p(-x) - logGamma(a) - logGamma(b) + logGamma(a + b)) / a;
  let c = 1;
  let d = 1 / clear(1 - ((a + b) * x) / (a + 1));
  let h = d;
  for (let m = 1; m <= 500; m++) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / clear(1 + even * d);
    c = clear(1 + even / c);
    h *= d * c;
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / clear(1 + odd * d);
    c = clear(1 + odd / c);
    h *= d * c;
    if (Math.abs(d * c - 1) < 1e-12) break;
  }
  return front * h;
}

/** Two-sided p-value of Student's t. @param {number} t @param {number} freedom */
export function studentP(t, freedom) {
  return incompleteBeta(freedom / (freedom + t * t), freedom / 2, 0.5);
}

/** The t that a share `level` of Student's distribution lies within (both sides). @param {number} level @param {number} freedom */
export function studentQuantile(level, freedom) {
  return solve((t) => -studentP(t, freedom), level - 1, 1e5);
}

/**
 * Exact conditional test that two Poisson counts have one rate: given their sum, the second is binomial with `share`
 * (Przyborowski and Wilenski, 1940). Two-sided by doubling.
 * @param {number} a @param {number} b @param {number} most @param {number} least expected part of the second: one number,
 * or the ends of a range that shows no difference
 */
export function poissonP(a, b, most, least) {
  const upper = b > 0 ? incompleteBeta(most, b, a + 1) : 1;
  const lower = a > 0 ? incompleteBeta(1 - least, a, b + 1) : 1;
  return Math.min(1, 2 * Math.min(upper, lower));
}

/** The z that a share `level` of the normal distribution lies within (both sides). @param {number} level */
export function normalQuantile(level) {
  const within = (/** @type {number} */ z) => {  // Marsaglia, J. Stat. Softw. 11(4), 2004
    let term = z;
    let sum = z;
    for (let n = 3; sum + term !== sum; n += 2) {
      term *= (z * z) / n;
      sum += term;
    }
    return 2 * sum * Math.exp(-z * z / 2) / Math.sqrt(2 * Math.PI);
  };
  return solve(within, level, 8);
}

/** The x below which a share `p` of the F distribution lies. @param {number} p @param {number} n @param {number} d degrees of freedom */
export function fQuantile(p, n, d) {
  return solve((x) => incompleteBeta((n * x) / (n * x + d), n / 2, d / 2), p, 1e6);
}

/** The x below which a share `p` of the chi-square distribution lies; for small ones, as the series runs up. @param {number} p @param {number} d */
export function chiSquareQuantile(p, d) {
  const below = (/** @type {number} */ x) => {  // Abramowitz and Stegun 6.5.29
    let term = 1 / (d / 2);
    let sum = term;
    for (let n = 1; sum + term !== sum; n++) {
      term *= x / 2 / (d / 2 + n);
      sum += term;
    }
    return sum * Math.exp((d / 2) * Math.log(x / 2) - x / 2 - logGamma(d / 2));
  };
  return solve(below, p, 2 * d);
}

/** Second derivative of log Γ, and the third: asymptotic series above 8 (Abramowitz and Stegun 6.4.11), recurrence below. @param {number} x */
export function trigamma(x) {
  if (x < 8) return trigamma(x + 1) + 1 / x ** 2;
  return 1 / x + 1 / (2 * x ** 2) + 1 / (6 * x ** 3) - 1 / (30 * x ** 5) + 1 / (42 * x ** 7) - 1 / (30 * x ** 9) + 5 / (66 * x ** 11);
}

/** @param {number} x @returns {number} */
function tetragamma(x) {
  if (x < 8) return tetragamma(x + 1) - 2 / x ** 3;
  return -1 / x ** 2 - 1 / x ** 3 - 1 / (2 * x ** 4) + 1 / (6 * x ** 6) - 1 / (6 * x ** 8) + 3 / (10 * x ** 10) - 5 / (6 * x ** 12);
}

/** Newton's method of Smyth 2004, appendix. @param {number} value */
export function inverseTrigamma(value) {
  let x = 0.5 + 1 / value;
  for (let i = 0; i < 50; i++) {
    const tri = trigamma(x);
    const step = (tri * (1 - tri / value)) / tetragamma(x);
    x += step;
    if (-step / x < 1e-8) break;
  }
  return x;
}
