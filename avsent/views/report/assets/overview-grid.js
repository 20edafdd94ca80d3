// A table of any length: only the rows that are in view are in the document.

const MAX_HEIGHT = 8e6; // of an element, in pixels: above some ten million browsers lose count
const SPARE_ROWS = 6; // beyond either edge, so that the keyboard has them

function element(tag, kind, text) {
  const made = document.createElement(tag);
  if (kind) made.className = kind;
  if (text !== undefined) made.textContent = text;
  return made;
}

class Grid {
  /**
   * @param root      the element with role "grid"
   * @param columns   {key, title, kind, hint, make(cell), fill(cell, row)}; without a key no order
   * @param onSort    called with the key of a column and whether downwards
   * @param onOpen    called with a row that is clicked or entered
   */
  constructor(root, { columns, onSort, onOpen, selected }) {
    Object.assign(this, { root, columns, onSort, onOpen, selected });
    this.view = new Uint32Array(0);
    this.rows = new Map(); // by place in the view
    this.spare = [];
    this.active = -1;
    this.head = element("div", "head");
    this.head.setAttribute("role", "rowgroup");
    this.head.append(this.makeHead());
    this.body = element("div", "body");
    this.body.setAttribute("role", "rowgroup");
    root.append(this.head, this.body);
    root.setAttribute("aria-colcount", columns.length);
    root.addEventListener("scroll", () => this.render(), { passive: true });
    root.addEventListener("keydown", (event) => this.key(event));
    root.addEventListener("focus", () => this.activate(Math.max(0, this.active), false));
    this.body.addEventListener("click", (event) => this.click(event));
    new ResizeObserver(() => this.measure()).observe(root);
    this.measure();
  }

  makeHead() {
    const row = element("div", "row");
    row.setAttribute("role", "row");
    row.setAttribute("aria-rowindex", 1);
    this.headers = this.columns.map((column) => {
      const cell = element("div", `cell ${column.kind}`);
      cell.setAttribute("role", "columnheader");
      if (column.key) {
        const button = element("button", "", column.title);
        button.type = "button";
        if (column.hint) button.title = column.hint;
        button.addEventListener("click", () => this.onSort(column.key, this.next(column)));
        cell.append(button);
      } else {
        cell.textContent = column.title;
      }
      return cell;
    });
    row.append(...this.headers);
    return row;
  }

  /** Whether a click on the column sorts downwards: numbers do first, texts do not. */
  next(column) {
    return this.sort?.key === column.key ? !this.sort.down : column.kind.includes("number");
  }

  /** Show that it is sorted by a column. */
  sorted(key, down) {
    this.sort = { key, down };
    this.columns.forEach((column, number) => {
      const direction = down ? "descending" : "ascending";
      const now = column.key === key ? direction : "none";
      if (column.key) this.headers[number].setAttribute("aria-sort", now);
    });
  }

  /** Show these rows. */
  show(view, { top = false } = {}) {
    this.view = view;
    this.root.setAttribute("aria-rowcount", view.length + 1);
    this.active = Math.min(this.active, view.length - 1);
    if (top) {
      this.active = -1;
      this.root.scrollTop = 0;
    }
    this.refresh();
  }

  /** Fill all rows in view anew. */
  refresh() {
    for (const row of this.rows.values()) this.release(row);
    this.rows.clear();
    this.render();
  }

  measure() {
    this.rowHeight = parseFloat(getComputedStyle(this.root).getPropertyValue("--row"));
    this.window = this.root.clientHeight - this.head.offsetHeight;
    this.refresh();
  }

