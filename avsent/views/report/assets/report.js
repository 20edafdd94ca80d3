/* The report of one video: player, timeline, list, and the chosen utterance in detail. */

const head = readBlock("head");
const { utterances } = head;
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const byTime = [...utterances.keys()].sort((a, b) => utterances[a].start - utterances[b].start || a - b);
let chosen = -1;
let now = null; // the player's time, null before it has one

const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)} %`;
const plural = (count, word) => `${counted(count)} ${word}${count === 1 ? "" : "s"}`;
/* Never 0: lengths divide. */
const lengthOf = (one) => Math.max(one.end - one.start, 0.001);

const confidence = (one) => Math.max(...one.p, 0);
const hueOf = (one) => head.colours[head.labels.indexOf(one.label)] ?? one.colour;

function describe(index) {
  const one = utterances[index];
  const when = `${clock(one.start)} to ${clock(one.end)}`;
  const doubt = one.unsure ? `, unsure: ${one.unsure}` : "";
  return `Utterance ${index + 1}, ${when}, ${one.label}, score ${signed(one.score)}${doubt}`;
}

/* The label in its colour; with a mark where the decision is unsure, whose title says why. */
function labelOf(one, words = one.label) {
  const options = { title: `Unsure: ${one.unsure}`, role: "img", "aria-label": "unsure" };
  return labelled(words, hueOf(one), one.unsure ? make("b.unsure", options, "?") : null);
}

/* A distance of ticks that people count in. */
function tickStep(atLeast) {
  const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];
  return steps.find((step) => step >= atLeast) ?? 14400;
}

/* --- The page ---------------------------------------------------------------------------------- */

function start() {
  byId("title").textContent = head.source.split(/[\\/]/).filter(Boolean).pop() ?? head.source;
  byId("title").title = head.source;
  byId("facts").textContent = [
    clock(head.duration),
    plural(utterances.length, "utterance"),
    ...(head.tracks ? [plural(head.tracks, "face track")] : []),
    `model ${head.model.name} (${head.model.sha256.slice(0, 8)})`,
  ].join(" · ");
  byId("foot").textContent =
    `Made by avsent ${head.version}. What a model reads in a voice or a face is no fact about a person: ` +
    "look and listen before you rely on it.";
  byId("warnings").hidden = !head.warnings.length;
  byId("notes").append(...head.warnings.map((warning) => make("li.note", warning)));
  buildPlayer(head.media);
  byId("play").hidden = !media;
  if (utterances.length) buildTimeline();
  else {
    for (const id of ["previous", "next", "play", "timeline", "filter"]) byId(id).hidden = true;
    byId("chosen-title").textContent = "No utterances";
    byId("detail").append(make("p", "Nothing was found in this file that could be judged."));
    const words = "Give the utterances yourself with --utterances.";
    if (!head.warnings.length) byId("detail").append(make("p.quiet", words));
  }
  buildList();
  listen();
  const linked = indexFromAddress();
  if (utterances.length) choose(linked ?? byTime[0], { quiet: true, seeks: linked !== null });
  document.documentElement.dataset.ready = "";
}

/* #u12 is the twelfth utterance. */
function indexFromAddress() {
  const index = Number(/^#u(\d+)$/.exec(location.hash)?.[1]) - 1;
  return utterances[index] ? index : null;
}

/* `seeks`: the player goes there; `quiet`: not announced; `focus`: which mark gets the focus. */
function choose(index, { play = false, quiet = false, seeks = true, focus, scroll } = {}) {
  const one = utterances[index];
  const before = chosen;
  if (index !== before) {
    chosen = index;
    showDetail(one, index, readBlock(`part-${index}`));
    if (!quiet || location.hash) history.replaceState(null, "", `#u${index + 1}`);
  }
  showChosen(index, before, focus, scroll);
  if (!quiet) byId("announce").textContent = `${describe(index)}, confidence ${percent(confidence(one))}`;
  if (play || (isPlaying() && seeks)) playFrom(one.start, one.end);
  else if (seeks) goTo(one.start);
}

