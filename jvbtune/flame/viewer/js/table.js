// A real table of any length: only the rows in sight stand in the document, the rest is room above and below them.
// aria-rowcount and aria-rowindex tell a screen reader where it is.

const TABLE_ROW_PX = 24;

/** @typedef {{sort: string, ascending: boolean, bySize: boolean}} Order */

/**
 * @typedef {object} Column
 * @property {string} id
 * @property {string} label
 * @property {string} title             what the column means
 * @property {(frame: number) => number | string} value  what it is sorted by
 * @property {(frame: number) => string} text
 * @property {boolean} [signed]          a difference, to be sorted by size or by sign
 * @property {((frame: number) => number) | null} bar    −1…1, drawn behind the figure
 * @property {(frame: number) => boolean} [noise]  whether the bar is grey
 */

export class FrameTable {
  /**
   * @param {HTMLElement} host the scrolling element @param {HTMLTableElement} table
   * @param {{onSort: (id: string) => void, onOpen: (frame: number) => void, onPick: (frame: number) => void}} handlers
   */
  constructor(host, table, handlers) {
    this.host = host;
    this.table = table;
    this.handlers = handlers;
    this.head = /** @type {HTMLTableSectionElement} */ (table.tHead);
    this.body = table.tBodies[0];
    /** @type {Column[]} */
    this.columns = [];
    /** @type {number[] | Int32Array} */
    this.frames = [];
    this.current = 0;
    this.picked = -1;
    this.headKey = '';
    /** @type {(frame: number) => string} */
    this.nameOf = () => '';
    host.addEventListener('scroll', () => this.fill(), { passive: true });
    this.body.addEventListener('keydown', (event) => this.onKey(event));
    this.body.addEventListener('click', (event) => this.onClick(event));
    this.head.addEventListener('click', (event) => {
      const button = /** @type {HTMLElement} */ (event.target).closest('button');
      if (button) handlers.onSort(/** @type {string} */ (button.dataset.column));
    });
  }

  /**
   * @param {Column[]} columns @param {number[] | Int32Array} frames in order @param {Order} order
   * @param {(frame: number) => string} nameOf @param {number} picked
   */
  show(columns, frames, order, nameOf, picked) {
    this.columns = columns;
    this.frames = frames;
    this.nameOf = nameOf;
    this.picked = picked;
    this.current = Math.min(this.current, Math.max(0, frames.length - 1));
    this.table.setAttribute('aria-rowcount', String(frames.length + 1));
    this.table.setAttribute('aria-colcount', String(columns.length));
    this.showHead(order);
    this.shown = '';
    this.fill();
  }

  /** @param {Order} order */
  showHead({ sort, ascending, bySize }) {
    const key = this.columns.map((column) => column.id + column.label).join('|');
    if (key !== this.headKey) {
      this.headKey = key;
      const row = document.createElement('tr');
      row.setAttribute('aria-rowindex', '1');
      for (const column of this.columns) {
        const cell = document.createElement('th');
        cell.scope = 'col';
        const button = document.createElement('button');
        button.type = 'button';
        button.dataset.column = column.id;
        button.textContent = column.label;
        button.title = column.title;
        cell.append(button);
        row.append(cell);
      }
      this.head.replaceChildren(row);
    }
    this.columns.forEach((column, i) => {
      this.head.rows[0].cells[i].setAttribute('aria-sort', column.id !== sort ? 'none' : column.signed && bySize ? 'other' : ascending ? 'ascending' : 'descending');
    });
  }

  fill() {
    const first = Math.max(0, Math.floor(this.host.scrollTop / TABLE_ROW_PX) - 4);
    const last = Math.min(this.frames.length, first + Math.ceil(this.host.clientHeight / TABLE_ROW_PX) + 8);
    const key = `${first} ${last}`;
    if (key === this.shown) return;
    this.shown = key;
    const hadFocus = this.body.contains(document.activeElement);
    /** @type {HTMLElement[]} */
    const rows = [this.room(first)];
    for (let i = first; i < last; i++) rows.push(this.row(i));
    rows.push(this.room(this.frames.length - last));
    this.body.replaceChildren(...rows);
    if (hadFocus) this.rowElement(this.current)?.focus({ preventScroll: true });
  }

