/* Utterances over time: a block for each, with a bar for its score, and curves of probabilities. */

const LANE = 64; // height of a row of blocks
const CURVES = 96; // height of the curves
const AXIS = 24;
const GAP = 10;
const PAD = 6; // room left and right, for the labels at the ends
const WIDEST = 30000; // of the drawing, in pixels
const ZOOM = 1.6;

const timeline = { scale: 1, lanes: [], marks: [], curves: [], hidden: new Set() };

function buildTimeline(place, head, actions) {
  Object.assign(timeline, { head, actions, place });
  timeline.end = Math.max(head.duration, ...head.utterances.map((one) => one.end), 0.1);
  timeline.lanes = lanesOf(head.utterances);
  const rows = Math.max(1, ...timeline.lanes.map((lane) => lane + 1));
  timeline.curvesTop = rows * LANE + GAP;
  timeline.height = timeline.curvesTop + CURVES + AXIS;

  timeline.svg = draw("svg", { height: timeline.height, role: "group", "aria-label": "Timeline of utterances" });
  timeline.svg.addEventListener("click", clickedBeside);
  timeline.ground = draw("g", { "aria-hidden": "true" });
  timeline.blocks = draw("g");
  timeline.lines = draw("g", { class: "curves", "aria-hidden": "true" });
  timeline.head_ = draw("line", { class: "playhead", y1: 0, y2: timeline.height - AXIS, visibility: "hidden" });
  timeline.svg.append(timeline.ground, timeline.lines, timeline.blocks, timeline.head_);
  timeline.marks = head.utterances.map((one, index) => block(one, index, head, actions));
  timeline.blocks.append(...timeline.marks.map((mark) => mark.group));
  timeline.curves = head.labels.map((_, number) => {
    const hue = head.colours[number];
    return [draw("path", { class: "between hued", hue }), draw("path", { class: "curve hued", hue })];
  });
  timeline.lines.append(...timeline.curves.flat());

  timeline.scroller = make("div", { class: "scroller" }, timeline.svg);
  place.append(scaleBeside(rows), timeline.scroller);
  new ResizeObserver(layOut).observe(timeline.scroller);
  timeline.blocks.addEventListener("keydown", (event) => {
    if (event.key === "Home" || event.key === "End") {
      event.preventDefault();
      actions.move(event.key === "Home" ? -Infinity : Infinity, "time", true);
    }
  });
  layOut();
}

/* Utterances of several faces may overlap: each goes to the first row that is free. */
function lanesOf(utterances) {
  const ends = [];
  const order = utterances.map((_, index) => index);
  order.sort((a, b) => utterances[a].start - utterances[b].start);
  const lanes = [];
  for (const index of order) {
    let lane = ends.findIndex((end) => end <= utterances[index].start + 0.01);
    if (lane < 0) lane = ends.length;
    ends[lane] = utterances[index].end;
    lanes[index] = lane;
  }
  return lanes;
}

function block(one, index, head, actions) {
  const words = describe(one, index);
  const field = draw("rect", { class: "field-of", rx: 3 });
  const value = draw("rect", { class: "value", rx: 1.5 });
  const group = draw(
    "g",
    {
      class: "block hued",
      hue: one.colour,
      role: "button",
      tabindex: -1,
      "aria-label": words,
      onclick: () => actions.choose(index, { play: true }),
      onkeydown: (event) => {
        if (event.key !== "Enter") return;
        event.preventDefault();
        event.stopPropagation();
        actions.choose(index, { play: true });
      },
    },
    draw("title", {}, words),
    field,
    value,
  );
  return { group, field, value };
}

/* Row titles and scales at the left, which stay while the drawing scrolls. */
function scaleBeside(rows) {
  const svg = draw("svg", { class: "scale", width: 44, height: timeline.height, "aria-hidden": "true" });
  const text = (y, words) => svg.append(draw("text", { x: 38, y, "text-anchor": "end" }, words));
  for (let row = 0; row < rows; row++) {
    text(row * LANE + 12, "+1");
    text(row * LANE + LANE / 2 + 4, "0");
    text(row * LANE + LANE - 5, "−1");
  }
  text(timeline.curvesTop + 10, "100 %");
  text(timeline.curvesTop + CURVES, "0");
  return svg;
}

function layOut() {
  const { head, lanes } = timeline;
  const wide = Math.max(timeline.scroller.clientWidth, 200);
  const width = Math.min(WIDEST, Math.round(wide * timeline.scale));
  timeline.width = width;
  timeline.svg.setAttribute("width", width);
  head.utterances.forEach((one, index) => {
    const { field, value } = timeline.marks[index];
    const x = xOf(one.start);
    const across = Math.max(2, xOf(one.end) - x - 1); // a gap between neighbours
    const top = lanes[index] * LANE;
    const middle = top + LANE / 2;
    const tall = Math.max(2, Math.abs(one.score) * (LANE / 2 - 4));
    attributes(field, { x, y: top + 2, width: across, height: LANE - 4 });
    attributes(value, { x, y: one.score > 0 ? middle - tall : middle - (one.score === 0 ? 1 : 0), width: across, height: tall });
  });
  timeline.curves.forEach(([between, spoken], label) => {
    between.setAttribute("d", curve(label, "L"));
    spoken.setAttribute("d", curve(label, "M"));
  });
  drawGround(width);
  byId("zoom-out").disabled = timeline.scale <= 1;
  byId("zoom-in").disabled = wide * timeline.scale >= WIDEST || timeline.end / timeline.scale < 4;
  if (timeline.now !== undefined) showTime(timeline.now);
}

