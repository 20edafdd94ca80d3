// What is chosen and how it is sorted, and everything on the page that shows it.

const by = (id) => document.getElementById(id);
const head = JSON.parse(by("head").textContent);

const fileQuery = { words: "", state: "" };
const saidQuery = {
  words: "", labels: new Set(), low: -1, high: 1, open: false, file: -1, warned: false,
};
const fileOrder = { key: "name", down: false, rows: ordered(FILE_KEYS.name(), false) };
const saidOrder = { key: "file", down: false, rows: ordered(SAID_KEYS.file(), false) };

function showHead() {
  by("title").textContent = head.title;
  by("facts").textContent = head.facts.join(" · ");
  for (const [name, figure, aside, kind] of head.tiles) {
    const tile = element("div", `tile ${kind}`);
    tile.append(
      element("dt", "", name),
      element("dd", "figure", figure),
      element("dd", "aside", aside),
    );
    by("tiles").append(tile);
  }
  by("notes").append(...head.notes.map((note) => element("p", "note", note)));
}

// --- Both tables -----------------------------------------------------------------------------

/** Sorting, by the heads of columns and, where there is no room for those, by a list. */
function sortable(grid, sorter, order, keys, refresh) {
  const select = element("select", "field");
  select.setAttribute("aria-label", "Sort by");
  for (const { key, title } of grid.columns) {
    if (key) select.append(new Option(title, key));
  }
  const turn = element("button", "button square");
  turn.type = "button";
  sorter.append("Sort by", select, turn);
  const sort = (key, down) => {
    Object.assign(order, { key, down, rows: ordered(keys[key](), down) });
    show();
    refresh({ top: true });
  };
  const show = () => {
    grid.sorted(order.key, order.down);
    select.value = order.key;
    turn.textContent = order.down ? "↓" : "↑";
    turn.setAttribute("aria-label", order.down ? "Sort upwards" : "Sort downwards");
  };
  select.addEventListener("change", () => sort(select.value, order.down));
  turn.addEventListener("click", () => sort(order.key, !order.down));
  show();
  return sort;
}

/** At most once in a frame, however fast somebody types. */
function soon(act) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      act();
    });
  };
}

const sortBy = { files: null, said: null };

const fileGrid = new Grid(by("files"), {
  columns: fileColumns(),
  onSort: (key, down) => sortBy.files(key, down),
  onOpen: (file) => pickFile(file),
  selected: (file) => file === saidQuery.file,
});
by("said").classList.toggle("with-text", said.text !== null);
const saidGrid = new Grid(by("said"), {
  columns: saidColumns(),
  onSort: (key, down) => sortBy.said(key, down),
  onOpen(one, pointed) {
    const page = files.page[said.file[one]];
    if (page && !pointed) location.href = `${page}#u${said.place[one]}`;
  },
});
const labelBars = new LabelBars(by("labels"), (label) => {
  const only = saidQuery.labels.size === 1 && saidQuery.labels.has(label);
  pickLabel(only ? -1 : label);
});
const scoreBars = new ScoreBars(by("scores"), (low, high) => {
  const same = saidQuery.low === low && saidQuery.high === high;
  pickRange(same ? -1 : low, same ? 1 : high);
});
const strip = new Strip(by("strip"), by("tip"), by("strip-range"), (file) => pickFile(file));

// --- Files -----------------------------------------------------------------------------------

function refreshFiles({ top = false } = {}) {
  const view = chosenFiles(fileOrder.rows, fileQuery);
  fileGrid.show(view, { top });
  by("files-count").textContent = told(view.length, files.count);
}

function told(some, all) {
  return some === all ? counted.format(all) : `${counted.format(some)} of ${counted.format(all)}`;
}

function offerStates() {
  const select = by("files-state");
  select.append(new Option("All files", ""));
  for (const state of data.states) {
    const count = files.state.filter((other) => other === state).length;
    if (count && count < files.count) {
      select.append(new Option(`${state} (${counted.format(count)})`, state));
    }
  }
  const warned = files.warnings.filter((count) => count > 0).length;
  if (warned) select.append(new Option(`with warnings (${counted.format(warned)})`, "warned"));
  select.hidden = select.options.length < 2;
}

