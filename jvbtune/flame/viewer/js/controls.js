// The controls of the page: what they offer, what they change, and how they show the state.

import { figure, pattern, share } from './format.js';
import { NORMALISATION_LABELS } from './normalise.js';
import { pngOf, save, svgOf } from './export.js';
import { element } from './texts.js';
import { byId } from './viewer.js';

/** @typedef {import('./viewer.js').Viewer} Viewer */
/** @typedef {import('./state.js').State} State */

/** Steps of the sliders; a rate of 1 switches the greying off. */
const LEVELS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.2, 1];
const SHARES = [0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50];

/** @param {number[]} steps @param {number} value */
const stepOf = (steps, value) => steps.reduce((best, step, i) => (Math.abs(step - value) < Math.abs(steps[best] - value) ? i : best), 0);

/** @param {string} id */
const input = (id) => /** @type {HTMLInputElement} */ (byId(id));

export class Controls {
  /** @param {Viewer} viewer */
  constructor(viewer) {
    this.viewer = viewer;
    const { analysis } = viewer;
    this.choices('view', 'view', [['flame', 'Flame'], ['icicle', 'Icicle'], ['sandwich', 'Sandwich']]);
    this.choices('rows', 'rows', [['all', 'All'], ['new', 'New'], ['removed', 'Removed'], ['changed', 'Changed']]);
    this.choices('split', 'split', [[false, 'One picture'], [true, 'Side by side']]);
    this.options('norm', viewer.norms.map((id) => [id, NORMALISATION_LABELS[id] ?? id]));
    this.options('width', [['sum', 'A + B'], ['a', 'A'], ['b', 'B'], ['delta', '|Δ|']]);
    const columnLabels = Object.fromEntries(analysis.profile.meta.columns.map((/** @type {any} */ column) => [column.id, column.label]));
    this.options('colour', viewer.words.colour.map((id) => [id, { delta: 'Δ (B against A)', kind: 'kind', package: 'package' }[id] ?? columnLabels[id]]));
    for (const id of ['split', 'level-label', 'small-label', 'rows']) byId(id).hidden = !analysis.differential;
    /** @type {HTMLElement} */ (byId('width').parentElement).hidden = !analysis.differential;
    this.listen();
    this.threads();
    this.remarks();
    this.read();
  }

  /** @param {string} host @param {keyof State} key @param {[any, string][]} offers */
  choices(host, key, offers) {
    byId(host).append(...offers.map(([value, label]) => {
      const button = element('button', { type: 'button', 'data-value': String(value) }, label);
      button.addEventListener('click', () => {
        if (value === 'sandwich') this.openSandwich();
        else this.viewer.update({ [key]: value });
      });
      return button;
    }));
  }

  /** Of the focused frame; without one, of the frame at the table's top. */
  openSandwich() {
    const { viewer } = this;
    const { state, analysis } = viewer;
    const node = state.node >= 0 ? state.node : viewer.zoomOf(viewer.activeTree());
    const frame = node > 0 ? analysis.tree(viewer.activeTree()).frame[node] : viewer.picked >= 0 ? viewer.picked : viewer.table.frames[0];
    if (frame !== undefined) viewer.sandwich(frame);
  }

  /** @param {string} id @param {[string, string][]} offers */
  options(id, offers) {
    byId(id).replaceChildren(...offers.map(([value, label]) => element('option', { value }, label)));
  }

  listen() {
    const { viewer } = this;
    for (const id of ['norm', 'width', 'colour']) byId(id).addEventListener('change', () => viewer.update({ [id]: input(id).value }));
    input('factor').addEventListener('change', () => this.readFactor());
    input('search').addEventListener('input', () => this.typed('search', 'search'));
    input('search').addEventListener('keydown', (event) => {
      if (event.key === 'Enter') viewer.stepMatch(event.shiftKey ? -1 : 1);
      if (event.key === 'Escape') input('search').blur();
    });
    for (const key of /** @type {const} */ (['focus', 'hide', 'merge'])) {
      input(`filter-${key}`).addEventListener('change', () => this.typed(`filter-${key}`, key));
    }
    input('level').addEventListener('input', () => viewer.update({ level: LEVELS[Number(input('level').value)] }));
    input('small').addEventListener('input', () => viewer.update({ small: SHARES[Number(input('small').value)] }));
    input('least').addEventListener('input', () => viewer.update({ least: SHARES[Number(input('least').value)] }));
    input('matching').addEventListener('change', () => viewer.update({ matching: input('matching').checked }));
    byId('previous').addEventListener('click', () => viewer.stepMatch(-1));
    byId('next').addEventListener('click', () => viewer.stepMatch(1));
    byId('table-toggle').addEventListener('click', () => viewer.update({ table: !viewer.state.table }));
    byId('filters-toggle').addEventListener('click', () => viewer.update({ filters: !viewer.state.filters }));
    byId('clear-filters').addEventListener('click', () => {
      viewer.update({ focus: '', hide: '', merge: '', threads: '', level: viewer.base.level, small: 0, least: 0 });
      this.read();
    });
    byId('theme').addEventListener('click', () => {
      const dark = !viewer.dark;
      viewer.update({ theme: dark === viewer.systemDark ? '' : dark ? 'dark' : 'light' });
    });
    byId('export-svg').addEventListener('click', () => save(new Blob([svgOf(viewer)], { type: 'image/svg+xml' }), `${this.fileName()}.svg`));
    byId('export-png').addEventListener('click', async () => save(await pngOf(viewer), `${this.fileName()}.png`));
    byId('copy-link').addEventListener('click', () => this.copyLink());
    byId('help').addEventListener('click', () => this.openHelp());
    byId('crumbs').addEventListener('click', (event) => {
      const button = /** @type {HTMLElement} */ (event.target).closest('button');
      if (button) viewer.zoomTo(viewer.activeTree(), Number(button.dataset.node));
    });
    byId('skip').addEventListener('click', (event) => {
      event.preventDefault();
      viewer.table.moveTo(viewer.table.current);
    });
    addEventListener('keydown', (event) => this.onKey(event));
    this.listenToSplitter();
  }

