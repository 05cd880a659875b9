// One picture: boxes painted on a canvas that scrolls over its rows, or written as SVG. It knows nothing of profiles:
// a scene tells it the tree, the layout, and each box's colour and label.

import { visibleBoxes } from './layout.js';
import { escapeXml, fitName } from './format.js';

export const ROW_PX = 18;
const FONT_PX = 11;
const MONOSPACE = 'ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace';

/**
 * @typedef {object} Scene
 * @property {import('./decode.js').Tree} tree
 * @property {import('./layout.js').Layout} layout
 * @property {number} zoom              node that fills the width
 * @property {number} focus             node with the ring, or −1
 * @property {number} hovered           node under the pointer, or −1
 * @property {boolean} rootBelow        rows grow upwards
 * @property {number} threshold         narrowest width to draw, in the layout's unit
 * @property {import('./colours.js').Swatch[]} swatches
 * @property {number} runSwatch
 * @property {(node: number) => number} swatchOf
 * @property {(node: number) => string} labelOf
 * @property {((node: number) => boolean) | null} matches  the search, null without one
 * @property {string} ring              colour of the focus ring
 * @property {string} mark              colour of a match's edge
 * @property {string} ink               of names on frames that stand back
 * @property {string} paper             background
 */

export class Picture {
  /** @param {HTMLElement} host the scrolling element @param {HTMLCanvasElement} canvas @param {HTMLElement} spacer */
  constructor(host, canvas, spacer) {
    this.host = host;
    this.canvas = canvas;
    this.spacer = spacer;
    /** @type {Scene | null} */
    this.scene = null;
    /** @type {import('./layout.js').Boxes | null} */
    this.boxes = null;
    this.characterPx = 0;
    this.drawnHigh = 0;
    this.high = 0;  // of the window on the picture; asking the document for each box would cost more than drawing it
    this.placed = false;
    this.fromBottom = 0;  // how far the window is scrolled up; kept when its height changes, as the root stands below
  }

  get rows() {
    return this.scene ? this.scene.tree.maxDepth + 1 : 0;
  }

  /** Top of a row within the whole picture. @param {number} row */
  topOf(row) {
    const scene = /** @type {Scene} */ (this.scene);
    if (!scene.rootBelow) return row * ROW_PX;
    return Math.max(this.rows * ROW_PX, this.high) - (row + 1) * ROW_PX;
  }

  /** @param {Scene} scene */
  show(scene) {
    const turned = this.scene !== null && this.scene.rootBelow !== scene.rootBelow;
    const swapped = this.scene === null || this.scene.tree !== scene.tree;
    this.scene = scene;
    this.high = this.host.clientHeight;
    this.spacer.style.height = `${this.rows * ROW_PX}px`;
    if (!this.placed || turned || swapped) this.scrollToRoot();
    this.placed = true;
    this.draw();
  }

  scrollToRoot() {
    const scene = /** @type {Scene} */ (this.scene);
    this.host.scrollTop = scene.rootBelow ? this.host.scrollHeight : 0;
  }

  /** Brings a node's row into sight. @param {number} node */
  reveal(node) {
    const scene = /** @type {Scene} */ (this.scene);
    const top = this.topOf(scene.tree.depth[node]);
    if (top < this.host.scrollTop) this.host.scrollTop = top;
    else if (top + ROW_PX > this.host.scrollTop + this.host.clientHeight) this.host.scrollTop = top + ROW_PX - this.host.clientHeight;
  }

  /** @param {number} firstRow @param {number} lastRow @param {number} pixels */
  boxesIn(firstRow, lastRow, pixels) {
    const { tree, layout, zoom, threshold } = /** @type {Scene} */ (this.scene);
    return visibleBoxes(tree, layout, { zoom, pixels, firstRow, lastRow, threshold });
  }

