/* Puts the page together, and moves between utterances: by click, by key, by address. */

const head = readBlock("head");
const state = { chosen: -1, now: 0 };
const actions = { choose, move, seek: goTo, filtered };

start();

function start() {
  const name = baseName(head.source);
  byId("title").textContent = name;
  byId("title").title = head.source;
  byId("facts").textContent = [
    clock(head.duration),
    plural(head.utterances.length, "utterance"),
    ...(head.tracks ? [plural(head.tracks, "face track")] : []),
    `model ${head.model.name} (${head.model.sha256.slice(0, 8)})`,
  ].join(" · ");
  byId("foot").textContent =
    `Made by avsent ${head.version}. What a model reads in a voice or a face is no fact about a person: ` +
    "look and listen before you rely on it.";
  const notes = byId("notes");
  byId("warnings").hidden = !head.warnings.length;
  notes.append(...head.warnings.map((warning) => make("li", { class: "note" }, warning)));

  buildPlayer(byId("player"), head);
  byId("play").hidden = !player.media;
  document.addEventListener("unplayable", () => (byId("play").hidden = true));
  player.onTime = showNow;
  const any = head.utterances.length > 0;
  if (any) {
    buildTimeline(byId("chart"), head, actions);
    buildLegend(byId("legend"), head);
  } else {
    for (const id of ["previous", "next", "play", "timeline"]) byId(id).hidden = true;
    showNothing(byId("detail"), head);
  }
  buildList(byId("rows"), head, actions);
  listen();
  if (any) choose(fromAddress() ?? first(), { quiet: true, seeks: fromAddress() !== null });
  document.documentElement.dataset.ready = "";
}

function first() {
  return inTime(list.shown)[0] ?? 0;
}

function inTime(indices) {
  const { utterances } = head;
  return [...indices].sort((a, b) => utterances[a].start - utterances[b].start || a - b);
}

/* #u12 is the twelfth utterance. */
function fromAddress() {
  const found = /^#u(\d+)$/.exec(location.hash);
  const index = found ? Number(found[1]) - 1 : -1;
  return index >= 0 && index < head.utterances.length ? index : null;
}

function choose(index, { play = false, quiet = false, seeks = true, focus = null, scroll = false } = {}) {
  const one = head.utterances[index];
  const before = state.chosen;
  if (index !== before) {
    state.chosen = index;
    showDetail(byId("detail"), one, index, head, readBlock(`part-${index}`), actions);
    if (!quiet || location.hash) history.replaceState(null, "", `#u${index + 1}`);
  }
  showChosenBlock(index, before, focus === "time");
  showChosenRow(index, before === index ? -1 : before, { focus: focus === "list", scroll });
  if (!quiet) announce(one, index);
  if (play || (isPlaying() && seeks)) playFrom(one.start, one.end);
  else if (seeks) goTo(one.start);
}

function announce(one, index) {
  byId("announce").textContent = `${describe(one, index)}, confidence ${percent(sureness(one))}`;
}

/* Among those that the filter shows: "time" in their order of time, "list" as they are sorted. */
function move(steps, along, focusBlock = false) {
  const order = along === "time" ? inTime(list.shown) : list.shown;
  if (!order.length) return;
  let at = order.indexOf(state.chosen);
  if (at < 0 && along === "time") {
    // The filter hides the chosen one: go on from its place.
    const { start } = head.utterances[state.chosen];
    const after = order.findIndex((index) => head.utterances[index].start > start);
    at = (after < 0 ? order.length : after) - (steps > 0 ? 1 : 0);
  }
  const wanted = Math.max(0, Math.min(order.length - 1, at + steps));
  const inBlocks = focusBlock || document.activeElement?.closest(".block");
  const inRows = document.activeElement?.closest("tbody");
  choose(order[wanted], { focus: inBlocks ? "time" : inRows ? "list" : null, scroll: along === "list" });
}

function goTo(time) {
  seek(time);
  if (!player.media) showNow(time);
}

function filtered(shown) {
  if (timeline.marks.length) showShownBlocks(shown);
  if (state.chosen >= 0) showChosenRow(state.chosen, -1);
}

/* The player's time: while it plays on freely, the chosen utterance follows, without a word. */
function showNow(time) {
  state.now = time;
  if (!head.utterances.length) return;
  showTime(time);
  if (isPlaying() && player.stopAt === null) {
    const current = head.utterances[state.chosen];
    if (time < current.start || time >= current.end) {
      const under = head.utterances.findIndex((one) => time >= one.start && time < one.end);
      if (under >= 0) choose(under, { quiet: true, seeks: false });
    }
  }
  showAttentionTime(time);
}

function listen() {
  byId("previous").addEventListener("click", () => move(-1, "time"));
  byId("next").addEventListener("click", () => move(1, "time"));
  byId("play").addEventListener("click", () => choose(state.chosen, { play: true }));
  byId("zoom-in").addEventListener("click", () => zoom(ZOOM, middle()));
  byId("zoom-out").addEventListener("click", () => zoom(1 / ZOOM, middle()));
  byId("help").addEventListener("click", () => byId("keys").showModal());
  addEventListener("hashchange", () => {
    const index = fromAddress();
    if (index === null || index === state.chosen) return;
    choose(index);
    byId("chosen").scrollTop = 0;
    byId("chosen").focus({ preventScroll: true });
  });
  document.addEventListener("keydown", keyed);
}

function middle() {
  return head.utterances[state.chosen]?.start ?? state.now;
}

const KEYS = {
  j: () => move(1, "list"),
  k: () => move(-1, "list"),
  ArrowRight: () => move(1, "time"),
  ArrowLeft: () => move(-1, "time"),
  Enter: () => choose(state.chosen, { play: true }),
  " ": () => togglePlaying(head.utterances[state.chosen]),
  "+": () => zoom(ZOOM, middle()),
  "=": () => zoom(ZOOM, middle()),
  "-": () => zoom(1 / ZOOM, middle()),
  "/": () => byId("words").focus(),
  "?": () => byId("keys").showModal(),
};

function keyed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const { target, key } = event;
  if (byId("keys").open) return;
  if (target.matches("input, select, textarea")) {
    if (key === "Escape") leaveField(target);
    return;
  }
  // The player's own controls know arrows and space; buttons and links know Enter and space.
  if (target.matches("video, audio") && [" ", "ArrowLeft", "ArrowRight", "Enter"].includes(key)) return;
  const inList = target.closest("tbody, .block");
  const pressed = target.matches("button, a, summary") && !target.matches(".choose");
  if (pressed && [" ", "Enter"].includes(key)) return;
  if (target.matches(".choose") && key === "Enter") return; // its click plays
  let act = KEYS[key];
  if (inList && key === "ArrowDown") act = target.closest(".block") ? KEYS.ArrowRight : KEYS.j;
  if (inList && key === "ArrowUp") act = target.closest(".block") ? KEYS.ArrowLeft : KEYS.k;
  if (!act || (!head.utterances.length && key !== "?" && key !== " ")) return;
  event.preventDefault();
  act();
}

function leaveField(field) {
  if (field.id === "words" && field.value) {
    field.value = "";
    refresh();
  } else {
    field.blur();
  }
}
