/* The overview of a batch: charts, and tables of its files and its utterances, whose data are
   columns of numbers. */

const head = readBlock("head");
const data = readBlock("data");
const LABELS = data.labels;
const percent = (share) => `${(100 * share).toFixed(1)}%`;

/* Whole numbers of a unit as numbers; null becomes NaN. */
const scaled = (values, unit) => Float64Array.from(values, (value) => (value === null ? NaN : value / unit));

/* {row: value} as a full column. */
function spread(byRow, count, none) {
  const column = new Array(count).fill(none);
  for (const [row, value] of Object.entries(byRow)) column[row] = value;
  return column;
}

const files = {
  ...data.files,
  total: data.files.name.length,
  state: data.files.state.map((number) => data.states[number]),
  duration: scaled(data.files.duration, 1000),
  mean: scaled(data.files.mean, 10000),
  remarks: spread(data.files.remarks, data.files.name.length, []),
  error: spread(data.files.error, data.files.name.length, ""),
};
files.labels = new Uint32Array(files.total * LABELS.length); // utterances of each label, by file
files.warnings = Float64Array.from(files.remarks, (remarks) => remarks.length);

const utterances = {
  total: data.utterances.start.length,
  start: scaled(data.utterances.start, 1000),
  length: scaled(data.utterances.length, 1000),
  score: scaled(data.utterances.score, 10000),
  probability: scaled(data.utterances.probability, 1000),
  label: Int16Array.from(data.utterances.label),
  text: data.utterances.text,
  remark: spread(data.utterances.remarks, data.utterances.start.length, -1),
  unsure: spread(data.utterances.unsure, data.utterances.start.length, -1),
};
utterances.file = new Uint32Array(utterances.total);
utterances.place = new Float64Array(utterances.total); // in the file, from 1
for (let file = 0, one = 0; file < files.total; file++) {
  for (let place = 1; place <= files.count[file]; place++, one++) {
    utterances.file[one] = file;
    utterances.place[one] = place;
    if (utterances.label[one] >= 0) files.labels[file * LABELS.length + utterances.label[one]]++;
    if (utterances.remark[one] >= 0) files.warnings[file]++;
  }
}

/* --- Order and choice -------------------------------------------------------------------------- */

/* `compute` called once, when its value is needed. */
function once(compute) {
  let value = null;
  return () => (value ??= compute());
}

const collator = new Intl.Collator(undefined, { numeric: true });

/* The place of each text in the alphabet: equal texts have the same, empty ones NaN. */
function ranks(texts) {
  const order = Uint32Array.from(texts.keys()).sort((a, b) => collator.compare(texts[a], texts[b]));
  const places = new Float64Array(texts.length);
  let place = 0;
  order.forEach((row, number) => {
    if (number && collator.compare(texts[row], texts[order[number - 1]]) !== 0) place = number;
    places[row] = texts[row] === "" ? NaN : place;
  });
  return places;
}

const nameRanks = once(() => ranks(files.name));

/* A text as it is compared in a search. */
const folded = (text) => text.normalize("NFC").toLowerCase();

const foldedNames = once(() => files.name.map(folded));
const foldedTexts = once(() => (utterances.text ?? []).map(folded));

/* The file whose utterances are shown, -1 for all of them. */
let chosenFile = -1;
/* Whether the range of scores excludes its upper edge, as a bar of their chart does. */
let isOpen = false;
const ALL = JSON.stringify(["", -1, -1, 1, false]);

/* What the fields of the utterances hold: words, label, lowest and highest score, only warned. */
function readFields() {
  const field = (name) => byId(`utterances-${name}`);
  const [low, high] = [field("low").valueAsNumber, field("high").valueAsNumber]; // NaN: empty
  const range = [low > -1 ? low : -1, high < 1 ? high : 1];
  return [field("words").value, Number(field("label").value), ...range, field("warned").checked];
}

/* Of each file, whether its name has the words; "" without words. */
function filesWith(words) {
  return words && foldedNames().map((name) => name.includes(words));
}

