// Numbers and names as people read them.

/** @type {Intl.NumberFormat[]} by decimals; making one costs far more than using it */
const FORMATS = [];

/** @param {number} value @param {number} decimals */
function fixed(value, decimals) {
  FORMATS[decimals] ??= new Intl.NumberFormat('en', { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
  return FORMATS[decimals].format(value);
}

/** @param {number} value @param {number} digits significant ones */
function significant(value, digits) {
  const size = Math.abs(value);
  if (size === 0) return '0';
  if (size < 1e-4) return value.toExponential(digits - 2).replace('e-', ' × 10⁻').replace(/\d+$/, (power) => power.replace(/\d/g, (d) => '⁰¹²³⁴⁵⁶⁷⁸⁹'[Number(d)]));
  return fixed(value, Math.max(0, digits - 1 - Math.floor(Math.log10(size))));
}

/** @param {number} value */
export function figure(value) {
  if (!Number.isFinite(value)) return '–';
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return fixed(value, 0).replace('-', '−');
  return significant(value, 4).replace('-', '−');
}

/** A difference, always with its sign. @param {number} value */
export function signed(value) {
  if (!Number.isFinite(value)) return '–';
  const text = figure(Math.abs(value));
  return value < 0 ? `−${text}` : value > 0 ? `+${text}` : text;
}

/** @param {number} a @param {number} b */
export function percentChange(a, b) {
  if (a === 0) return b === 0 ? '–' : 'new';
  if (b === 0) return 'removed';
  const percent = (b / a - 1) * 100;
  if (percent > 9999.5) return `× ${significant(b / a, 3)}`;
  return `${percent < 0 ? '−' : '+'}${Math.abs(percent).toFixed(Math.abs(percent) < 100 ? 1 : 0)} %`;
}

/** @param {number} p */
export function probability(p) {
  if (Number.isNaN(p)) return '–';
  if (p < 1e-4) return '< 0.0001';
  return p.toFixed(4);
}

/** @param {number} part @param {number} whole */
export function share(part, whole) {
  return whole > 0 ? `${((100 * part) / whole).toFixed(2)} %` : '–';
}

/** The name's last, telling part: class and method of a Java frame. @param {string} name */
export function shortName(name) {
  const cut = name.lastIndexOf('/');
  return cut >= 0 && !name.includes(' ') ? name.slice(cut + 1) : name;
}

/** What fits in the room: the whole name, its last part, or that one's beginning. @param {string} name @param {number} room characters */
export function fitName(name, room) {
  if (name.length <= room) return name;
  const short = shortName(name);
  if (short.length <= room) return short;
  return room >= 3 ? `${short.slice(0, room - 1)}…` : '';
}

/** Heeds case only where it holds a capital (`\S` and the like are none). @param {string} pattern @returns {RegExp | null} null: not a pattern */
export function pattern(pattern) {
  try {
    return new RegExp(pattern, /[A-Z]/.test(pattern.replace(/\\./g, '')) ? '' : 'i');
  } catch {
    return null;
  }
}

/** @param {string} text */
export function escapeXml(text) {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`).replace(/[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, '\ufffd');
}