/* Among those that pass the filter: "time" in the order of time, "list" as they are sorted. */
function move(steps, along) {
  const order = along === "time" ? byTime.filter((index) => list.passing.has(index)) : list.order;
  if (!order.length) return;
  let at = order.indexOf(chosen);
  if (at < 0 && along === "time") {
    // The filter hides the chosen one: start from its place.
    const after = order.findIndex((index) => utterances[index].start > utterances[chosen].start);
    at = (after < 0 ? order.length : after) - (steps > 0 ? 1 : 0);
  }
  const wanted = Math.max(0, Math.min(order.length - 1, at + steps));
  const inside = (place) => document.activeElement?.closest(place);
  const focus = inside(".block") ? "time" : inside("tbody") ? "list" : null;
  choose(order[wanted], { focus, scroll: along === "list" });
}

function goTo(time) {
  if (!media) return showNow(time);
  stopAt = null;
  media.currentTime = time;
}

/* The player's time. In free playing the chosen utterance follows without being announced. */
function showNow(time) {
  now = time;
  if (!utterances.length) return;
  showPlayhead();
  if (isPlaying() && stopAt === null) {
    const inside = (one) => time >= one.start && time < one.end;
    const index = inside(utterances[chosen]) ? -1 : utterances.findIndex(inside);
    if (index >= 0) choose(index, { quiet: true, seeks: false });
  }
  showAttentionTime();
}

const KEYS = {
  j: () => move(1, "list"),
  k: () => move(-1, "list"),
  ArrowRight: () => move(1, "time"),
  ArrowLeft: () => move(-1, "time"),
  Enter: () => choose(chosen, { play: true }),
  " ": togglePlaying,
  "+": () => zoom(ZOOM),
  "=": () => zoom(ZOOM),
  "-": () => zoom(1 / ZOOM),
  "/": () => byId("words").focus(),
  "?": () => byId("keys").showModal(),
};

function listen() {
  for (const button of document.querySelectorAll("[data-key]")) {
    button.addEventListener("click", KEYS[button.dataset.key]);
  }
  addEventListener("hashchange", () => {
    const index = indexFromAddress();
    if (index === null || index === chosen) return;
    choose(index);
    byId("chosen").scrollTop = 0;
    byId("chosen").focus({ preventScroll: true });
  });
  document.addEventListener("keydown", pressed);
}

function pressed(event) {
  const { target, key } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || byId("keys").open) return;
  if (target.matches("input")) {
    if (key !== "Escape") return;
    if (target.id !== "words" || !target.value) return target.blur();
    target.value = "";
    return refresh();
  }
  // The player's own controls know arrows and space; buttons and links know Enter and space.
  if (target.matches("video, audio") && [" ", "ArrowLeft", "ArrowRight", "Enter"].includes(key)) return;
  const row = target.matches(".choose");
  if (target.matches("button, a") && (key === "Enter" || (key === " " && !row))) return;
  const block = target.closest(".block");
  let act = KEYS[key];
  const steps = { ArrowDown: 1, ArrowUp: -1, ...(block && { Home: -Infinity, End: Infinity }) }[key];
  if (steps && (block || target.closest("tbody"))) act = () => move(steps, block ? "time" : "list");
  if (!act || (!utterances.length && key !== "?" && key !== " ")) return;
  event.preventDefault();
  act();
}

/* --- Player: the media file, linked or embedded ------------------------------------------------ */

const OVERRUN_S = 0.02; // a frame of the screen: playing may stop this much late, never early
let media = null;
let stopAt = null; // plays up to here; null: to its end

function buildPlayer(about) {
  const place = byId("player");
  if (!about) {
    place.classList.add("without");
    place.append(make("p.quiet", "Made without the media file: no pictures, nothing to play. " +
      "Give it with --video to have them."));
    return;
  }
  const { kind, name } = about;
  media = make(kind, { controls: true, playsinline: true, preload: "metadata", "aria-label": name });
  const note = (...words) => place.append(make("p.note", words.join("")));
  media.addEventListener("error", () => {
    media.hidden = true;
    media = null;
    const ending = name.includes(".") ? name.split(".").pop().toUpperCase() : "its";
    place.classList.add("without");
    note(
      `This browser cannot play ${name}: `,
      about.url === null ? "" : "it is not where it was when this page was made, or ",
      `${ending} is a format that browsers do not know. The rest of the page works without it. `,
      "avsent predict --annotate writes an mp4 that plays everywhere.",
    );
    byId("play").hidden = true;
  });
  media.addEventListener("loadedmetadata", () => {
    if (media.videoWidth !== 0) return; // undefined for audio
    note(`This browser plays the sound of ${name}, but does not know the format of its pictures.`);
  });
  media.addEventListener("timeupdate", tick);
  media.addEventListener("seeked", tick);
  media.addEventListener("play", watch);
  place.classList.add(kind);
  place.append(media);
  if (about.url === null) embeddedUrl(about.type).then((url) => (media.src = url));
  else media.src = about.url;
}

