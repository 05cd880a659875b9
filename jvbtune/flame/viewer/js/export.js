// The picture as it is seen, with its head and legend, as a file: SVG with a title on each frame, or PNG.

import { ROW_PX, MONOSPACE, FONT_PX } from './picture.js';
import { escapeXml } from './format.js';
import { sentence } from './texts.js';

/** @typedef {import('./viewer.js').Viewer} Viewer */

const WIDE_PX = 1600;
const MARGIN_PX = 12;
const HEAD_PX = 58;

/** The words above an exported picture. @param {Viewer} viewer */
function headLines(viewer) {
  const text = (/** @type {string} */ id) => (document.getElementById(id)?.innerText ?? '').replace(/\s+/g, ' ').trim();
  const spans = [...(document.getElementById('sums')?.children ?? [])].map((part) => (part.textContent ?? '').trim()).join('   ');
  return [document.title, `${viewer.analysis.normalised.label} · ${spans}`, `${viewer.legendText()} · ${viewer.widthText()}${viewer.state.search ? ` · search ${viewer.state.search}: ${text('found')}` : ''}`];
}

/** @param {Viewer} viewer @returns {string} */
export function svgOf(viewer) {
  const { panes, colours } = viewer;
  const columns = viewer.state.split && viewer.analysis.differential ? 2 : 1;
  const wide = (WIDE_PX - MARGIN_PX * (columns + 1)) / columns;
  let top = HEAD_PX + MARGIN_PX;
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
  const lines = headLines(viewer).map((line, i) =>
    `<text x="${MARGIN_PX}" y="${20 + i * 17}" fill="${i === 0 ? colours.ink : colours.quiet}"${i === 0 ? ' font-weight="bold"' : ''}>${escapeXml(line)}</text>`);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDE_PX}" height="${top}" viewBox="0 0 ${WIDE_PX} ${top}" font-family="${escapeXml(MONOSPACE)}" font-size="${FONT_PX}">`,
    `<title>${escapeXml(document.title)}</title>`,
    `<rect width="100%" height="100%" fill="${colours.paper}"/>`,
    ...lines, ...parts, '</svg>', '',
  ].join('\n');
}

/** The same rows as in the window, painted anew at twice the density. @param {Viewer} viewer @returns {Promise<Blob>} */
export function pngOf(viewer) {
  const { panes, colours } = viewer;
  const area = panes.host.getBoundingClientRect();
  const ratio = 2;
  const canvas = document.createElement('canvas');
  canvas.width = Math.round(area.width * ratio);
  canvas.height = Math.round((area.height + HEAD_PX) * ratio);
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
  context.scale(ratio, ratio);
  context.fillStyle = colours.paper;
  context.fillRect(0, 0, area.width, area.height + HEAD_PX);
  context.textBaseline = 'alphabetic';
  headLines(viewer).forEach((line, i) => {
    context.font = `${i === 0 ? 'bold ' : ''}${FONT_PX}px ${MONOSPACE}`;
    context.fillStyle = i === 0 ? colours.ink : colours.quiet;
    context.fillText(line, 8, 17 + i * 16, area.width - 16);
  });
  for (const pane of panes.list) {
    const at = pane.scroller.getBoundingClientRect();
    const { picture } = pane;
    if (!picture.boxes) continue;
    context.save();
    context.translate(at.left - area.left, at.top - area.top + HEAD_PX);
    if (pane.caption.textContent) {
      context.font = `${FONT_PX}px ${MONOSPACE}`;
      context.fillStyle = colours.quiet;
      context.textBaseline = 'alphabetic';
      context.fillText(pane.caption.textContent, 8, -6, at.width - 16);
    }
    context.beginPath();
    context.rect(0, 0, at.width, at.height);
    context.clip();
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
