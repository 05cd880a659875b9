// The picture as it is seen, with its head and legend, as a file: SVG with a title on each frame, or PNG.

import { ROW_PX, MONOSPACE, FONT_PX } from './picture.js';
import { escapeXml } from './format.js';
import { sentence } from './texts.js';

/** @typedef {import('./viewer.js').Viewer} Viewer */

const WIDE_PX = 1600;
const MARGIN_PX = 12;
const LINE_PX = 17;

/** The words above an exported picture, in lines of at most so many characters. @param {Viewer} viewer @param {number} longest */
function headLines(viewer, longest) {
  const { analysis, state } = viewer;
  const sums = [...(document.getElementById('sums')?.children ?? [])].map((part) =>
    [...part.childNodes].map((node) => (node.textContent ?? '').trim()).filter(Boolean).join(' '));
  const words = [analysis.normalised.label, ...sums, viewer.legendText(), viewer.widthText()];
  if (state.search) words.push(`search ${state.search}: ${document.getElementById('found')?.textContent ?? ''}`);
  const filters = Object.entries({ focus: state.focus, hide: state.hide, merge: state.merge, without: state.threads.replace(/\n/g, ', ') });
  words.push(...filters.filter(([, text]) => text).map(([name, text]) => `${name} ${text}`));
  const lines = [document.title, ''];
  for (const text of words.filter(Boolean)) {
    const last = lines[lines.length - 1];
    if (last === '') lines[lines.length - 1] = text;
    else if (last.length + text.length + 3 <= longest) lines[lines.length - 1] += ` · ${text}`;
    else lines.push(text);
  }
  return lines;
}

/** @param {Viewer} viewer @returns {string} */
export function svgOf(viewer) {
  const { panes, colours } = viewer;
  const columns = viewer.state.split && viewer.analysis.differential ? 2 : 1;
  const wide = (WIDE_PX - MARGIN_PX * (columns + 1)) / columns;
  const head = headLines(viewer, 220);
  let top = head.length * LINE_PX + 2 * MARGIN_PX;
  const parts = [];
  for (let first = 0; first < panes.list.length; first += columns) {
    let tallest = 0;
    panes.list.slice(first, first + columns).forEach((pane, i) => {
      const left = MARGIN_PX + i * (wide + MARGIN_PX);
      const caption = pane.caption.textContent ? ROW_PX : 0;
      if (caption) parts.push(`<text x="${left}" y="${top + 11}" fill="${colours.quiet}">${escapeXml(pane.caption.textContent ?? '')}</text>`);
      const { markup, height } = pane.picture.svg(wide, left, top + caption, (node) => sentence(viewer, pane.which, node));
      parts.push(`<g data-tree="${pane.which}" data-width="${pane.mode}">`, markup, '</g>');
      tallest = Math.max(tallest, height + caption);
    });
    top += tallest + MARGIN_PX;
  }
  const lines = head.map((line, i) =>
    `<text x="${MARGIN_PX}" y="${20 + i * LINE_PX}" fill="${i === 0 ? colours.ink : colours.quiet}"${i === 0 ? ' font-weight="bold"' : ''}>${escapeXml(line)}</text>`);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDE_PX}" height="${top}" viewBox="0 0 ${WIDE_PX} ${top}" font-family="${escapeXml(MONOSPACE)}" font-size="${FONT_PX}">`,
    `<title>${escapeXml(document.title)}</title>`,
    `<rect width="100%" height="100%" fill="${colours.paper}"/>`,
    ...lines, ...parts, '</svg>', '',
  ].join('\n');
}

/** The same rows as in the window, painted anew at twice the density, without the empty room around them. @param {Viewer} viewer @returns {Promise<Blob>} */
export function pngOf(viewer) {
  const { panes, colours } = viewer;
  const area = panes.host.getBoundingClientRect();
  const ends = panes.list.map((pane) => {
    const at = pane.scroller.getBoundingClientRect();
    const [first, last] = pane.picture.drawnRange() ?? [0, 0];
    return { top: at.top - area.top, above: pane.rootBelow ? first : 0, bottom: at.top - area.top + last };
  });
  const firstRow = ends.filter(({ top }) => top === ends[0].top);
  const cut = Math.floor(Math.min(...firstRow.map(({ above }) => above)));  // the captions above move down by it
  const head = headLines(viewer, Math.floor((area.width - 16) / 6.7));
  const headPx = head.length * LINE_PX + 8;
  const high = Math.ceil(Math.max(...ends.map(({ bottom }) => bottom))) - cut + 4;
  const ratio = 2;
  const canvas = document.createElement('canvas');
  canvas.width = Math.round(area.width * ratio);
  canvas.height = Math.round((high + headPx) * ratio);
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
  context.scale(ratio, ratio);
  context.fillStyle = colours.paper;
  context.fillRect(0, 0, area.width, high + headPx);
  head.forEach((line, i) => {
    context.font = `${i === 0 ? 'bold ' : ''}${FONT_PX}px ${MONOSPACE}`;
    context.fillStyle = i === 0 ? colours.ink : colours.quiet;
    context.fillText(line, 8, 17 + i * LINE_PX, area.width - 16);
  });
  for (const pane of panes.list) {
    const at = pane.scroller.getBoundingClientRect();
    const { picture } = pane;
    if (!picture.boxes) continue;
    const inFirstRow = at.top - area.top === ends[0].top;
    context.save();
    context.translate(at.left - area.left, at.top - area.top + headPx - (inFirstRow ? 0 : cut));
    if (pane.caption.textContent) {
      context.font = `${FONT_PX}px ${MONOSPACE}`;
      context.fillStyle = colours.quiet;
      context.textBaseline = 'alphabetic';
      context.fillText(pane.caption.textContent, 8, -6, at.width - 16);
    }
    context.beginPath();
    context.rect(0, 0, at.width, at.height - (inFirstRow ? cut : 0));
    context.clip();
    if (inFirstRow) context.translate(0, -cut);
    picture.paint(context, picture.boxes, at.width, at.height, (row) => picture.topOf(row) - pane.scroller.scrollTop);
    context.restore();
  }
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error('The picture is too large for a PNG.'))), 'image/png');
  });
}

/** @param {Blob} blob @param {string} name */
export function save(blob, name) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