/* A function that tells whether a file passes the filter. */
function fileFilter() {
  const state = byId("files-state").value;
  const hits = filesWith(folded(byId("files-words").value.trim()));
  return (file) =>
    (!hits || hits[file]) &&
    (state === "" || files.state[file] === state || (state === "warned" && files.warnings[file] > 0));
}

function utteranceFilter() {
  const [text, label, low, high, warned] = readFields();
  const words = folded(text.trim());
  const hits = filesWith(words);
  const end = isOpen ? high : high + 1e-9;
  return (one) =>
    (chosenFile < 0 || utterances.file[one] === chosenFile) &&
    (label < 0 || utterances.label[one] === label) &&
    utterances.score[one] >= low && utterances.score[one] < end &&
    (!warned || utterances.remark[one] >= 0) &&
    (!hits || hits[utterances.file[one]] || (foldedTexts()[one]?.includes(words) ?? false));
}

/* --- A table of any length: only the rows in view are in the document -------------------------- */

const MAX_HEIGHT = 8e6; // of an element, in pixels: above some ten million browsers lose count
const SPARE_ROWS = 6; // beyond either edge, so that the keyboard has them

class Table {
  /* `name`: id of the element with the role "grid"; `columns`: {title, kind, keys, hint, fill(cell,
     row)}, where `keys` gives the numbers to sort by; `filter`: gives a function that tells whether
     to show a row; `onOpen`: called with a row that is clicked or entered. */
  constructor(name, { total, columns, filter, onOpen, onShow = () => {}, selected = () => false }) {
    Object.assign(this, { name, total, columns, filter, onOpen, onShow, selected });
    this.root = byId(name);
    this.rows = new Map(); // by place in the view
    this.active = -1;
    this.headers = columns.map((column) => this.makeHeader(column));
    const row = make("div.row", { role: "row", "aria-rowindex": 1 }, ...this.headers);
    this.head = make("div.head.quiet.small", { role: "rowgroup" }, row);
    this.body = make("div.body", { role: "rowgroup", onclick: (event) => this.click(event) });
    this.makeSorter();
    this.root.append(this.head, this.body);
    this.root.style.setProperty("--all", total);
    this.root.setAttribute("aria-colcount", columns.length);
    this.root.addEventListener("scroll", () => this.render(), { passive: true });
    this.root.addEventListener("keydown", (event) => this.key(event));
    this.root.addEventListener("focus", () => this.activate(Math.max(0, this.active), false));
    this.sort(columns[0], false);
    new ResizeObserver(() => this.measure()).observe(this.root);
  }

  makeHeader(column) {
    const { title, kind, keys, hint } = column;
    const onclick = () => {
      // A first click sorts numbers downwards, texts upwards.
      this.sort(column, this.column === column ? !this.down : kind.includes("number"));
    };
    const content = keys ? make("button.sort", { title: hint || null, onclick }, title) : title;
    return make("div", { class: `cell ${kind}`, role: "columnheader" }, content);
  }

  /* The list to sort by, which replaces the heads of the columns where there is no room. */
  makeSorter() {
    this.sortable = this.columns.filter((column) => column.keys);
    this.select = make("select.field", { "aria-label": "Sort by" });
    this.select.append(...this.sortable.map(({ title }) => new Option(title)));
    this.select.addEventListener("change", () => {
      this.sort(this.sortable[this.select.selectedIndex], this.down);
    });
    this.turn = make("button.button.square", { onclick: () => this.sort(this.column, !this.down) });
    byId(`${this.name}-sorter`).append("Sort by", this.select, this.turn);
  }

  sort(column, down) {
    Object.assign(this, { column, down, order: ordered(column.keys(), down) });
    const direction = down ? "descending" : "ascending";
    this.columns.forEach((other, number) => {
      if (other.keys) this.headers[number].setAttribute("aria-sort", other === column ? direction : "none");
    });
    this.select.selectedIndex = this.sortable.indexOf(column);
    this.turn.textContent = down ? "↓" : "↑";
    this.turn.setAttribute("aria-label", down ? "Sort upwards" : "Sort downwards");
    this.show();
  }