  listenToSplitter() {
    const splitter = byId('splitter');
    const set = (/** @type {number} */ percent) => {
      this.viewer.update({ tableWidth: percent });
    };
    splitter.addEventListener('pointerdown', (event) => splitter.setPointerCapture(event.pointerId));
    splitter.addEventListener('pointermove', (event) => {
      if (splitter.hasPointerCapture(event.pointerId)) set(100 - (100 * event.clientX) / innerWidth);
    });
    splitter.addEventListener('keydown', (event) => {
      const step = { ArrowLeft: 2, ArrowRight: -2 }[event.key];
      if (step) set(this.viewer.state.tableWidth + step);
    });
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    const target = /** @type {HTMLElement} */ (event.target);
    if (event.ctrlKey || event.metaKey || event.altKey || target.closest('input, select, dialog')) return;
    /** @type {Record<string, () => void>} */
    const actions = {
      '/': () => input('search').focus(),
      n: () => this.viewer.stepMatch(1),
      N: () => this.viewer.stepMatch(-1),
      '?': () => this.openHelp(),
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  openHelp() {
    this.explain();
    /** @type {HTMLDialogElement} */ (byId('help-dialog')).showModal();
  }

  fileName() {
    return document.title.replace(/[^\p{L}\p{N}._-]+/gu, '-').slice(0, 80) || 'flamegraph';
  }

  async copyLink() {
    const { viewer } = this;
    try {
      await navigator.clipboard.writeText(location.href);
      viewer.say('Link copied');
      byId('copy-link').textContent = 'Copied';
    } catch {  // a browser may forbid it on file://: the address bar holds the same link
      viewer.say('The address bar holds the link');
      byId('copy-link').textContent = 'In the address bar';
    }
    setTimeout(() => { byId('copy-link').textContent = 'Link'; }, 2000);
  }

  readFactor() {
    const text = input('factor').value;
    const good = text.split(':').length === this.viewer.analysis.profile.meta.sides.length && text.split(':').every((part) => Number(part) > 0 && Number.isFinite(Number(part)));
    input('factor').setAttribute('aria-invalid', String(!good));
    if (good) this.viewer.update({ factor: text });
  }

  /** A pattern that is none yet changes nothing, and is marked. @param {string} id @param {'search' | 'focus' | 'hide' | 'merge'} key */
  typed(id, key) {
    const text = input(id).value;
    const good = pattern(text) !== null;
    input(id).setAttribute('aria-invalid', String(!good));
    if (good) this.viewer.update({ [key]: text });
    else this.viewer.say(`${text} is not a regular expression`);
  }

  threads() {
    const { viewer } = this;
    const { threads } = viewer.analysis;
    byId('threads').hidden = threads.size < 2;
    const whole = viewer.analysis.profile.tree.total;
    const boxes = () => [...byId('threads').querySelectorAll('input')];
    const leaveOut = () => viewer.update({ threads: boxes().filter((one) => !one.checked).map((one) => one.dataset.thread).join('\n') });
    const box = (/** @type {[string, number[]]} */ [name, values]) => {
      const check = element('input', { type: 'checkbox', 'data-thread': name });
      check.addEventListener('change', leaveOut);
      const parts = values.map((value, side) => share(value, whole[side][0])).join(' | ');
      return element('label', {}, check, `${name} `, element('span', { class: 'quiet' }, parts));
    };
    const button = (/** @type {string} */ label, /** @type {boolean} */ checked) => {
      const out = element('button', { type: 'button' }, label);
      out.addEventListener('click', () => {
        for (const one of boxes()) one.checked = checked;
        leaveOut();
      });
      return out;
    };
    // The widest first.
    const largest = (/** @type {number[]} */ values) => Math.max(...values.map((value, side) => value / (whole[side][0] || 1)));
    const sorted = [...threads].sort((a, b) => largest(b[1]) - largest(a[1]));
    byId('threads').append(button('All', true), button('None', false), ...sorted.map(box));
  }

  remarks() {
    const { meta } = this.viewer.analysis.profile;
    const line = (/** @type {string} */ text, kind = '') => element('p', { class: kind }, text);
    byId('remarks').replaceChildren(
      ...(meta.besides ? [line(meta.besides)] : []),
      ...(meta.test?.method === 'none' ? [line(meta.test.note, 'warning')] : []),
      ...meta.notes.map((/** @type {string} */ note) => line(note, 'warning')),
      ...(meta.pruned ? [line(meta.pruned.text)] : []),
    );
  }

  /** How to read the picture, for what is shown now. */
  explain() {
    const { analysis } = this.viewer;
    const { meta } = analysis.profile;
    const reading = [];
    if (analysis.differential) reading.push(`Orange frames cost more in B, blue ones less. ${this.viewer.methodText()}`);
    if (analysis.differential) reading.push('A frame of one side only is marked + (only in B) or − (only in A). With |Δ| as width, a frame is as wide as the differences of itself and of all below it, so that more and less do not cancel out. The column "Explains" gives each difference to the deepest frame that differs by itself.');
    if (meta.rules.length) reading.push(`Rules that make names comparable: ${meta.rules.join(' ')}`);
    reading.push('Hide gives the time of a frame to its callers. Merge makes matching frames one. Focus keeps only the stacks that contain a match. Patterns are regular expressions; they match upper and lower case alike unless they contain a capital.');
    byId('reading').replaceChildren(...reading.map((text) => element('p', {}, text)));
  }

  /** Fills the fields that one types in; only when the state changed from outside them. */
  read() {
    const { state } = this.viewer;
    for (const [id, text] of Object.entries({ search: state.search, 'filter-focus': state.focus, 'filter-hide': state.hide, 'filter-merge': state.merge, factor: state.factor })) {
      input(id).value = text;
    }
    const out = new Set(state.threads.split('\n'));
    for (const check of byId('threads').querySelectorAll('input')) check.checked = !out.has(check.dataset.thread ?? '');
  }

  /** Brings every control in line with the state. */
  show() {
    const { state, analysis } = this.viewer;
    for (const key of /** @type {const} */ (['view', 'rows', 'split'])) {
      for (const button of byId(key).querySelectorAll('button')) button.setAttribute('aria-pressed', String(button.dataset.value === String(state[key])));
    }
    for (const id of /** @type {const} */ (['norm', 'width', 'colour'])) input(id).value = state[id];
    input('width').disabled = state.split;
    const used = [state.focus, state.hide, state.merge, state.threads, state.small, state.least].filter(Boolean).length;
    byId('filters').hidden = !state.filters;
    byId('filters-toggle').setAttribute('aria-expanded', String(state.filters));
    byId('filters-toggle').textContent = used ? `Filters (${used})` : 'Filters';
    input('factor').hidden = state.norm !== 'factor';
    input('level').value = String(stepOf(LEVELS, state.level));
    input('small').value = String(stepOf(SHARES, state.small));
    input('least').value = String(stepOf(SHARES, state.least));
    byId('level-text').textContent = state.level >= 1 ? 'off' : `FDR ${state.level}`;
    byId('small-text').textContent = state.small ? `${state.small} %` : 'off';
    byId('least-text').textContent = state.least ? `${state.least} %` : 'off';
    input('matching').checked = state.matching;
    input('matching').disabled = state.search === '';
    byId('table-toggle').setAttribute('aria-pressed', String(state.table));
    byId('splitter').setAttribute('aria-valuenow', String(state.tableWidth));
    const { found } = analysis;
    const whole = analysis.tree('main').total;
    const least = analysis.profile.meta.pruned ? '≥ ' : '';  // frames that were left out might match too
    byId('found').textContent = found ? `${least}${found.sums.map((sum, side) => share(sum, whole[side][0])).join(' | ')} · ${figure(found.nodes.length)}` : '';
    byId('found').title = found ? `${analysis.differential ? 'Matched share of A | of B' : 'Matched share of the whole'} (a match below a match counts once), and the number of outermost matches` : '';
    for (const id of ['previous', 'next']) /** @type {HTMLButtonElement} */ (byId(id)).disabled = !found || found.nodes.length === 0;
  }

  /** @param {Record<string, number>} counts rows by filter */
  showCounts(counts) {
    for (const button of byId('rows').querySelectorAll('button')) {
      const value = /** @type {string} */ (button.dataset.value);
      const label = value[0].toUpperCase() + value.slice(1);
      button.textContent = value === 'all' ? label : `${label} ${(counts[value] ?? 0).toLocaleString('en')}`;
    }
  }
}
