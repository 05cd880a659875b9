// Ties state, analysis and page together: a change of state goes in, everything that shows it is brought up to date.

import { palette } from './colours.js';
import { columnsOf, orderedFrames } from './columns.js';
import { Controls } from './controls.js';
import { fillsOf } from './fills.js';
import { figure, shortName, signed } from './format.js';
import { possibleNormalisations, NORMALISATION_LABELS } from './normalise.js';
import { Panes, ZOOM_KEY } from './panes.js';
import { defaults, fromFragment, toFragment } from './state.js';
import { FrameTable } from './table.js';
import { Analysis } from './analysis.js';
import { element, figuresOf, sentence, showCrumbs, showLegend, showSums, showTip } from './texts.js';

/** @typedef {import('./state.js').State} State */

/** Changes that one goes back from; all others replace the last entry of the history. */
const HISTORY_KEYS = ['view', 'split', 'zoom', 'zoomCallers', 'zoomCallees', 'frame', 'width', 'norm', 'colour'];

/** The fragment follows what one types or slides at this pace: browsers refuse to have it changed too often. */
const FRAGMENT_MS = 200;

/** @param {string} id */
export const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

export class Viewer {
  /** @param {import('./decode.js').Profile} profile */
  constructor(profile) {
    this.analysis = new Analysis(profile);
    this.norms = possibleNormalisations(profile);
    this.base = defaults(profile.meta);
    this.words = {
      view: ['flame', 'icicle', 'sandwich'], width: this.analysis.differential ? ['a', 'b', 'sum', 'delta'] : ['a'],
      norm: this.norms, colour: this.colours_(), rows: ['all', 'new', 'removed', 'changed'], pane: ['main', 'callers', 'callees'], theme: ['', 'dark', 'light'],
    };
    /** @type {State} */
    this.state = this.checked(fromFragment(location.hash, this.base, this.words));
    this.analysis.state = this.state;
    this.panes = new Panes(this, byId('panes'));
    this.table = new FrameTable(byId('table-host'), /** @type {HTMLTableElement} */ (byId('table')), {
      onSort: (id) => this.sortBy(id),
      onOpen: (frame) => this.sandwich(frame),
      onPick: (frame) => this.pick(frame),
    });
    this.hovered = { which: 'main', node: -1 };
    this.pending = 0;
    this.writing = 0;
    this.tableKey = '';  // what the table shown depends on
    /** @type {boolean | null} the theme that the page has now */
    this.themed = null;
    this.palette = palette(false);
    this.colours = { paper: '', ink: '', quiet: '', ring: '', mark: '' };
    const system = matchMedia('(prefers-color-scheme: dark)');
    this.systemDark = system.matches;
    system.addEventListener('change', () => {
      this.systemDark = system.matches;
      this.render();
    });
    this.controls = new Controls(this);
    addEventListener('popstate', () => this.readFragment());
    addEventListener('hashchange', () => this.readFragment());
    addEventListener('pagehide', () => this.writeFragment(false));
    this.render();
  }

  /** The frame marked in all its places, −1: none. */
  get picked() {
    return this.state.marked === '' ? -1 : this.analysis.frameOf(this.state.marked);
  }

  get dark() {
    return this.state.theme === '' ? this.systemDark : this.state.theme === 'dark';
  }

  colours_() {
    const { meta } = this.analysis.profile;
    const columns = meta.columns.filter((/** @type {any} */ column) => column.colour).map((/** @type {any} */ column) => column.id);
    return [...(this.analysis.differential ? ['delta'] : []), ...columns, 'kind', 'package'];
  }