// --- Utterances ------------------------------------------------------------------------------

function refreshSaid({ top = false } = {}) {
  const view = chosenSaid(saidOrder.rows, saidQuery);
  saidGrid.show(view, { top });
  by("said-count").textContent = told(view.length, said.count);
  labelBars.show(view, saidQuery.labels);
  scoreBars.show(view, saidQuery.low, saidQuery.high);
  const whole = view.length === said.count;
  for (const note of document.querySelectorAll(".against")) note.hidden = whole;
  by("said-all").disabled = whole && isOpen(saidQuery);
}

function isOpen({ words, labels, low, high, file, warned }) {
  return !words && !labels.size && low <= -1 && high >= 1 && file < 0 && !warned;
}

const refreshSaidSoon = soon(() => refreshSaid({ top: true }));
const refreshFilesSoon = soon(() => refreshFiles({ top: true }));

function pickFile(file) {
  saidQuery.file = saidQuery.file === file ? -1 : file;
  const chip = by("said-file");
  chip.hidden = saidQuery.file < 0;
  chip.replaceChildren(
    Object.assign(element("span", "", files.name[saidQuery.file] ?? ""), { dir: "auto" }),
    element("span", "cross", "×"),
  );
  chip.setAttribute("aria-label", `Only ${files.name[saidQuery.file] ?? ""}: show all files`);
  strip.show(saidQuery.file);
  fileGrid.refresh();
  refreshSaidSoon();
}

function pickLabel(label) {
  saidQuery.labels = new Set(label < 0 ? [] : [label]);
  by("said-label").value = String(label);
  refreshSaidSoon();
}

function pickRange(low, high) {
  Object.assign(saidQuery, { low, high, open: high < 1 });
  by("said-low").value = low;
  by("said-high").value = high;
  refreshSaidSoon();
}

function number(field, otherwise) {
  return field.value === "" || Number.isNaN(field.valueAsNumber) ? otherwise : field.valueAsNumber;
}

function listen() {
  by("files-words").addEventListener("input", () => {
    fileQuery.words = by("files-words").value;
    refreshFilesSoon();
  });
  by("files-state").addEventListener("change", () => {
    fileQuery.state = by("files-state").value;
    refreshFilesSoon();
  });
  by("said-words").addEventListener("input", () => {
    saidQuery.words = by("said-words").value;
    refreshSaidSoon();
  });
  by("said-label").addEventListener("change", () => pickLabel(Number(by("said-label").value)));
  for (const field of [by("said-low"), by("said-high")]) {
    field.addEventListener("input", () => {
      saidQuery.low = number(by("said-low"), -1);
      saidQuery.high = number(by("said-high"), 1);
      saidQuery.open = false;
      refreshSaidSoon();
    });
  }
  by("said-warned").addEventListener("change", () => {
    saidQuery.warned = by("said-warned").checked;
    refreshSaidSoon();
  });
  by("said-file").addEventListener("click", () => {
    pickFile(saidQuery.file);
    by("said").focus({ preventScroll: true });
  });
  by("said-all").addEventListener("click", () => {
    saidQuery.words = by("said-words").value = "";
    saidQuery.warned = by("said-warned").checked = false;
    if (saidQuery.file >= 0) pickFile(saidQuery.file);
    pickLabel(-1);
    pickRange(-1, 1);
  });
}

by("files").style.setProperty("--all", files.count);
by("said").style.setProperty("--all", said.count);
showHead();
offerStates();
by("said-label").append(new Option("All sentiments", "-1"));
LABELS.forEach((name, label) => by("said-label").append(new Option(name, String(label))));
sortBy.files = sortable(fileGrid, by("files-sorter"), fileOrder, FILE_KEYS, refreshFiles);
sortBy.said = sortable(saidGrid, by("said-sorter"), saidOrder, SAID_KEYS, refreshSaid);
listen();
refreshFiles();
refreshSaid();