/* The embedded file: some script elements of base64 behind this script. */
async function embeddedUrl(type) {
  await new Promise((done) => document.addEventListener("DOMContentLoaded", done));
  const parts = [];
  for (const block of document.querySelectorAll("script.media")) {
    parts.push(Uint8Array.from(atob(block.textContent), (byte) => byte.charCodeAt(0)));
    block.remove(); // not in memory twice
    await new Promise((done) => setTimeout(done)); // the page stays responsive
  }
  return URL.createObjectURL(new Blob(parts, { type }));
}

/* Play from one moment to another. */
function playFrom(start, end) {
  if (!media) return;
  stopAt = end;
  media.currentTime = start;
  media.play().catch(() => {}); // reported by the error event, or interrupted by a pause
}

const isPlaying = () => media !== null && !media.paused;

function togglePlaying() {
  if (!media) return;
  const { start, end } = utterances[chosen] ?? { start: 0, end: Infinity };
  if (!media.paused) media.pause();
  else if (media.currentTime < start || media.currentTime >= end) playFrom(start, end);
  else media.play().catch(() => {});
}

function tick() {
  if (!media) return;
  if (stopAt !== null && media.currentTime >= stopAt) {
    if (media.currentTime < stopAt + 0.5) media.pause(); // else the reader went further on
    stopAt = null;
  }
  showNow(media.currentTime);
}

/* The event timeupdate comes four times a second, too seldom to stop at the end of a word. */
function watch() {
  if (!isPlaying()) return;
  const left = stopAt === null ? Infinity : (stopAt - media.currentTime) / media.playbackRate;
  tick();
  if (left > 0 && left < OVERRUN_S) setTimeout(tick, 1000 * left);
  requestAnimationFrame(watch);
}

/* --- Timeline: a block for each utterance with a bar for its score, and curves of probabilities -- */

const LANE = 64; // height of a row of blocks
const CURVES = 96; // height of the curves
const AXIS = 24;
const PAD = 6; // left and right, for the labels at the ends
const WIDEST = 30000; // of the drawing, in pixels
const ZOOM = 1.6;

const chart = { scale: 1, end: Math.max(head.duration, ...utterances.map((one) => one.end), 0.1) };

function buildTimeline() {
  const rows = 1 + Math.max(...head.lanes);
  chart.top = rows * LANE + 10; // of the curves
  chart.bottom = chart.top + CURVES;
  const height = chart.bottom + AXIS;
  chart.blocks = utterances.map((one, index) => {
    const field = draw("rect.field-of", { rx: 3 });
    const value = draw("rect.value", { rx: 1.5 });
    const words = describe(index);
    const options = { hue: one.colour, role: "button", tabindex: -1, "aria-label": words };
    const name = one.unsure ? "g.block.is-unsure" : "g.block";
    return { group: draw(name, options, draw("title", words), field, value), field, value };
  });
  chart.curves = head.labels.map((label, number) => {
    const hue = head.colours[number];
    const curves = [draw("path.between", { hue }), draw("path.curve", { hue })];
    const onclick = (event) => {
      const drawn = toggle(event.currentTarget);
      for (const path of curves) path.classList.toggle("is-hidden", !drawn);
    };
    const options = { hue, "aria-pressed": "true", title: `Draw or hide ${label}`, onclick };
    byId("legend").append(make("button.chip.quiet.small", options, make("span.swatch"), label));
    return curves;
  });
  const unsure = utterances.filter((one) => one.unsure).length;
  if (unsure) {
    const words = "Two labels nearly even, or unlike the training data";
    byId("legend").append(make("span.quiet.small", { title: words }, make("b.unsure", "?"), `unsure (${unsure})`));
  }
  chart.ground = draw("g", { "aria-hidden": "true" });
  chart.playhead = draw("line.playhead", { y1: 0, y2: chart.bottom, visibility: "hidden" });
  const blocks = draw("g", ...chart.blocks.map(({ group }) => group));
  const curves = draw("g.curves", { "aria-hidden": "true" }, ...chart.curves.flat());
  const options = { height, role: "group", "aria-label": "Timeline of utterances", onclick: clickTimeline };
  chart.svg = draw("svg", options, chart.ground, curves, blocks, chart.playhead);
  blocks.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    choose(chart.blocks.findIndex(({ group }) => group === event.target), { play: true });
  });
  // The scales at the left, which stay while the drawing scrolls.
  const scales = draw("svg.scale", { width: 44, height, "aria-hidden": "true" });
  const text = (y, words) => scales.append(draw("text", { x: 38, y, "text-anchor": "end" }, words));
  for (let top = 0; top < rows * LANE; top += LANE) {
    text(top + 12, "+1");
    text(top + LANE / 2 + 4, "0");
    text(top + LANE - 5, "−1");
  }
  text(chart.top + 10, "100 %");
  text(chart.bottom, "0");
  chart.scroller = make("div.scroller", chart.svg);
  byId("chart").append(scales, chart.scroller);
  new ResizeObserver(layOut).observe(chart.scroller);
  layOut();
}

