// The pictures on the page: one, two side by side, or a sandwich of two; with the pointer, the keyboard, and what a
// screen reader is told. Zoom belongs to a tree, so panes that show the same tree zoom together.

import { Picture } from './picture.js';

/** @typedef {import('./viewer.js').Viewer} Viewer */
/** @typedef {{which: string, mode: string, rootBelow: boolean, title: string, place: string}} Arrangement */

/** @type {Record<string, 'zoom' | 'zoomCallers' | 'zoomCallees'>} */
export const ZOOM_KEY = { main: 'zoom', callers: 'zoomCallers', callees: 'zoomCallees' };

class Pane {
  /** @param {Viewer} viewer @param {Arrangement} arrangement @param {number} index */
  constructor(viewer, arrangement, index) {
    this.viewer = viewer;
    this.index = index;
    this.which = arrangement.which;
    this.mode = arrangement.mode;
    this.rootBelow = arrangement.rootBelow;
    this.element = document.createElement('div');
    this.element.className = 'pane';
    this.caption = document.createElement('h2');
    this.scroller = document.createElement('div');
    this.scroller.className = 'scroller';
    this.scroller.tabIndex = 0;
    this.scroller.setAttribute('role', 'tree');
    this.item = document.createElement('div');
    this.item.className = 'unseen';
    this.item.setAttribute('role', 'treeitem');
    const canvas = document.createElement('canvas');
    canvas.setAttribute('aria-hidden', 'true');
    const spacer = document.createElement('div');
    spacer.className = 'spacer';
    this.scroller.append(canvas, spacer, this.item);
    this.element.append(this.caption, this.scroller);
    this.picture = new Picture(this.scroller, canvas, spacer);
    this.listen(canvas);
  }