  /** Puts right what a fragment asks for and this profile does not have. @param {State} state @returns {State} */
  checked(state) {
    const before = this.analysis.state;
    this.analysis.state = state;
    if (state.view === 'sandwich' && this.analysis.frameOf(state.frame) < 0) state.view = 'flame';
    for (const [which, key] of Object.entries(ZOOM_KEY)) {
      if (which !== 'main' && state.view !== 'sandwich') state[key] = 0;
      else if (!Number.isInteger(state[key]) || state[key] < 0 || state[key] >= this.analysis.tree(which).size) state[key] = 0;
    }
    if (state.view === 'sandwich' ? state.pane === 'main' : state.pane !== 'main') state.pane = state.view === 'sandwich' ? 'callees' : 'main';
    if (!Number.isInteger(state.node) || state.node < -1 || state.node >= this.analysis.tree(state.pane).size) state.node = -1;
    if (!(state.level > 0)) state.level = this.base.level;
    state.tableWidth = Math.round(Math.max(20, Math.min(80, state.tableWidth)));
    this.analysis.state = before;
    return state;
  }

  readFragment() {
    clearTimeout(this.writing);
    this.writing = 0;
    if (location.hash.replace(/^#/, '') === toFragment(this.state, this.base)) return;
    this.state = this.checked(fromFragment(location.hash, this.base, this.words));
    this.analysis.state = this.state;
    this.controls.read();
    this.render();
  }

  /** @param {Partial<State>} changes */
  update(changes) {
    const next = { ...this.state, ...changes };
    const filtered = ['hide', 'focus', 'merge', 'threads'].some((key) => key in changes && changes[/** @type {keyof State} */ (key)] !== this.state[/** @type {keyof State} */ (key)]);
    if (filtered) Object.assign(next, { zoom: 0, zoomCallers: 0, zoomCallees: 0, node: -1 });
    if ('frame' in changes || ('view' in changes && changes.view !== this.state.view)) Object.assign(next, { zoomCallers: 0, zoomCallees: 0, node: changes.node ?? -1 });
    if (next.view !== 'sandwich') next.frame = '';
    const step = HISTORY_KEYS.some((key) => key in changes && changes[/** @type {keyof State} */ (key)] !== this.state[/** @type {keyof State} */ (key)]);
    if (step) this.writeFragment(false);
    this.state = this.checked(next);
    this.analysis.state = this.state;
    if (step) this.writeFragment(true);
    else this.writing ||= setTimeout(() => this.writeFragment(false), FRAGMENT_MS);
    this.render();
  }

  /** @param {boolean} step whether one can go back from it */
  writeFragment(step) {
    if (!step && !this.writing) return;
    clearTimeout(this.writing);
    this.writing = 0;
    const fragment = toFragment(this.state, this.base);
    const url = fragment ? `#${fragment}` : location.href.split('#')[0];
    if (step) history.pushState(null, '', url);
    else history.replaceState(null, '', url);
  }

  useTheme() {
    const { dark } = this;
    if (this.themed === dark) return;
    this.themed = dark;
    document.documentElement.classList.toggle('dark', dark);
    this.palette = palette(dark);
    const style = getComputedStyle(document.documentElement);
    const colour = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
    this.colours = { paper: colour('--paper'), ink: colour('--ink'), quiet: colour('--quiet'), ring: colour('--ring'), mark: colour('--mark') };
  }

  // --- what the page shows ---

  render() {
    this.useTheme();
    document.documentElement.style.setProperty('--tables', `${this.state.tableWidth}%`);
    byId('tables').hidden = byId('splitter').hidden = !this.state.table;
    this.controls.show();  // first: a panel that opens leaves less room for the pictures
    this.panes.arrange();
    this.drawPictures();
    showSums(this, byId('sums'));
    showLegend(this, byId('legend'));
    showCrumbs(this, byId('crumbs'));
    this.showDetails();
    this.showTable();
  }

  redrawSoon() {
    if (this.pending) return;
    this.pending = requestAnimationFrame(() => {
      this.pending = 0;
      this.drawPictures();
      this.table.fill();
    });
  }

  drawPictures() {
    const { analysis, state, colours } = this;
    const matched = analysis.searched;
    for (const pane of this.panes.list) {
      const { which } = pane;
      const tree = analysis.tree(which);
      const layout = analysis.layout(which, pane.mode);
      const held = document.activeElement === pane.scroller;
      const picked = this.picked;
      pane.picture.show({
        tree, layout, zoom: state[ZOOM_KEY[which]], rootBelow: pane.rootBelow,
        focus: state.pane === which && state.node >= 0 ? state.node : -1, hovered: this.hovered.which === which ? this.hovered.node : -1,
        threshold: (state.least / 100) * layout.width[0],
        swatches: this.palette.swatches, runSwatch: this.palette.run,
        swatchOf: fillsOf(this, which), labelOf: (node) => this.labelOf(which, node),
        matches: matched ? (node) => matched[tree.frame[node]] === 1 : picked >= 0 ? (node) => tree.frame[node] === picked : null,
        ring: held ? colours.ring : colours.quiet, mark: colours.mark, ink: colours.ink, paper: colours.paper,
      });
      pane.describe(sentence(this, which, state.pane === which && state.node >= 0 ? state.node : state[ZOOM_KEY[which]]));
    }
  }

  /** @param {string} which @param {number} node */
  labelOf(which, node) {
    const { analysis } = this;
    const tree = analysis.tree(which);
    const name = analysis.nameOf(tree.frame[node]);
    if (!analysis.differential) return name;
    if (tree.total[0][node] === 0) return `+ ${name}`;
    return tree.total[1][node] === 0 ? `− ${name}` : name;
  }

  /** @param {number} frame */
  shortLabel(frame) {
    const short = shortName(this.analysis.nameOf(frame));
    return short.length > 34 ? `${short.slice(0, 33)}…` : short;
  }

  showTable() {
    const { state, analysis } = this;
    if (!state.table) return;
    const { sort, ascending, bySize, rows, level, matching, search, marked } = state;
    const key = JSON.stringify([analysis.normKey, analysis.filterKey, sort, ascending, bySize, rows, level, marked, matching && search]);
    if (key === this.tableKey) return;
    this.tableKey = key;
    const columns = columnsOf(this);
    const { frames, counts } = orderedFrames(this, columns);
    this.counts = counts;
    const order = columns.some(({ id }) => id === sort) ? state : { ...state, sort: columns[1].id };
    this.table.show(columns, frames, order, (frame) => analysis.nameOf(frame), this.picked);
    this.controls.showCounts(counts);
    const note = analysis.rows.exact ? '' : ' of the pruned picture, because a filter is on';
    byId('row-count').textContent = `${frames.length.toLocaleString('en')} frames${note}`;
  }

  showDetails() {
    const { state, analysis } = this;
    const which = this.activeTree();
    const node = state.node >= 0 && state.pane === which ? state.node : this.zoomOf(which);
    const frame = analysis.tree(which).frame[node];
    const figures = element('div', { class: 'figures' });
    for (const [label, text] of figuresOf(this, which, node)) figures.append(element('span', {}, `${label} `, element('b', {}, text)));
    const name = analysis.nameOf(frame);
    byId('details').replaceChildren(element('div', { class: 'title' }, element('div', { class: 'name', title: name }, name), this.actions(which, node, frame)), figures);
  }

  /** @param {string} which @param {number} node @param {number} frame */
  actions(which, node, frame) {
    const button = (/** @type {string} */ label, /** @type {string} */ title, /** @type {() => void} */ act) => {
      const out = element('button', { type: 'button', title }, label);
      out.addEventListener('click', act);
      return out;
    };
    const out = element('span', { class: 'actions' });
    if (frame >= this.analysis.profile.names.length - 1 && frame !== this.analysis.mergedFrame) return out;
    out.append(
      button('Zoom', 'Zoom into the frame (Enter)', () => this.zoomTo(which, node)),
      button('Sandwich', 'Its callers and callees (s)', () => this.sandwich(frame)),
      button('Focus', 'Only stacks through it (f)', () => this.filterBy('focus', frame)),
      button('Hide', 'Take it out of the stacks (h)', () => this.filterBy('hide', frame)),
      button('Merge', 'Make it one with its like-named callees (m)', () => this.filterBy('merge', frame)),
    );
    return out;
  }

  // --- words that several parts use ---

  /** @param {number} side */
  sideTitle(side) {
    return this.analysis.profile.meta.sides[side].title;
  }

  methodText() {
    const { noise, profile } = this.analysis;
    const correction = 'corrected for the number of tests by Benjamini and Hochberg';
    if (noise.method === 'none') return `Nothing is greyed out, because nothing was tested. ${profile.meta.test?.note ?? ''}`;
    if (this.analysis.asTested) return `Grey frames do not differ significantly. ${profile.meta.test.note} p-values are ${correction}.`;
    if (noise.method === 'poisson') return `Grey frames do not differ significantly. The test knows sampling noise only (Poisson), a lower bound on the noise, because a side has no slices; p-values are ${correction}.`;
    const parts = profile.meta.sides.map((/** @type {any} */ { captures }) => (captures > 1 ? 'captures' : 'slices'));
    const over = parts[0] === parts[1] ? `the ${parts[0]} of each side` : `the ${parts[0]} of A and the ${parts[1]} of B`;
    return `Grey frames do not differ significantly: a moderated Welch test over ${over}; p-values are ${correction}.`;
  }

  widthText() {
    const unit = this.analysis.normalised.unit;
    if (!this.analysis.differential) return `width: ${unit}`;
    if (this.state.split) return `width: each side's own total, ${unit}`;
    return `width: ${{ a: 'A', b: 'B', sum: 'A + B', delta: '|Δ self| summed over the subtree' }[this.state.width]}, ${unit}`;
  }

  legendText() {
    return (byId('legend').textContent ?? '').includes('halved') ? `blue: B less than A, orange: more, grey: ${this.analysis.noise.method === 'none' ? 'no value' : 'not significant'}` : `colour: ${this.state.colour}`;
  }

  /** @param {import('./analysis.js').Judged} judged @param {number} i */
  intervalText(judged, i) {
    const range = this.analysis.interval(judged, i);
    return range ? `${signed(range[0])} … ${signed(range[1])}` : '–';
  }

  // --- what a user does ---

  activeTree() {
    return this.state.view === 'sandwich' ? (this.state.pane === 'callers' ? 'callers' : 'callees') : 'main';
  }

  /** @param {string} which */
  zoomOf(which) {
    return this.state[ZOOM_KEY[which]];
  }

  /** @param {string} which @param {number} node */
  focusNode(which, node) {
    const changes = { pane: which, node };
    const tree = this.analysis.tree(which);
    let zoom = this.zoomOf(which);
    const inSight = node >= zoom && node < tree.end[zoom];
    const above = zoom > node && zoom < tree.end[node];
    if (!inSight && !above) while (!(node >= zoom && node < tree.end[zoom])) zoom = tree.parent[zoom];
    const { width } = this.analysis.layout(which, this.panes.of(which)[0].mode);
    const pixels = this.panes.of(which)[0].scroller.clientWidth;
    if (!above && (width[node] / width[zoom]) * pixels < 2) {  // too narrow to be seen: zoom into a caller that shows it
      zoom = node;
      while (tree.parent[zoom] >= 0 && (width[node] / width[tree.parent[zoom]]) * pixels >= 40) zoom = tree.parent[zoom];
    }
    this.update({ ...changes, [ZOOM_KEY[which]]: zoom });
    for (const pane of this.panes.of(which)) pane.picture.reveal(node);
  }

  /** @param {string} which @param {number} node */
  zoomTo(which, node) {
    this.hover(which, -1, null);
    this.update({ pane: which, node, [ZOOM_KEY[which]]: node });
    for (const pane of this.panes.of(which)) pane.picture.reveal(node);
  }

  /** @param {string} which */
  zoomOut(which) {
    const tree = this.analysis.tree(which);
    let zoom = this.zoomOf(which);
    if (zoom === 0) {
      if (this.state.view === 'sandwich') this.update({ view: 'flame' });
      else this.update({ marked: '' });
      return;
    }
    // A step out is to the next caller that is wider than the frame: the ones between would look the same.
    const { width } = this.analysis.layout(which, this.panes.of(which)[0].mode);
    const before = width[zoom];
    while (zoom > 0 && width[zoom] <= before) zoom = tree.parent[zoom];
    this.update({ [ZOOM_KEY[which]]: zoom });
  }

  /** @param {number} frame */
  sandwich(frame) {
    const root = this.analysis.profile.names.length - 1;
    if (frame === root) return;
    this.update({ view: 'sandwich', frame: this.analysis.keyOf(frame), marked: '', pane: 'callees', node: -1 });
    this.say(`Sandwich of ${this.analysis.nameOf(frame)}`);
  }

  /** @param {'hide' | 'focus' | 'merge'} key @param {number} frame */
  filterBy(key, frame) {
    if (frame >= this.analysis.profile.names.length - 1) return;
    const exact = `^${this.analysis.nameOf(frame).replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`;
    this.update({ filters: true, [key]: this.state[key] && key !== 'focus' ? `${this.state[key]}|${exact}` : exact });
    this.controls.read();
    this.say(`${key} ${this.analysis.nameOf(frame)}`);
  }

  /** Marks a frame everywhere in the picture. @param {number} frame */
  pick(frame) {
    const key = this.analysis.keyOf(frame);
    this.update({ marked: this.state.marked === key ? '' : key });
    const sums = this.analysis.rows.total.map((values, side) => `${figure(values[frame] * this.analysis.normalised.scales[side])}`);
    this.say(`${this.analysis.nameOf(frame)} ${this.picked < 0 ? 'no longer marked' : `marked, ${sums.join(' against ')} ${this.analysis.normalised.unit}`}`);
  }

  /** Differences: by size, then from the largest increase, then from the largest decrease. @param {string} id */
  sortBy(id) {
    const { sort, ascending, bySize } = this.state;
    const signed = this.table.columns.find((column) => column.id === id)?.signed;
    if (sort !== id) this.update({ sort: id, ascending: id === 'name' || id === 'kind' || id === 'p', bySize: true });
    else if (signed) this.update(bySize ? { bySize: false, ascending: false } : ascending ? { bySize: true, ascending: false } : { ascending: true });
    else this.update({ ascending: !ascending });
  }

  /** @param {number} step */
  stepMatch(step) {
    const found = this.analysis.found;
    if (!found || found.nodes.length === 0) return;
    if (this.state.view === 'sandwich') this.update({ view: 'flame' });
    const at = this.state.pane === 'main' ? this.state.node : -1;
    let index = found.nodes.indexOf(at);
    if (index < 0) index = step > 0 ? found.nodes.findIndex((node) => node > at) : found.nodes.findLastIndex((node) => node < at);
    else index += step;
    index = ((index % found.nodes.length) + found.nodes.length) % found.nodes.length;
    this.focusNode('main', found.nodes[index]);
    this.say(`Match ${index + 1} of ${found.nodes.length}: ${sentence(this, 'main', found.nodes[index])}`);
  }

  /** @param {string} which @param {number} node @param {PointerEvent | null} event */
  hover(which, node, event) {
    const changed = this.hovered.node !== node || this.hovered.which !== which;
    this.hovered = { which, node };
    if (changed) this.redrawSoon();
    showTip(this, byId('tip'), event && node >= 0 ? { x: event.clientX, y: event.clientY } : null, changed);
  }

  /** @param {string} text for a screen reader */
  say(text) {
    byId('status').textContent = text;
  }
}

export { NORMALISATION_LABELS };