  /* Shows the rows that pass the filter, from the top. */
  show() {
    this.view = this.order.filter(this.filter());
    const some = this.view.length === this.total ? "" : `${counted(this.view.length)} of `;
    byId(`${this.name}-count`).textContent = some + counted(this.total);
    this.root.setAttribute("aria-rowcount", this.view.length + 1);
    this.active = -1;
    this.root.scrollTop = 0;
    this.measure();
    this.onShow(this.view);
  }

  measure() {
    this.rowHeight = parseFloat(getComputedStyle(this.root).getPropertyValue("--row"));
    this.window = this.root.clientHeight - this.head.offsetHeight;
    this.refresh();
  }

  /* Makes all rows in view anew. */
  refresh() {
    this.rows.clear();
    this.body.replaceChildren();
    this.render();
  }

  render() {
    const { rowHeight, window, view } = this;
    const height = view.length * rowHeight;
    const shown = Math.min(height, MAX_HEIGHT);
    this.body.style.height = `${shown}px`;
    // A table longer than an element can be scrolls faster than its bar.
    this.pace = shown < height ? (height - window) / (shown - window) : 1;
    const { scrollTop } = this.root;
    const top = scrollTop * this.pace;
    const first = Math.max(0, Math.floor(top / rowHeight) - SPARE_ROWS);
    const end = Math.min(view.length, Math.ceil((top + window) / rowHeight) + SPARE_ROWS);
    for (const [place, row] of this.rows) {
      if (place >= first && place < end) continue;
      row.remove();
      this.rows.delete(place);
    }
    for (let place = first; place < end; place++) {
      const row = this.rows.get(place) ?? this.makeRow(place);
      row.style.transform = `translateY(${place * rowHeight - (top - scrollTop)}px)`;
    }
    this.mark();
  }

  makeRow(place) {
    const one = this.view[place];
    const cells = this.columns.map(({ kind, fill }, number) => {
      const cell = make("div", { class: `cell ${kind}`, role: "gridcell", "aria-colindex": number + 1 });
      fill(cell, one);
      return cell;
    });
    const selected = String(this.selected(one));
    const options = { role: "row", id: `${this.name}-row-${place}`, "aria-selected": selected };
    const row = make("div.row", { ...options, "aria-rowindex": place + 2 }, ...cells);
    row.place = place;
    this.rows.set(place, row);
    this.body.append(row);
    return row;
  }

  /* Marks the row of the keyboard; only its links are in the order of Tab. */
  mark() {
    this.root.removeAttribute("aria-activedescendant");
    for (const [place, row] of this.rows) {
      const active = place === this.active;
      row.classList.toggle("active", active);
      for (const link of row.querySelectorAll("a")) link.tabIndex = active ? 0 : -1;
      if (active) this.root.setAttribute("aria-activedescendant", row.id);
    }
  }

  activate(place, follow = true) {
    if (!this.view.length) return;
    this.active = Math.max(0, Math.min(this.view.length - 1, place));
    const top = this.active * this.rowHeight;
    const now = this.root.scrollTop * this.pace;
    const last = top + this.rowHeight - this.window;
    if (follow && top < now) this.root.scrollTop = top / this.pace;
    else if (follow && last > now) this.root.scrollTop = last / this.pace;
    this.render();
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.window / this.rowHeight) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page };
    Object.assign(steps, { Home: -Infinity, End: Infinity });
    if (event.target !== this.root) {
      // From the links of a row back to the table.
      if (event.target.closest(".head") || !["ArrowLeft", "Escape"].includes(event.key)) return;
      this.root.focus({ preventScroll: true });
    } else if (event.key in steps) this.activate(this.active + steps[event.key]);
    else if (event.key === "Enter" && this.active >= 0) this.onOpen(this.view[this.active], false);
    else if (event.key === "ArrowRight") {
      this.rows.get(this.active)?.querySelector("a:not([hidden])")?.focus({ preventScroll: true });
    } else return;
    event.preventDefault();
  }

  click(event) {
    const row = event.target.closest(".row");
    if (!row || event.target.closest("a") || String(getSelection())) return; // text is being copied
    this.activate(row.place, false);
    this.onOpen(this.view[row.place], true);
  }
}

/* --- Columns ----------------------------------------------------------------------------------- */