  /** @param {HTMLCanvasElement} canvas */
  listen(canvas) {
    const { viewer, which, picture } = this;
    this.scroller.addEventListener('scroll', () => viewer.redrawSoon(), { passive: true });
    this.scroller.addEventListener('keydown', (event) => this.onKey(event));
    this.scroller.addEventListener('focus', () => {
      if (viewer.state.node < 0 || viewer.state.pane !== which) viewer.focusNode(which, viewer.state[ZOOM_KEY[which]]);
      viewer.redrawSoon();
    });
    this.scroller.addEventListener('blur', () => viewer.redrawSoon());
    canvas.addEventListener('pointermove', (event) => {
      if (event.pointerType !== 'touch') viewer.hover(which, picture.nodeAt(event.clientX, event.clientY), event);
    });
    canvas.addEventListener('pointerleave', () => viewer.hover(which, -1, null));
    canvas.addEventListener('click', (event) => {
      const node = picture.nodeAt(event.clientX, event.clientY);
      if (node >= 0) viewer.zoomTo(which, node);
    });
    canvas.addEventListener('contextmenu', (event) => {
      const node = picture.nodeAt(event.clientX, event.clientY);
      if (node < 0) return;
      event.preventDefault();
      viewer.focusNode(which, node);
    });
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { viewer, which } = this;
    const { state } = viewer;
    const node = state.pane === which && state.node >= 0 ? state.node : state[ZOOM_KEY[which]];
    const frame = viewer.analysis.tree(which).frame[node];
    /** @type {Record<string, () => void>} */
    const actions = {
      ArrowUp: () => this.walk(node, this.rootBelow ? 'callee' : 'caller'),
      ArrowDown: () => this.walk(node, this.rootBelow ? 'caller' : 'callee'),
      ArrowLeft: () => this.walk(node, 'before'),
      ArrowRight: () => this.walk(node, 'after'),
      Enter: () => viewer.zoomTo(which, node),
      Escape: () => viewer.zoomOut(which),
      Home: () => viewer.zoomTo(which, 0),
      s: () => viewer.sandwich(frame),
      f: () => viewer.filterBy('focus', frame),
      h: () => viewer.filterBy('hide', frame),
      m: () => viewer.filterBy('merge', frame),
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  /** @param {number} node @param {'caller' | 'callee' | 'before' | 'after'} way */
  walk(node, way) {
    const tree = this.viewer.analysis.tree(this.which);
    const { width } = this.viewer.analysis.layout(this.which, this.mode);
    const { parent, end } = tree;
    let to = -1;
    if (way === 'caller') to = parent[node];
    else if (way === 'callee') {
      for (let child = node + 1; child < end[node]; child = end[child]) if (width[child] > 0 && (to < 0 || width[child] > width[to])) to = child;
    } else if (parent[node] >= 0) {
      for (let child = parent[node] + 1; child < end[parent[node]]; child = end[child]) {
        if (width[child] <= 0) continue;
        if (way === 'before' && child < node) to = child;
        if (way === 'after' && child > node) { to = child; break; }
      }
    }
    if (to >= 0) this.viewer.focusNode(this.which, to);
  }

  /** Tells a screen reader about the focused node. A new id makes it speak. @param {string} text */
  describe(text) {
    const { state, analysis } = this.viewer;
    const tree = analysis.tree(this.which);
    const node = state.pane === this.which && state.node >= 0 ? state.node : state[ZOOM_KEY[this.which]];
    const above = tree.parent[node];
    let siblings = 1;
    let place = 1;
    if (above >= 0) {
      siblings = 0;
      for (let child = above + 1; child < tree.end[above]; child = tree.end[child]) {
        siblings++;
        if (child === node) place = siblings;
      }
    }
    this.item.id = `frame-${this.index}-${node}`;
    this.item.setAttribute('aria-level', String(tree.depth[node] + 1));
    this.item.setAttribute('aria-setsize', String(siblings));
    this.item.setAttribute('aria-posinset', String(place));
    this.item.setAttribute('aria-selected', 'true');
    this.item.setAttribute('aria-label', text);
    this.scroller.setAttribute('aria-activedescendant', this.item.id);
  }
}

export class Panes {
  /** @param {Viewer} viewer @param {HTMLElement} host */
  constructor(viewer, host) {
    this.viewer = viewer;
    this.host = host;
    /** @type {Pane[]} */
    this.list = [];
    this.key = '';
    new ResizeObserver(() => viewer.redrawSoon()).observe(host);
  }

  /** Which pictures a state asks for. @returns {Arrangement[]} */
  arrangement() {
    const { state, analysis } = this.viewer;
    const split = state.split && analysis.differential;
    const sides = split ? ['a', 'b'] : [state.width];
    const sideName = (/** @type {string} */ mode) => (split ? `${mode.toUpperCase()} · ${this.viewer.sideTitle(mode === 'a' ? 0 : 1)}` : '');
    const name = state.frame;
    return (state.view === 'sandwich' ? ['callers', 'callees'] : ['main']).flatMap((which) =>
      sides.map((mode) => ({
        which,
        mode,
        rootBelow: which === 'callers' || (which === 'main' && state.view === 'flame'),
        title: [{ main: '', callers: `Callers of ${name}`, callees: `Callees of ${name}` }[which], sideName(mode)].filter(Boolean).join(' — '),
        place: '',
      })));
  }

  /** Makes the panes a state asks for, keeping those that are there. */
  arrange() {
    const wanted = this.arrangement();
    const key = wanted.map(({ which, mode, rootBelow }) => `${which} ${mode} ${rootBelow}`).join('|');
    if (key !== this.key) {
      const held = this.host.contains(document.activeElement);
      this.key = key;
      this.list = wanted.map((one, index) => new Pane(this.viewer, one, index));
      const columns = this.viewer.state.split && this.viewer.analysis.differential ? 2 : 1;
      this.host.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
      this.host.replaceChildren(...this.list.map((pane) => pane.element));
      if (held) this.list[0].scroller.focus();
    }
    const { state } = this.viewer;
    // The callers and the callees of a sandwich share the height by how many rows they have.
    const share = (/** @type {string} */ which) => Math.max(4, Math.min(40, this.viewer.analysis.tree(which).maxDepth + 3));
    this.host.style.gridTemplateRows = state.view === 'sandwich' ? `minmax(0, ${share('callers')}fr) minmax(0, ${share('callees')}fr)` : 'minmax(0, 1fr)';
    this.list.forEach((pane, i) => {
      pane.caption.textContent = `${wanted[i].title}${this.emptyText(pane)}`;
      pane.scroller.setAttribute('aria-label', `${state.view === 'flame' ? 'Flamegraph' : state.view === 'icicle' ? 'Icicle graph' : 'Sandwich'}${wanted[i].title ? `, ${wanted[i].title}` : ''}`);
    });
  }

  /** What was drawn, frame by frame, in pixels of the window: for tests. Runs of narrow frames have no path. */
  drawn() {
    return this.list.map(({ which, mode, picture }) => {
      const { scene, boxes } = picture;
      if (!scene || !boxes) return { which, mode, frames: [] };
      const at = picture.canvas.getBoundingClientRect();
      const pathOf = (/** @type {number} */ node) => {
        const path = [];
        for (let i = node; i >= 0; i = scene.tree.parent[i]) path.unshift(this.viewer.analysis.nameOf(scene.tree.frame[i]));
        return path;
      };
      return {
        which,
        mode,
        width: at.width,
        frames: Array.from({ length: boxes.count }, (_, i) => ({
          path: boxes.node[i] < 0 ? null : pathOf(boxes.node[i]),
          left: boxes.left[i],
          width: boxes.width[i],
          top: picture.topOf(boxes.row[i]) - picture.host.scrollTop,
          fill: scene.swatches[boxes.node[i] < 0 ? scene.runSwatch : scene.swatchOf(boxes.node[i])].fill,
        })),
      };
    });
  }

  /** A side may have nothing of what the other is zoomed into. @param {Pane} pane */
  emptyText({ which, mode }) {
    const { analysis, state } = this.viewer;
    const { width } = analysis.layout(which, mode);
    if (width[state[ZOOM_KEY[which]]] > 0) return '';
    const name = analysis.nameOf(analysis.tree(which).frame[state[ZOOM_KEY[which]]]);
    return ` — ${mode === 'delta' ? 'no difference' : 'nothing'} in ${name}`;
  }

  /** @param {string} which */
  of(which) {
    return this.list.filter((pane) => pane.which === which);
  }
}