  draw() {
    const scene = this.scene;
    if (!scene) return;
    const wide = this.host.clientWidth;
    const high = this.high = this.host.clientHeight;
    if (scene.rootBelow && Math.abs(this.host.scrollHeight - this.host.scrollTop - high - this.fromBottom) > 1 && high !== this.drawnHigh) {
      this.host.scrollTop = this.host.scrollHeight - high - this.fromBottom;
    }
    this.drawnHigh = high;
    const ratio = window.devicePixelRatio || 1;
    if (this.canvas.width !== Math.round(wide * ratio) || this.canvas.height !== Math.round(high * ratio)) {
      this.canvas.width = Math.round(wide * ratio);
      this.canvas.height = Math.round(high * ratio);
      this.canvas.style.width = `${wide}px`;
      this.canvas.style.height = `${high}px`;
    }
    const context = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext('2d', { alpha: false }));
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const scroll = this.host.scrollTop;
    this.fromBottom = this.host.scrollHeight - scroll - high;
    const whole = Math.max(this.rows * ROW_PX, high);
    const [first, last] = scene.rootBelow
      ? [Math.floor((whole - scroll - high) / ROW_PX), Math.floor((whole - scroll) / ROW_PX)]
      : [Math.floor(scroll / ROW_PX), Math.floor((scroll + high) / ROW_PX)];
    this.boxes = this.boxesIn(Math.max(0, first), Math.min(this.rows - 1, last), wide);
    this.paint(context, this.boxes, wide, high, (row) => this.topOf(row) - scroll);
  }

  /**
   * Rectangles first, one path a colour, then the names: changing the fill style for each box would cost most of the time.
   * @param {CanvasRenderingContext2D} context @param {import('./layout.js').Boxes} boxes @param {number} wide @param {number} high
   * @param {(row: number) => number} topOf
   */
  paint(context, boxes, wide, high, topOf) {
    const { swatches, swatchOf, runSwatch, labelOf, matches, zoom, tree, focus, hovered, ring, mark, ink, paper } = /** @type {Scene} */ (this.scene);
    context.globalAlpha = 1;
    context.fillStyle = paper;
    context.fillRect(0, 0, wide, high);
    const { count, node, row, left, width } = boxes;
    /** @type {number[][]} */
    const byColour = [];
    const dimmed = new Uint8Array(count);
    for (let i = 0; i < count; i++) {
      const colour = node[i] < 0 ? runSwatch : swatchOf(node[i]);
      dimmed[i] = matches !== null && (node[i] < 0 || !matches(node[i])) ? 1 : 0;
      const bucket = colour * 2 + dimmed[i];
      (byColour[bucket] ??= []).push(i);
    }
    byColour.forEach((bucket, key) => {
      context.globalAlpha = key % 2 ? 0.38 : 1;
      context.fillStyle = swatches[key >> 1].fill;
      context.beginPath();
      for (const i of bucket) context.rect(left[i], topOf(row[i]), width[i] > 3 ? width[i] - 0.75 : width[i], ROW_PX - 1);
      context.fill();
    });
    context.globalAlpha = 1;
    context.font = `${FONT_PX}px ${MONOSPACE}`;
    context.textBaseline = 'middle';
    this.characterPx ||= context.measureText('MMMMMMMMMM').width / 10;
    const depth = tree.depth[zoom];
    for (let i = 0; i < count; i++) {
      if (node[i] < 0 || width[i] < 26) continue;
      const text = fitName(labelOf(node[i]), Math.floor((width[i] - 7) / this.characterPx));
      if (!text) continue;
      context.globalAlpha = dimmed[i] || tree.depth[node[i]] < depth ? 0.7 : 1;
      context.fillStyle = dimmed[i] ? ink : swatches[swatchOf(node[i])].ink;
      context.fillText(text, left[i] + 3.5, topOf(row[i]) + ROW_PX / 2);
    }
    context.globalAlpha = 1;
    if (matches !== null) {
      context.fillStyle = mark;
      for (let i = 0; i < count; i++) {
        if (!dimmed[i]) context.fillRect(left[i], topOf(row[i]) + ROW_PX - 3, Math.max(1, width[i] - 0.75), 2);
      }
    }
    for (let i = 0; i < count; i++) {
      if (node[i] < 0 || (node[i] !== focus && node[i] !== hovered)) continue;
      if (node[i] !== focus) {
        context.strokeStyle = ring;
        context.lineWidth = 1;
        context.strokeRect(left[i] + 0.5, topOf(row[i]) + 0.5, Math.max(1, width[i] - 1.75), ROW_PX - 2);
        continue;
      }
      context.strokeStyle = paper;
      context.lineWidth = 4;
      context.strokeRect(left[i] + 1, topOf(row[i]) + 1, Math.max(2, width[i] - 2.5), ROW_PX - 3);
      context.strokeStyle = ring;
      context.lineWidth = 2;
      context.strokeRect(left[i] + 1, topOf(row[i]) + 1, Math.max(2, width[i] - 2.5), ROW_PX - 3);
    }
  }

  /** The node under a point of the window, or −1. @param {number} clientX @param {number} clientY */
  nodeAt(clientX, clientY) {
    const box = this.canvas.getBoundingClientRect();
    const x = clientX - box.left;
    const y = clientY - box.top + this.host.scrollTop;
    if (!this.boxes || !this.scene) return -1;
    const { count, node, row, left, width } = this.boxes;
    for (let i = 0; i < count; i++) {
      const top = this.topOf(row[i]);
      if (node[i] >= 0 && y >= top && y < top + ROW_PX && x >= left[i] && x < left[i] + width[i]) return node[i];
    }
    return -1;
  }

  /** The box of a node in the window's coordinates, or null. @param {number} wanted */
  boxOf(wanted) {
    if (!this.boxes) return null;
    const at = this.canvas.getBoundingClientRect();
    for (let i = 0; i < this.boxes.count; i++) {
      if (this.boxes.node[i] !== wanted) continue;
      return { left: at.left + this.boxes.left[i], top: at.top + this.topOf(this.boxes.row[i]) - this.host.scrollTop, width: this.boxes.width[i] };
    }
    return null;
  }

  /** From the first to the last row drawn, in pixels of the window on the picture; null where nothing was. @returns {[number, number] | null} */
  drawnRange() {
    if (!this.boxes || this.boxes.count === 0) return null;
    const tops = Array.from(this.boxes.row.subarray(0, this.boxes.count), (row) => this.topOf(row) - this.host.scrollTop);
    return [Math.max(0, tops.reduce((a, b) => Math.min(a, b))), Math.min(this.high, tops.reduce((a, b) => Math.max(a, b)) + ROW_PX)];
  }

  /** Height of the rows in use from the zoomed node on. */
  usedHeight() {
    let deepest = 0;
    const boxes = this.boxesIn(0, this.rows - 1, 1000);
    for (let i = 0; i < boxes.count; i++) if (boxes.row[i] > deepest) deepest = boxes.row[i];
    return (deepest + 1) * ROW_PX;
  }

  /**
   * The whole picture, all rows, as SVG elements. @param {number} wide @param {number} offsetX @param {number} offsetY
   * @param {(node: number) => string} titleOf @returns {{markup: string, height: number}}
   */
  svg(wide, offsetX, offsetY, titleOf) {
    const { swatches, swatchOf, runSwatch, labelOf, rootBelow, matches, mark, ink: inkBack } = /** @type {Scene} */ (this.scene);
    const boxes = this.boxesIn(0, this.rows - 1, wide);
    const height = this.usedHeight();
    const parts = [];
    for (let i = 0; i < boxes.count; i++) {
      const node = boxes.node[i];
      const x = offsetX + boxes.left[i];
      const y = offsetY + (rootBelow ? height - (boxes.row[i] + 1) * ROW_PX : boxes.row[i] * ROW_PX);
      const { fill, ink } = swatches[node < 0 ? runSwatch : swatchOf(node)];
      const dim = matches !== null && (node < 0 || !matches(node)) ? ' opacity="0.38"' : '';
      const rect = `<rect x="${x.toFixed(2)}" y="${y}" width="${boxes.width[i].toFixed(2)}" height="${ROW_PX - 1}" fill="${fill}"${dim}/>`;
      if (node < 0) {
        parts.push(rect);
        continue;
      }
      const text = boxes.width[i] < 26 ? '' : fitName(labelOf(node), Math.floor((boxes.width[i] - 7) / 6.7));
      const name = text ? `<text x="${(x + 3.5).toFixed(2)}" y="${y + 12.5}" fill="${dim ? inkBack : ink}"${dim ? ' opacity="0.7"' : ''}>${escapeXml(text)}</text>` : '';
      const line = matches !== null && !dim ? `<rect x="${x.toFixed(2)}" y="${y + ROW_PX - 3}" width="${Math.max(1, boxes.width[i] - 0.75).toFixed(2)}" height="2" fill="${mark}"/>` : '';
      parts.push(`<g data-node="${node}"><title>${escapeXml(titleOf(node))}</title>${rect}${line}${name}</g>`);
    }
    return { markup: parts.join('\n'), height };
  }
}

export { FONT_PX, MONOSPACE };