function xOf(time) {
  return PAD + (time / timeline.end) * (timeline.width - 2 * PAD);
}

/* Drawn twice: thick where somebody speaks ("M" leaps in between), thin through all ("L"). */
function curve(label, link) {
  const y = (p) => (timeline.curvesTop + (1 - p) * CURVES).toFixed(1);
  const order = timeline.order ?? [...timeline.head.utterances].sort((a, b) => a.start - b.start);
  timeline.order = order;
  let path = "";
  for (const one of order) {
    const level = y(one.p[label]);
    path += `${path ? link : "M"}${xOf(one.start).toFixed(1)} ${level}H${xOf(one.end).toFixed(1)}`;
  }
  return path;
}

function drawGround(width) {
  const { ground, height, curvesTop, end } = timeline;
  const lines = [];
  const across = (y, name) => lines.push(draw("line", { class: name, x1: 0, x2: width, y1: y, y2: y }));
  for (let top = 0; top + LANE < curvesTop; top += LANE) across(top + LANE / 2, "zero");
  for (const p of [0, 0.5, 1]) across(curvesTop + (1 - p) * CURVES, "grid");
  const step = tickStep((end / (width - 2 * PAD)) * 90);
  for (let time = 0; time <= end; time += step) {
    const x = xOf(time);
    lines.push(draw("line", { class: "grid", x1: x, x2: x, y1: height - AXIS, y2: height - AXIS + 5 }));
    const nearEnd = x > width - 24;
    const anchor = time === 0 ? "start" : nearEnd ? "end" : "middle";
    lines.push(draw("text", { x: time === 0 ? 0 : nearEnd ? width : x, y: height - 5, "text-anchor": anchor }, tickText(time, step)));
  }
  ground.replaceChildren(...lines);
}

function tickStep(atLeast) {
  const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];
  return steps.find((step) => step >= atLeast) ?? 14400;
}

function tickText(time, step) {
  return step < 1 ? clock(time) : clock(time).replace(/\.\d$/, "");
}

/* A click beside the blocks goes to that moment. */
function clickedBeside(event) {
  if (event.target.closest(".block")) return;
  const x = event.clientX - timeline.svg.getBoundingClientRect().left;
  const share = (x - PAD) / (timeline.width - 2 * PAD);
  timeline.actions.seek(Math.min(timeline.end, Math.max(0, share * timeline.end)));
}

function showTime(time) {
  timeline.now = time;
  const x = xOf(Math.min(time, timeline.end));
  attributes(timeline.head_, { x1: x, x2: x, visibility: "visible" });
}

function showChosenBlock(index, before, focus) {
  const old = timeline.marks[before];
  if (old) {
    old.group.classList.remove("is-chosen");
    old.group.setAttribute("tabindex", -1);
    old.group.removeAttribute("aria-current");
  }
  const { group } = timeline.marks[index];
  group.classList.add("is-chosen");
  attributes(group, { tabindex: 0, "aria-current": "true" });
  if (focus) group.focus({ preventScroll: true });
  const { scroller } = timeline;
  const x = xOf(timeline.head.utterances[index].start);
  if (x < scroller.scrollLeft || x > scroller.scrollLeft + scroller.clientWidth - 40) {
    scroller.scrollTo({ left: x - scroller.clientWidth / 3, behavior: calm.matches ? "auto" : "smooth" });
  }
}

/* Those that the filter leaves out go pale. */
function showShownBlocks(shown) {
  timeline.marks.forEach(({ group }, index) => group.classList.toggle("is-out", !shown.has(index)));
}

function zoom(factor, around) {
  const { scroller } = timeline;
  const time = around ?? 0;
  const before = xOf(time) - scroller.scrollLeft;
  timeline.scale = Math.max(1, Math.min(timeline.scale * factor, WIDEST / Math.max(scroller.clientWidth, 200)));
  if (timeline.scale < 1.01) timeline.scale = 1;
  layOut();
  scroller.scrollLeft = xOf(time) - before;
}

function buildLegend(place, head) {
  place.append(
    ...head.labels.map((label, number) =>
      make(
        "button",
        {
          type: "button",
          class: "chip hued",
          hue: head.colours[number],
          "aria-pressed": "true",
          title: `Draw or hide ${label}`,
          onclick: (event) => {
            const shown = event.currentTarget.getAttribute("aria-pressed") !== "true";
            event.currentTarget.setAttribute("aria-pressed", shown);
            for (const path of timeline.curves[number]) path.classList.toggle("is-hidden", !shown);
          },
        },
        make("span", { class: "swatch" }),
        label,
      ),
    ),
  );
}