  render() {
    const height = this.view.length * this.rowHeight;
    const shown = Math.min(height, MAX_HEIGHT);
    if (shown !== this.shown) {
      this.body.style.height = `${shown}px`;
      this.shown = shown;
    }
    const top = this.root.scrollTop;
    // Where the table is longer than an element can be, it runs faster than its bar.
    this.pace = shown < height ? (height - this.window) / (shown - this.window) : 1;
    const shift = top * (this.pace - 1);
    const first = Math.max(0, Math.floor((top + shift) / this.rowHeight) - SPARE_ROWS);
    const end = Math.min(
      this.view.length,
      Math.ceil((top + shift + this.window) / this.rowHeight) + SPARE_ROWS,
    );
    for (const [place, row] of this.rows) {
      if (place < first || place >= end) {
        this.release(row);
        this.rows.delete(place);
      }
    }
    for (let place = first; place < end; place++) {
      let row = this.rows.get(place);
      if (!row) {
        row = this.spare.pop() ?? this.makeRow();
        row.hidden = false;
        this.rows.set(place, row);
        this.fill(row, place);
      }
      row.style.transform = `translateY(${place * this.rowHeight - shift}px)`;
    }
    this.mark();
  }

  makeRow() {
    const row = element("div", "row");
    row.setAttribute("role", "row");
    row.id = `${this.root.id}-row-${this.made = (this.made ?? 0) + 1}`;
    row.cells = this.columns.map((column, number) => {
      const cell = element("div", `cell ${column.kind}`);
      cell.setAttribute("role", "gridcell");
      cell.setAttribute("aria-colindex", number + 1);
      column.make?.(cell);
      return cell;
    });
    row.append(...row.cells);
    this.body.append(row);
    return row;
  }

  release(row) {
    row.hidden = true;
    this.spare.push(row);
  }

  fill(row, place) {
    row.place = place;
    row.setAttribute("aria-rowindex", place + 2);
    row.classList.toggle("odd", place % 2 === 1);
    const one = this.view[place];
    row.setAttribute("aria-selected", this.selected?.(one) ?? false);
    this.columns.forEach((column, number) => column.fill(row.cells[number], one));
  }

  /** Show which row the keyboard is at; only its links are in the order of Tab. */
  mark() {
    let at = "";
    for (const [place, row] of this.rows) {
      const active = place === this.active;
      if (active) at = row.id;
      if (row.active !== active || row.marked !== place) {
        row.active = active;
        row.marked = place;
        row.classList.toggle("active", active);
        for (const link of row.querySelectorAll("a")) link.tabIndex = active ? 0 : -1;
      }
    }
    if (at) this.root.setAttribute("aria-activedescendant", at);
    else this.root.removeAttribute("aria-activedescendant");
  }

  activate(place, follow = true) {
    if (!this.view.length) return;
    this.active = Math.max(0, Math.min(this.view.length - 1, place));
    if (follow) this.reveal(this.active);
    this.render();
  }

  reveal(place) {
    const top = place * this.rowHeight;
    const now = this.root.scrollTop * this.pace;
    if (top < now) this.root.scrollTop = top / this.pace;
    else if (top + this.rowHeight > now + this.window) {
      this.root.scrollTop = (top + this.rowHeight - this.window) / this.pace;
    }
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target !== this.root) {
      this.keyInRow(event);
      return;
    }
    const page = Math.max(1, Math.floor(this.window / this.rowHeight) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page };
    if (event.key in steps) this.activate(this.active + steps[event.key]);
    else if (event.key === "Home") this.activate(0);
    else if (event.key === "End") this.activate(this.view.length - 1);
    else if (event.key === "Enter" && this.active >= 0) this.onOpen(this.view[this.active]);
    else if (event.key === "ArrowRight") {
      this.rows.get(this.active)?.querySelector("a:not([hidden])")?.focus({ preventScroll: true });
    } else return;
    event.preventDefault();
  }

  /** From the links of a row back to the table. */
  keyInRow(event) {
    if (event.target.closest(".head") || !["ArrowLeft", "Escape"].includes(event.key)) return;
    this.root.focus({ preventScroll: true });
    event.preventDefault();
  }

  click(event) {
    const row = event.target.closest(".row");
    if (!row || event.target.closest("a")) return;
    if (String(getSelection())) return; // someone copies a text
    this.activate(row.place, false);
    this.onOpen(this.view[row.place], true);
  }
}