/* A column of texts. */
function textColumn(title, kind, keys, text, hint = "") {
  const fill = (cell, row) => {
    if (kind === "text") cell.dir = "auto";
    cell.textContent = cell.title = text(row);
  };
  return { title, kind, keys, hint, fill };
}

/* A name; if it is too long, its folders are cut first. */
function nameColumn(keys, fileOf) {
  const fill = (cell, row) => {
    const name = files.name[fileOf(row)];
    const cut = name.lastIndexOf("/") + 1;
    const dir = "auto";
    cell.append(make("span.folder", { dir }, name.slice(0, cut)), make("span.last", { dir }, name.slice(cut)));
    cell.title = name;
  };
  return { title: "File", kind: "name", keys, fill };
}

function scoreColour(score) {
  const most = data.scoreColours.length - 1;
  return data.scoreColours[Math.max(0, Math.min(most, Math.round(((score + 1) / 2) * most)))];
}

/* A score as a number and a bar from zero. */
function scoreColumn(title, scores) {
  const fill = (cell, row) => {
    const score = scores[row];
    const options = { share: score, hue: scoreColour(score), hidden: Number.isNaN(score) };
    const bar = make("span.score-bar", { "aria-hidden": "true", ...options });
    cell.append(bar, make("span.figure", signed(score)));
  };
  return { title, kind: "number score", keys: () => scores, fill };
}

/* Links to the page and the result; of an utterance, the page shows more than the result. */
function linkColumn(fileOf, anchorOf) {
  const fill = (cell, row) => {
    const file = fileOf(row);
    const anchor = anchorOf(row);
    const link = (words, href) => {
      const options = { href: href || null, "aria-label": `${words} of ${files.name[file]}`, hidden: !href };
      return make("a", options, words);
    };
    const page = files.page[file] && files.page[file] + anchor;
    cell.append(link("page", page), " ", link("result", page && anchor ? "" : files.result[file]));
  };
  return { title: "Open", kind: "links", fill };
}

/* The share of each label in a file, or why it has no utterances. */
const labelsColumn = {
  title: "Sentiments", kind: "shares",
  hint: LABELS.length ? `Sort by the share of ${LABELS.at(-1)}` : "",
  keys: once(() => Float64Array.from(files.count, (all, file) =>
    all ? files.labels[(file + 1) * LABELS.length - 1] / all : NaN)),
  fill(cell, file) {
    const counts = files.labels.subarray(file * LABELS.length, (file + 1) * LABELS.length);
    const state = files.state[file];
    if (!files.count[file]) {
      cell.title = state === "done" ? "no utterances" : files.error[file] || state;
      const kind = state === "failed" ? "span.reason.failed" : "span.reason";
      cell.append(make(kind, { dir: "auto" }, cell.title));
      return;
    }
    const parts = LABELS.map((_, label) => make("span", { share: counts[label], hue: data.labelColours[label] }));
    cell.title = LABELS.map((name, label) => `${name} ${counts[label]}`).join(", ");
    cell.append(make("span.stack", { role: "img", "aria-label": cell.title }, ...parts));
  },
};

function fileRemarks(file) {
  const own = files.remarks[file].map((remark) => data.remarks[remark]);
  const inside = files.warnings[file] - own.length;
  return [...own, ...(inside ? [`${counted(inside)} in utterances`] : [])].join("; ");
}

const fileColumns = [
  nameColumn(nameRanks, (file) => file),
  textColumn("Duration", "number duration", () => files.duration, (file) => clock(files.duration[file])),
  textColumn("Utterances", "number count", () => files.count, (file) =>
    files.state[file] === "done" ? counted(files.count[file]) : "–"),
  labelsColumn,
  scoreColumn("Mean score", files.mean),
  textColumn("Warnings", "remarks number-first", () => files.warnings, fileRemarks),
  linkColumn((file) => file, () => ""),
];