const xOf = (time) => PAD + (time / chart.end) * (chart.width - 2 * PAD);

function layOut() {
  const room = Math.max(chart.scroller.clientWidth, 200);
  chart.width = Math.min(WIDEST, Math.round(room * chart.scale));
  chart.svg.setAttribute("width", chart.width);
  utterances.forEach((one, index) => {
    const { field, value } = chart.blocks[index];
    const x = xOf(one.start);
    const width = Math.max(2, xOf(one.end) - x - 1); // a gap between neighbours
    const top = head.lanes[index] * LANE;
    const middle = top + LANE / 2;
    const height = Math.max(2, Math.abs(one.score) * (LANE / 2 - 4));
    set(field, { x, y: top + 2, width, height: LANE - 4 });
    set(value, { x, y: middle - (one.score > 0 ? height : one.score === 0 ? 1 : 0), width, height });
  });
  chart.curves.forEach(([between, curve], label) => {
    between.setAttribute("d", pathOf(label, "L"));
    curve.setAttribute("d", pathOf(label, "M"));
  });
  drawGround();
  byId("zoom-out").disabled = chart.scale <= 1;
  byId("zoom-in").disabled = room * chart.scale >= WIDEST || chart.end / chart.scale < 4;
  if (now !== null) showPlayhead();
}

/* Drawn twice: thick where somebody speaks ("M" leaps in between), thin throughout ("L"). */
function pathOf(label, link) {
  let path = "";
  for (const index of byTime) {
    const { start, end, p } = utterances[index];
    const y = (chart.top + (1 - p[label]) * CURVES).toFixed(1);
    path += `${path ? link : "M"}${xOf(start).toFixed(1)} ${y}H${xOf(end).toFixed(1)}`;
  }
  return path;
}

function drawGround() {
  const { width, bottom } = chart;
  const lines = [];
  const across = (y, name) => lines.push(draw(name, { x1: 0, x2: width, y1: y, y2: y }));
  for (let y = LANE / 2; y < chart.top - LANE / 2; y += LANE) across(y, "line.zero");
  for (const p of [0, 0.5, 1]) across(chart.top + p * CURVES, "line.rule");
  const step = tickStep((chart.end / (width - 2 * PAD)) * 90);
  for (let time = 0; time <= chart.end; time += step) {
    const x = xOf(time);
    lines.push(draw("line.rule", { x1: x, x2: x, y1: bottom, y2: bottom + 5 }));
    const [at, anchor] = time === 0 ? [0, "start"] : x > width - 24 ? [width, "end"] : [x, "middle"];
    const words = step < 1 ? clock(time) : clock(time).replace(/\.\d$/, "");
    lines.push(draw("text", { x: at, y: bottom + AXIS - 5, "text-anchor": anchor }, words));
  }
  chart.ground.replaceChildren(...lines);
}

/* A click on a block plays it; beside the blocks it goes to that moment. */
function clickTimeline(event) {
  const block = event.target.closest(".block");
  if (block) return choose(chart.blocks.findIndex(({ group }) => group === block), { play: true });
  const x = event.clientX - chart.svg.getBoundingClientRect().left;
  const share = (x - PAD) / (chart.width - 2 * PAD);
  goTo(Math.min(chart.end, Math.max(0, share * chart.end)));
}

