/* The table of utterances: filtered, sorted, and filled in pieces where it is long. */

const FIRST_ROWS = 150; // at once; the rest when there is time
const MORE_ROWS = 300;

const COLUMNS = [
  { key: "start", title: "Time", number: true, value: (one) => one.start },
  { key: "length", title: "Length", number: true, value: (one) => one.end - one.start, down: true },
  { key: "score", title: "Score", number: true, value: (one) => one.score },
  { key: "sure", title: "Conf.", words: "Confidence", number: true, value: (one) => sureness(one), down: true },
  { key: "label", title: "Sentiment", value: (one) => one.label },
];

const list = { rows: [], key: "start", down: false, shown: [], pending: 0 };

/* The probability of the label that was decided for. */
function sureness(one) {
  return Math.max(...one.p, 0);
}

function describe(one, index) {
  return (
    `Utterance ${index + 1}, ${clock(one.start)} to ${clock(one.end)}, ` +
    `${one.label}, score ${signed(one.score)}`
  );
}

function buildList(place, head, actions) {
  Object.assign(list, { head, actions });
  const heads = COLUMNS.map((column) =>
    make(
      "th",
      { scope: "col", class: `${column.number ? "number " : ""}of-${column.key}`, "data-key": column.key },
      make(
        "button",
        { type: "button", class: "sort", title: column.words, "aria-label": column.words, onclick: () => sortBy(column) },
        column.title,
      ),
    ),
  );
  const number = make("th", { scope: "col", class: "number of-index" }, "#");
  list.body = make("tbody");
  list.empty = make("p", { class: "empty quiet", hidden: true });
  const table = make(
    "table",
    { class: "table utterances" },
    make("caption", { class: "unseen" }, "Utterances; choose one with the button at its number"),
    make("thead", {}, make("tr", {}, number, ...heads)),
    list.body,
  );
  list.body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (row) actions.choose(Number(row.dataset.index), { play: true });
  });
  place.append(table, list.empty);
  if (!head.utterances.length) {
    table.hidden = true;
    list.empty.hidden = false;
    list.empty.textContent = "No utterances were found in this file, so there is nothing to list.";
    byId("filter").hidden = true;
  }
  buildFilter(head);
  refresh();
}

function buildFilter(head) {
  const counts = new Map();
  for (const one of head.utterances) counts.set(one.label, (counts.get(one.label) ?? 0) + 1);
  const used = head.labels.filter((label) => counts.has(label));
  byId("labels").append(
    ...used.map((label) =>
      make(
        "button",
        {
          type: "button",
          class: "chip hued",
          hue: head.colours[head.labels.indexOf(label)],
          "aria-pressed": "false",
          "data-label": label,
          onclick: (event) => {
            const chip = event.currentTarget;
            chip.setAttribute("aria-pressed", chip.getAttribute("aria-pressed") !== "true");
            refresh();
          },
        },
        make("span", { class: "swatch" }),
        label,
        make("span", { class: "quiet" }, String(counts.get(label))),
      ),
    ),
  );
  const form = byId("filter");
  form.addEventListener("input", refresh);
  form.addEventListener("submit", (event) => event.preventDefault());
  byId("clear").addEventListener("click", clearFilter);
  byId("warned").closest("label").hidden = !head.utterances.some((one) => one.warnings.length);
}

function clearFilter() {
  byId("filter").reset();
  for (const chip of byId("labels").children) chip.setAttribute("aria-pressed", "false");
  refresh();
  byId("words").focus();
}

/* A test that tells whether an utterance is wanted, and whether anything is filtered at all. */
function readFilter() {
  const words = byId("words").value.trim().toLocaleLowerCase();
  const chosen = [...byId("labels").children].filter((chip) => chip.getAttribute("aria-pressed") === "true");
  const labels = new Set(chosen.map((chip) => chip.dataset.label));
  const number = (id) => (byId(id).value === "" ? null : Number(byId(id).value));
  const lowest = number("lowest");
  const highest = number("highest");
  const warned = byId("warned").checked;
  const active = words !== "" || labels.size > 0 || lowest !== null || highest !== null || warned;
  const wanted = (one, index) =>
    (!labels.size || labels.has(one.label)) &&
    (lowest === null || one.score >= lowest - 1e-9) &&
    (highest === null || one.score <= highest + 1e-9) &&
    (!warned || one.warnings.length > 0) &&
    (words === "" || matches(one, index, words));
  return { active, wanted };
}