const remarkRanks = once(() => ranks(data.remarks));
const fileRanks = once(() => Float64Array.from(utterances.file, (file) => nameRanks()[file]));
const utteranceColumns = [
  nameColumn(fileRanks, (one) => utterances.file[one]),
  textColumn("#", "number place", () => utterances.place, (one) => String(utterances.place[one]),
    "Its number in the file, from 1"),
  textColumn("Start", "number start", () => utterances.start, (one) => clock(utterances.start[one])),
  textColumn("Length", "number length", () => utterances.length, (one) =>
    `${utterances.length[one].toFixed(1)} s`),
  ...(utterances.text
    ? [textColumn("Text", "text", once(() => ranks(utterances.text)), (one) => utterances.text[one])]
    : []),
  {
    title: "Sentiment", kind: "label",
    keys: once(() => Float64Array.from(utterances.label, (label) => (label < 0 ? NaN : label))),
    fill(cell, one) {
      const label = utterances.label[one];
      const swatch = make("span.swatch", { hue: data.labelColours[label] ?? "#888888" });
      cell.append(swatch, make("span", LABELS[label] ?? "–"));
      const reason = data.remarks[utterances.unsure[one]];
      const options = { title: `Unsure: ${reason}`, role: "img", "aria-label": "unsure" };
      if (reason) cell.append(make("b.unsure", options, "?"));
    },
  },
  scoreColumn("Score", utterances.score),
  textColumn("Probability", "number probability", () => utterances.probability, (one) =>
    Number.isNaN(utterances.probability[one]) ? "–" : percent(utterances.probability[one]),
    "Of this sentiment, as the model has it"),
  textColumn("Warnings", "remarks",
    once(() => Float64Array.from(utterances.remark, (remark) => remarkRanks()[remark] ?? NaN)),
    (one) => data.remarks[utterances.remark[one]] ?? ""),
  linkColumn((one) => utterances.file[one], (one) => `#u${utterances.place[one]}`),
];

/* --- Charts ------------------------------------------------------------------------------------ */

/* How often each label or score occurs: pale among all utterances, in full colour among those
   shown; as shares, so that a single file can be compared with the whole. */
class Bars {
  /* `bars`: their buttons, with `all` and `some` elements; `side`: the CSS property of their
     lengths; `binOf`: the bar of an utterance, -1 for none; `tell`: writes a count at a bar. */
  constructor(bars, side, binOf, tell) {
    Object.assign(this, { bars, side, binOf, tell });
    this.whole = this.count(utterances.label.keys(), utterances.total);
  }

  /* Number and share of each bar. */
  count(rows, total) {
    const counts = new Array(this.bars.length).fill(0);
    for (const row of rows) counts[this.binOf(row)]++;
    return counts.map((count) => [count, total ? count / total : 0]);
  }

  show(view) {
    const shown = this.count(view, view.length);
    const most = Math.max(...[...this.whole, ...shown].map(([, share]) => share));
    // Never so short that something looks like nothing.
    const length = (share) => (share > 0 ? `max(1.5px, ${(100 * share) / most}%)` : "0");
    this.bars.forEach((button, bin) => {
      button.querySelector(".all").style[this.side] = length(this.whole[bin][1]);
      button.querySelector(".some").style[this.side] = length(shown[bin][1]);
      this.tell(button, bin, ...shown[bin], view.length, this.whole[bin][0]);
    });
  }
}

function makeLabelBars() {
  const bars = LABELS.map((name, label) => {
    const onclick = () => pickLabel(readFields()[1] === label ? -1 : label);
    const options = { hue: data.labelColours[label], onclick };
    const track = make("span.track", make("span.all"), make("span.some"));
    const parts = [make("span.name", { dir: "auto" }, name), track, make("span.count")];
    const button = make("button.bar-row", options, ...parts);
    byId("labels").append(make("li", button));
    return button;
  });
  return new Bars(bars, "width", (one) => utterances.label[one], (button, label, count, share, total, all) => {
    const words = total ? percent(share) : "–";
    button.title = `${counted(all)} of all ${counted(utterances.total)}`;
    button.lastChild.replaceChildren(make("b", words), ` ${counted(count)}`);
    button.setAttribute("aria-pressed", readFields()[1] === label);
  });
}

const BINS = 20;