function showPlayhead() {
  const x = xOf(Math.min(now, chart.end));
  set(chart.playhead, { x1: x, x2: x, visibility: "visible" });
}

/* Marks the block and the row of the chosen utterance; only these take part in the order of Tab. */
function showChosen(index, before, focus, scroll) {
  const marks = (one) => [chart.blocks[one].group, rowOf(one).querySelector(".choose")];
  for (const [one, current] of [[before, false], [index, true]]) {
    if (one < 0) continue;
    for (const mark of marks(one)) {
      set(mark, { tabindex: current ? 0 : -1 });
      set(mark.closest("g, tr"), { "aria-current": String(current) });
    }
  }
  if (focus) marks(index)[focus === "time" ? 0 : 1].focus({ preventScroll: true });
  if (scroll && rowOf(index).isConnected) rowOf(index).scrollIntoView({ block: "nearest" });
  const { scroller } = chart;
  const x = xOf(utterances[index].start);
  if (x < scroller.scrollLeft || x > scroller.scrollLeft + scroller.clientWidth - 40) {
    scroller.scrollTo({ left: x - scroller.clientWidth / 3, behavior: calm.matches ? "auto" : "smooth" });
  }
}

/* Zooms around the chosen utterance. */
function zoom(factor) {
  const { scroller } = chart;
  const time = utterances[chosen].start;
  const before = xOf(time) - scroller.scrollLeft;
  chart.scale = Math.max(1, Math.min(chart.scale * factor, WIDEST / Math.max(scroller.clientWidth, 200)));
  if (chart.scale < 1.01) chart.scale = 1;
  layOut();
  scroller.scrollLeft = xOf(time) - before;
}

/* --- List: filtered, sorted, and filled in pieces ---------------------------------------------- */

const FIRST_ROWS = 150; // at once
const MORE_ROWS = 300;
const COLUMNS = [
  { key: "index", title: "#", number: true },
  { key: "start", title: "Time", number: true, value: (one) => one.start },
  { key: "length", title: "Length", number: true, value: (one) => one.end - one.start, down: true },
  { key: "score", title: "Score", number: true, value: (one) => one.score },
  { key: "sure", title: "Conf.", hint: "Confidence", number: true, value: confidence, down: true },
  { key: "label", title: "Sentiment", value: (one) => one.label },
];
const list = { rows: [], column: COLUMNS[1], down: false };

function buildList() {
  list.heads = COLUMNS.map((column) => {
    const { key, title, hint, number } = column;
    const onclick = () => {
      list.down = list.column === column ? !list.down : Boolean(column.down);
      list.column = column;
      refresh();
    };
    const button = make("button.sort", { title: hint, "aria-label": hint, onclick }, title);
    const options = { scope: "col", class: `of-${key}${number ? " number" : ""}` };
    return make("th", options, column.value ? button : title);
  });
  list.body = make("tbody", {
    onclick: (event) => {
      const row = event.target.closest("tr");
      if (row) choose(Number(row.dataset.index), { play: true });
    },
  });
  list.empty = make("p.empty.quiet", "No utterance matches the filter.");
  const words = "Utterances; choose one with the button at its number";
  const heads = make("thead", make("tr", ...list.heads));
  const table = make("table.table.utterances", make("caption.unseen", words), heads, list.body);
  byId("rows").append(table, list.empty);
  if (!utterances.length) {
    table.hidden = true;
    list.empty.textContent = "No utterances were found in this file, so there is nothing to list.";
  }
  head.labels.forEach((label, number) => {
    const count = utterances.filter((one) => one.label === label).length;
    const onclick = (event) => {
      toggle(event.currentTarget);
      refresh();
    };
    const options = { hue: head.colours[number], "aria-pressed": "false", "data-label": label, onclick };
    const parts = [make("span.swatch"), label, make("span.quiet", String(count))];
    if (count) byId("labels").append(make("button.chip", options, ...parts));
  });
  const form = byId("filter");
  form.addEventListener("input", refresh);
  form.addEventListener("submit", (event) => event.preventDefault());
  byId("clear").addEventListener("click", () => {
    form.reset();
    for (const chip of byId("labels").children) chip.setAttribute("aria-pressed", "false");
    refresh();
    byId("words").focus();
  });
  byId("warned").parentElement.hidden = !utterances.some((one) => one.warnings.length);
  byId("unsure").parentElement.hidden = !utterances.some((one) => one.unsure);
  refresh();
}