function matches(one, index, words) {
  if (/^#\d+$/.test(words)) return index + 1 === Number(words.slice(1));
  const all = [one.text ?? "", one.label, ...one.warnings, one.track === null ? "" : `track ${one.track}`];
  return all.some((text) => text.toLocaleLowerCase().includes(words));
}

function sortBy(column) {
  if (list.key === column.key) list.down = !list.down;
  else Object.assign(list, { key: column.key, down: Boolean(column.down) });
  refresh();
}

function refresh() {
  const { head } = list;
  const { active, wanted } = readFilter();
  const column = COLUMNS.find((one) => one.key === list.key);
  const shown = head.utterances.map((_, index) => index).filter((index) => wanted(head.utterances[index], index));
  const values = head.utterances.map(column.value);
  const turn = list.down ? -1 : 1;
  shown.sort((a, b) => {
    if (values[a] < values[b]) return -turn;
    return values[a] > values[b] ? turn : a - b;
  });
  list.shown = shown;
  for (const cell of document.querySelectorAll("th[data-key]")) {
    if (cell.dataset.key === list.key) cell.setAttribute("aria-sort", list.down ? "descending" : "ascending");
    else cell.removeAttribute("aria-sort");
  }
  const all = head.utterances.length;
  byId("count").textContent = active ? `${shown.length} of ${plural(all, "utterance")}` : all ? plural(all, "utterance") : "";
  byId("clear").hidden = !active;
  if (all) {
    list.empty.hidden = shown.length > 0;
    list.empty.textContent = "No utterance matches the filter.";
  }
  fill();
  list.actions.filtered(new Set(shown));
}

/* The first rows now, so that the page is there at once; the others soon after, in pieces. */
function fill() {
  cancelLater(list.pending);
  list.body.replaceChildren(...list.shown.slice(0, FIRST_ROWS).map(rowOf));
  let done = FIRST_ROWS;
  const more = () => {
    list.body.append(...list.shown.slice(done, done + MORE_ROWS).map(rowOf));
    done += MORE_ROWS;
    list.pending = done < list.shown.length ? later(more) : 0;
  };
  list.pending = done < list.shown.length ? later(more) : 0;
}

/* Not requestIdleCallback: a page that shows nothing new may wait for its idle moment for ever. */
const later = (work) => setTimeout(work, 30);
const cancelLater = (work) => clearTimeout(work);

function rowOf(index) {
  list.rows[index] ??= makeRow(list.head.utterances[index], index);
  return list.rows[index];
}

function makeRow(one, index) {
  const { head } = list;
  const button = make(
    "button",
    { type: "button", class: "choose", tabindex: -1, "aria-label": describe(one, index) },
    String(index + 1),
  );
  const said = one.text === null ? null : make("span", { class: "said", dir: "auto" }, one.text);
  const warned = one.warnings.length
    ? make("span", { class: "warned" }, `⚠ ${one.warnings.join("; ")}`)
    : null;
  const hue = head.colours[head.labels.indexOf(one.label)] ?? one.colour;
  const name = make("span", { class: "label hued", hue }, make("span", { class: "swatch" }), one.label);
  const bar = make("span", { class: `score-bar hued ${one.score < 0 ? "below" : ""}`, hue: one.colour, share: Math.abs(one.score), "aria-hidden": "true" });
  return make(
    "tr",
    { "data-index": index },
    make("td", { class: "number of-index" }, button),
    make("td", { class: "number of-start" }, clock(one.start)),
    make("td", { class: "number of-length quiet" }, `${(one.end - one.start).toFixed(1)} s`),
    make("td", { class: "number of-score" }, bar, signed(one.score)),
    make("td", { class: "number of-sure quiet" }, percent(sureness(one))),
    make("td", { class: "of-label" }, name, said, warned),
  );
}

function showChosenRow(index, before, { focus = false, scroll = false } = {}) {
  const old = list.rows[before];
  if (old) {
    old.removeAttribute("aria-current");
    old.querySelector(".choose").setAttribute("tabindex", -1);
  }
  const row = rowOf(index);
  row.setAttribute("aria-current", "true");
  const button = row.querySelector(".choose");
  button.setAttribute("tabindex", 0);
  if (focus) button.focus({ preventScroll: true });
  if (scroll && row.isConnected) row.scrollIntoView({ block: "nearest" });
}