function makeScoreBars() {
  // The edges as the fields of the filter have them.
  const edges = Array.from({ length: BINS + 1 }, (_, bin) => Number((bin / (BINS / 2) - 1).toFixed(3)));
  const chosen = (bin) => {
    const [, , low, high] = readFields();
    return low === edges[bin] && high === edges[bin + 1];
  };
  const bars = edges.slice(0, BINS).map((low, bin) => {
    const onclick = () => (chosen(bin) ? pickRange(-1, 1) : pickRange(low, edges[bin + 1]));
    const hue = scoreColour((low + edges[bin + 1]) / 2);
    return make("button.column", { hue, onclick }, make("span.all"), make("span.some"));
  });
  byId("scores").append(...bars);
  // The last bar holds 1, too.
  const binOf = (one) => {
    const bin = Math.floor((utterances.score[one] + 1) * (BINS / 2) + 1e-9);
    return Math.max(0, Math.min(BINS - 1, bin));
  };
  return new Bars(bars, "height", binOf, (button, bin, count) => {
    const [low, high] = [edges[bin], edges[bin + 1]].map((edge) => signed(edge, 1));
    button.title = `${counted(count)} utterances with scores ${low} to ${high}`;
    set(button, { "aria-label": button.title, "aria-pressed": String(chosen(bin)) });
  });
}

/* The mean score of each file, from the lowest to the highest: a drawing of one unit a bar,
   stretched to its place. With many files each bar shows the one in the middle of those it covers. */
const WIDEST_BAR = 28;
const MOST_BARS = 2000;
const strip = byId("strip");
const tip = byId("tip");
const means = ordered(files.mean, false).filter((file) => !Number.isNaN(files.mean[file]));

function buildStrip() {
  const range = byId("strip-range");
  range.textContent = "No file has utterances";
  if (means.length) {
    const [lowest, highest] = [means[0], means.at(-1)].map((file) => signed(files.mean[file]));
    range.textContent = `${counted(means.length)} files, lowest ${lowest}, highest ${highest}`;
  }
  strip.setAttribute("aria-label", `${range.textContent}; the table of files has each`);
  strip.style.maxWidth = `${WIDEST_BAR * means.length}px`;
  strip.addEventListener("pointermove", showTip);
  strip.addEventListener("pointerleave", () => (tip.hidden = true));
  strip.addEventListener("click", (event) => pickFile(fileAt(event)));
  drawStrip();
}

function fileAt(event) {
  const { left, width } = strip.getBoundingClientRect();
  const place = Math.floor(((event.clientX - left) / width) * means.length);
  return means[Math.max(0, Math.min(means.length - 1, place))];
}

function drawStrip() {
  if (!means.length) return;
  const count = Math.min(MOST_BARS, means.length);
  const most = Math.max(...[means[0], means.at(-1)].map((file) => Math.abs(files.mean[file])));
  // The scale is a round number that no bar exceeds.
  const reach = Math.min(1, Math.max(0.1, Math.ceil(most * 10 - 1e-9) / 10));
  const bar = (file, place) => {
    const mean = files.mean[file];
    const height = Math.max(1, (98 * Math.abs(mean)) / reach) * (mean < 0 ? 1 : -1);
    const kind = chosenFile < 0 || chosenFile === file ? "path" : "path.other";
    return draw(kind, { hue: scoreColour(mean), d: `M${place} 0v${height}h${count < 200 ? 0.9 : 1}V0z` });
  };
  const shown = Array.from({ length: count }, (_, place) =>
    means[Math.floor(((place + 0.5) / count) * means.length)]);
  const x = ((means.indexOf(chosenFile) + 0.5) / means.length) * count;
  // A line at the chosen file, whose bar may be too thin to be seen.
  const lines = [draw("path.middle", { d: `M0 0H${count}` }), draw("path.chosen", { d: `M${x} -100V100` })];
  strip.setAttribute("viewBox", `0 -100 ${count} 200`);
  strip.replaceChildren(...shown.map(bar), ...lines.slice(0, x < 0 ? 1 : 2));
  const ends = [reach, -reach].map((score) => make("span", signed(score, 1)));
  byId("strip-scale").replaceChildren(...ends);
}