/* A function that tells whether an utterance passes the filter. */
function readFilter() {
  const words = byId("words").value.trim().toLocaleLowerCase();
  const pressed = byId("labels").querySelectorAll("[aria-pressed=true]");
  const labels = new Set(Array.from(pressed, (chip) => chip.dataset.label));
  const number = (id, otherwise) => (byId(id).value === "" ? otherwise : Number(byId(id).value));
  const lowest = number("lowest", -Infinity) - 1e-9;
  const highest = number("highest", Infinity) + 1e-9;
  const [warned, unsure] = ["warned", "unsure"].map((id) => byId(id).checked);
  const matches = (one, index) => {
    if (/^#\d+$/.test(words)) return index + 1 === Number(words.slice(1));
    const track = one.track === null ? "" : `track ${one.track}`;
    return [one.text ?? "", one.label, ...one.warnings, track].some((text) => text.toLocaleLowerCase().includes(words));
  };
  return (one, index) =>
    (!labels.size || labels.has(one.label)) &&
    one.score >= lowest && one.score <= highest &&
    (!warned || one.warnings.length > 0) && (!unsure || one.unsure) &&
    (words === "" || matches(one, index));
}

function refresh() {
  const passes = readFilter();
  const order = ordered(utterances.map(list.column.value), list.down);
  list.order = [...order].filter((index) => passes(utterances[index], index));
  list.passing = new Set(list.order);
  COLUMNS.forEach((column, number) => {
    if (column !== list.column) list.heads[number].removeAttribute("aria-sort");
    else list.heads[number].setAttribute("aria-sort", list.down ? "descending" : "ascending");
  });
  const filtered = byId("labels").querySelector("[aria-pressed=true]") !== null ||
    byId("warned").checked || byId("unsure").checked || ["words", "lowest", "highest"].some((id) => byId(id).value.trim());
  const all = utterances.length ? plural(utterances.length, "utterance") : "";
  byId("count").textContent = filtered ? `${list.order.length} of ${all}` : all;
  byId("clear").hidden = !filtered;
  list.empty.hidden = list.order.length > 0;
  clearTimeout(list.pending);
  list.body.replaceChildren();
  fillList(0, FIRST_ROWS);
  chart.blocks?.forEach(({ group }, index) => group.classList.toggle("is-out", !list.passing.has(index)));
}

function fillList(from, to) {
  list.body.append(...list.order.slice(from, to).map(rowOf));
  if (to < list.order.length) list.pending = setTimeout(fillList, 30, to, to + MORE_ROWS);
}

const rowOf = (index) => (list.rows[index] ??= makeRow(utterances[index], index));

function makeRow(one, index) {
  const button = make("button.choose", { tabindex: -1, "aria-label": describe(index) }, String(index + 1));
  const { warnings, text } = one;
  const bar = make("span.score-bar", { hue: one.colour, share: one.score });
  return make(
    "tr",
    { "data-index": index },
    make("td.of-index.number", button),
    make("td.of-start.number", clock(one.start)),
    make("td.of-length.number.quiet", `${(one.end - one.start).toFixed(1)} s`),
    make("td.of-score.number", bar, signed(one.score)),
    make("td.of-sure.number.quiet", percent(confidence(one))),
    make(
      "td.of-label",
      labelOf(one),
      text === null ? null : make("span.text.quiet.small", { dir: "auto" }, text),
      warnings.length ? make("span.text.small.warned", `⚠ ${warnings.join("; ")}`) : null,
    ),
  );
}

/* --- The chosen utterance: the decision, and what counted for it ------------------------------- */

const TOP_OTHERS = 6;
const MODALITIES = { audio: "Voice", face: "Face" };

function showDetail(one, index, part) {
  const track = one.track === null ? "" : `, face track ${one.track}`;
  const length = (one.end - one.start).toFixed(1);
  byId("chosen-title").textContent = `Utterance ${index + 1} of ${utterances.length}`;
  byId("chosen-when").textContent = `${clock(one.start)} to ${clock(one.end)} (${length} s)${track}`;
  const score = make("span", "score ", make("b", signed(one.score)));
  const sure = make("span", "confidence ", make("b", percent(confidence(one))));
  const parts = [
    make("p.verdict.quiet", labelOf(one), score, sure),
    one.unsure ? make("p.quiet", make("b.unsure", "?"), ` Unsure: ${one.unsure}.`) : null,
    one.text === null ? null : make("blockquote.text", { dir: "auto" }, one.text),
    ...one.warnings.map((warning) => make("p.note", warning)),
    probabilities(one),
    shares(one),
    faces(part),
    attention(one, part),
    context(index, part.context),
  ];
  byId("detail").replaceChildren(...parts.filter(Boolean));
}

const section = (title, ...children) => make("section.part", make("h3", title), ...children);
const meter = (share, kind = "") =>
  make("span", { share, class: `meter ${kind}`, "aria-hidden": "true" });

function probabilities(one) {
  const rows = head.labels.map((label, number) => {
    const value = make("dd", meter(one.p[number]), percent(one.p[number]));
    return make("div.probability", { hue: head.colours[number] }, make("dt", label), value);
  });
  return make("dl.probabilities", { "aria-label": "Probabilities" }, ...rows);
}

function shares(one) {
  const bar = make("div.stack", { "aria-hidden": "true" });
  const words = make("p.split-words");
  for (const [name, [weight, usable]] of Object.entries(one.shares)) {
    const title = MODALITIES[name] ?? name;
    if (usable) bar.append(make("span", { class: name, share: weight }));
    words.append(make("span", usable ? `${title} ${percent(weight)}` : `${title} not usable`));
  }
  return section("Share in the decision", bar, words);
}

function faces({ faces = [], face }) {
  if (!faces.length) return null;
  const count = face[0].length;
  const crops = faces.map(([time, weight, url]) => {
    const words = `Go to ${clock(time)}, attention ${percent(weight, 1)}`;
    const image = make("img", { src: url, alt: "", width: 96, height: 96, decoding: "async" });
    const texts = [make("b", percent(weight, 1)), make("span.quiet", clock(time))];
    const options = { "aria-label": words, onclick: () => goTo(time) };
    return make("li", make("button.crop", options, image, ...texts));
  });
  const words = `Shared out evenly, each of ${plural(count, "picture")} would have ${percent(1 / count, 1)}.`;
  const title = "Face: pictures with the most attention";
  return section(title, make("ul.faces", ...crops), make("p.quiet.small", words));
}

/* The utterances that contributed to this one, the largest first; weights in ten-thousandths. */
function context(index, rows) {
  if (utterances.length < 2 || !rows.length) return null;
  const most = Math.max(...rows.flatMap((row) => row.slice(1)), 1); // null counts as 0
  const cell = (weight, kind) => {
    if (weight === null) return make("td.quiet", "–");
    return make("td.weight", meter(weight / most, kind), percent(weight / 1e4, weight < 995 ? 1 : 0));
  };
  const line = ([other, voice, face]) => {
    const one = utterances[other];
    const when = make("span.quiet", clock(one.start));
    const link = make("a", { href: `#u${other + 1}`, title: describe(other) }, String(other + 1), when);
    const label = labelOf(one, other === index ? `${one.label}, itself` : one.label);
    const cells = [make("td", label), cell(voice, "audio"), cell(face, "face")];
    return make("tr", make("th", { scope: "row" }, link), ...cells);
  };
  const known = rows.filter(([other]) => utterances[other]);
  const body = make("tbody");
  const fill = (count) => body.replaceChildren(...known.slice(0, count).map(line));
  fill(TOP_OTHERS);
  const all = `Show all ${rows.length}`;
  const onclick = ({ currentTarget: button }) => {
    const open = toggle(button, "aria-expanded");
    button.textContent = open ? "Show fewer" : all;
    fill(open ? rows.length : TOP_OTHERS);
  };
  const more = make("button.button", { "aria-expanded": "false", onclick }, all);
  const titles = ["Utterance", "Sentiment", "Voice", "Face"];
  const heads = titles.map((title) => make("th", { scope: "col" }, title));
  const caption = make("caption.unseen", "How much each utterance of the file contributed to this one");
  const table = make("table.table.others", caption, make("thead", make("tr", ...heads)), body);
  return section("Context: utterances that counted", table, rows.length > TOP_OTHERS ? more : null);
}

/* --- Attention inside the utterance: curves over its spectrogram and time ---------------------- */

let strips = [];

function attention(one, { audio, face, spectrogram }) {
  strips = [];
  const keys = [];
  const key = (kind, words) => keys.push(make(`span.${kind}`, make("span.swatch"), words));
  if (audio[0].length || spectrogram) {
    const words = audio[0].length ? peakOf("voice", audio) : "No attention on the voice";
    const image = spectrogram ? drawSpectrogram(spectrogram, one) : null;
    strips.push(makeStrip("sound", image ? `Spectrogram. ${words}` : words, one, image, ...soundCurve(audio, one)));
    const ground = image ? ", over its spectrogram (60 Hz to 7.6 kHz)" : "";
    if (audio[0].length) key("audio", `on the voice${ground}`);
  }
  if (face[0].length) {
    strips.push(makeStrip("sight", peakOf("face", face), one, null, ...faceBars(face, one)));
    key("face", "on the face");
  }
  if (!strips.length) return null;
  const drawn = make("div.strips", ...strips, axis(one));
  return section("Attention over time", drawn, make("p.legend.quiet.small", ...keys));
}

function peakOf(name, [times, weights]) {
  const peak = times[weights.indexOf(Math.max(...weights))];
  return `Attention on the ${name} is greatest at ${clock(peak)}`;
}

/* A strip as wide as the utterance is long; a click goes to that moment. `paths`: in a drawing of
   1000 x 100 that is stretched to the strip. */
function makeStrip(kind, words, one, image, ...paths) {
  const onclick = (event) => {
    const { left, width } = event.currentTarget.getBoundingClientRect();
    goTo(one.start + ((event.clientX - left) / width) * lengthOf(one));
  };
  const options = { viewBox: "0 0 1000 100", preserveAspectRatio: "none", "aria-hidden": "true" };
  const drawing = paths.length ? draw("svg", options, ...paths) : null;
  const mark = make("span.now", { hidden: true });
  return make(`div.strip.${kind}`, { role: "img", "aria-label": words, onclick }, image, drawing, mark);
}

/* From 0 to 1 inside the utterance. */
const shareOf = (time, one) => (time - one.start) / lengthOf(one);

function drawSpectrogram({ url, start, end }, one) {
  const image = make("img", { src: url, alt: "", draggable: "false" });
  image.style.left = `${100 * shareOf(start, one)}%`;
  image.style.width = `${(100 * (end - start)) / lengthOf(one)}%`;
  return image;
}

function soundCurve([times, weights], one) {
  if (!times.length) return [];
  const most = Math.max(...weights, 1e-9);
  const xs = times.map((time) => (1000 * shareOf(time, one)).toFixed(1));
  const line = `M${xs.map((x, index) => `${x} ${(96 - (88 * weights[index]) / most).toFixed(1)}`).join("L")}`;
  const under = draw("path.under", { d: `${line}L${xs.at(-1)} 100L${xs[0]} 100Z` });
  return [under, draw("path.halo", { d: line }), draw("path.line", { d: line })];
}

function faceBars([times, weights], one) {
  const most = Math.max(...weights, 1e-9);
  const steps = times.slice(1).map((time, index) => time - times[index]);
  const width = Math.max(2, (1000 * Math.min(...steps, lengthOf(one) / 10)) / lengthOf(one) - 1.5);
  return times.map((time, index) => {
    const height = Math.max(1, (92 * weights[index]) / most);
    const x = 1000 * shareOf(time, one) - width / 2;
    return draw("path", { d: `M${x.toFixed(1)} 100v${-height.toFixed(1)}h${width.toFixed(1)}V100` });
  });
}

function axis(one) {
  const step = tickStep(lengthOf(one) / 5);
  const ticks = [];
  for (let time = Math.ceil(one.start / step) * step; time <= one.end + 1e-6; time += step) {
    const share = shareOf(time, one);
    const tick = make("span", clock(time));
    tick.style.left = `${100 * share}%`;
    if (share < 0.06) tick.className = "first";
    else if (share > 0.94) tick.className = "last";
    ticks.push(tick);
  }
  return make("div.axis", { "aria-hidden": "true" }, ...ticks);
}

function showAttentionTime() {
  const one = utterances[chosen];
  for (const strip of strips) {
    const mark = strip.lastChild;
    mark.hidden = now < one.start || now > one.end;
    mark.style.left = `${100 * shareOf(now, one)}%`;
  }
}

start();