  /** @param {number} rows */
  room(rows) {
    const row = document.createElement('tr');
    row.className = 'room';
    row.setAttribute('aria-hidden', 'true');
    const cell = document.createElement('td');
    cell.colSpan = this.columns.length;
    cell.style.height = `${rows * TABLE_ROW_PX}px`;
    row.append(cell);
    row.hidden = rows === 0;
    return row;
  }

  /** @param {number} index */
  row(index) {
    const frame = this.frames[index];
    const row = document.createElement('tr');
    row.setAttribute('aria-rowindex', String(index + 2));
    row.dataset.index = String(index);
    row.dataset.frame = String(frame);
    row.tabIndex = index === this.current ? 0 : -1;
    if (frame === this.picked) row.setAttribute('aria-current', 'true');
    this.columns.forEach((column, i) => {
      const cell = document.createElement(i === 0 ? 'th' : 'td');
      if (i === 0) /** @type {HTMLTableCellElement} */ (cell).scope = 'row';
      const text = column.text(frame);
      cell.textContent = text;
      if (i === 0) {
        cell.title = this.nameOf(frame);
        const full = this.nameOf(frame);
        if (text !== full) cell.setAttribute('aria-label', full);
      }
      const bar = column.bar ? column.bar(frame) : 0;
      if (bar) {
        cell.classList.add(column.noise?.(frame) ? 'noise' : bar > 0 ? 'more' : 'less');
        cell.style.setProperty('--bar', `${Math.min(100, Math.abs(bar) * 100).toFixed(1)}%`);
      }
      row.append(cell);
    });
    return row;
  }

  /** @param {number} index @returns {HTMLElement | null} */
  rowElement(index) {
    return this.body.querySelector(`tr[data-index="${index}"]`);
  }

  /** @param {number} index */
  moveTo(index) {
    const before = this.rowElement(this.current);
    if (before) before.tabIndex = -1;
    this.current = Math.max(0, Math.min(this.frames.length - 1, index));
    const top = this.current * TABLE_ROW_PX;
    const head = this.head.offsetHeight;
    if (top < this.host.scrollTop) this.host.scrollTop = top;
    else if (top + TABLE_ROW_PX > this.host.scrollTop + this.host.clientHeight - head) this.host.scrollTop = top + TABLE_ROW_PX - this.host.clientHeight + head;
    this.fill();
    const row = this.rowElement(this.current);
    if (row) {
      row.tabIndex = 0;
      row.focus({ preventScroll: true });
    }
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    const page = Math.max(1, Math.floor(this.host.clientHeight / TABLE_ROW_PX) - 2);
    const to = {
      ArrowDown: this.current + 1, ArrowUp: this.current - 1, PageDown: this.current + page, PageUp: this.current - page,
      Home: 0, End: this.frames.length - 1,
    }[event.key];
    if (to !== undefined) this.moveTo(to);
    else if (event.key === 'Enter') this.handlers.onOpen(this.frames[this.current]);
    else if (event.key === ' ') this.handlers.onPick(this.frames[this.current]);
    else return;
    event.preventDefault();
  }

  /** @param {MouseEvent} event */
  onClick(event) {
    const row = /** @type {HTMLElement} */ (event.target).closest('tr');
    if (!row?.dataset.index) return;
    this.moveTo(Number(row.dataset.index));
    // Not by "dblclick": the row that was clicked is replaced before that event comes.
    if (event.detail === 2) this.handlers.onOpen(this.frames[this.current]);
    else this.handlers.onPick(this.frames[this.current]);
  }
}