function showTip(event) {
  const file = fileAt(event);
  tip.hidden = false;
  const name = make("span", { dir: "auto" }, files.name[file]);
  tip.replaceChildren(make("b", signed(files.mean[file])), " ", name);
  const place = tip.parentElement.getBoundingClientRect();
  const room = place.width - tip.offsetWidth;
  const left = event.clientX - place.left - tip.offsetWidth / 2;
  tip.style.left = `${Math.max(0, Math.min(room, left))}px`;
}

/* --- The page ---------------------------------------------------------------------------------- */

/* At most once in a frame, however fast somebody types. */
function soon(act) {
  let waiting = 0;
  return () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(act);
  };
}

/* Shows the utterances of a file alone; those of all when it is picked once more. */
function pickFile(file) {
  chosenFile = chosenFile === file ? -1 : file;
  const chip = byId("utterances-file");
  const name = files.name[chosenFile] ?? "";
  chip.hidden = chosenFile < 0;
  chip.replaceChildren(make("span", { dir: "auto" }, name), make("span", "×"));
  chip.setAttribute("aria-label", `Only ${name}: show all files`);
  drawStrip();
  fileTable.refresh();
  show.utterances();
}

function pickLabel(label) {
  byId("utterances-label").value = label;
  show.utterances();
}

function pickRange(low, high) {
  isOpen = high < 1;
  byId("utterances-low").value = low;
  byId("utterances-high").value = high;
  show.utterances();
}

function showHead() {
  byId("title").textContent = head.title;
  byId("facts").textContent = head.facts.join(" · ");
  for (const [name, figure, aside, kind] of head.tiles) {
    const parts = [make("dt.quiet.small", name), make("dd.figure", figure), make("dd.aside.quiet.small", aside)];
    byId("tiles").append(make("div", { class: `tile ${kind}` }, ...parts));
  }
  byId("notes").append(...head.notes.map((note) => make("p.note", note)));
  const states = byId("files-state");
  states.append(new Option("All files", ""));
  for (const state of data.states) {
    const count = files.state.filter((other) => other === state).length;
    if (count && count < files.total) states.append(new Option(`${state} (${counted(count)})`, state));
  }
  const warned = files.warnings.filter((count) => count > 0).length;
  if (warned) states.append(new Option(`with warnings (${counted(warned)})`, "warned"));
  states.hidden = states.options.length < 2;
  byId("utterances-label").append(new Option("All sentiments", "-1"));
  byId("utterances-label").append(...LABELS.map((name, label) => new Option(name, String(label))));
}

function listen() {
  for (const [name, refresh] of Object.entries(show)) {
    const form = byId(`${name}-filter`);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", (event) => {
      if (event.target.type === "number") isOpen = false;
      if (!event.target.closest(".sorter")) refresh();
    });
  }
  byId("utterances-file").addEventListener("click", () => {
    pickFile(chosenFile);
    byId("utterances").focus({ preventScroll: true });
  });
  byId("utterances-all").addEventListener("click", () => {
    byId("utterances-words").value = "";
    byId("utterances-warned").checked = false;
    if (chosenFile >= 0) pickFile(chosenFile);
    pickLabel(-1);
    pickRange(-1, 1);
  });
}

showHead();
const labelBars = makeLabelBars();
const scoreBars = makeScoreBars();
const fileTable = new Table("files", {
  total: files.total,
  columns: fileColumns,
  filter: fileFilter,
  onOpen: pickFile,
  selected: (file) => file === chosenFile,
});
byId("utterances").classList.toggle("with-text", utterances.text !== null);
const utteranceTable = new Table("utterances", {
  total: utterances.total,
  columns: utteranceColumns,
  filter: utteranceFilter,
  onOpen(one, clicked) {
    const page = files.page[utterances.file[one]];
    if (page && !clicked) location.href = `${page}#u${utterances.place[one]}`;
  },
  onShow(view) {
    labelBars.show(view);
    scoreBars.show(view);
    const whole = view.length === utterances.total;
    for (const note of document.querySelectorAll(".against")) note.hidden = whole;
    byId("utterances-all").disabled = chosenFile < 0 && JSON.stringify(readFields()) === ALL;
  },
});
const show = { files: soon(() => fileTable.show()), utterances: soon(() => utteranceTable.show()) };
buildStrip();
listen();
