/* Where inside an utterance the model listened and looked: curves over its spectrogram and time. */

const attention = { marks: [], one: null };

function attentionOf(one, part, head, actions) {
  attention.one = one;
  attention.marks = [];
  const figures = [];
  const drawn = part.spectrogram;
  if (part.audio[0].length || drawn) {
    const ground = drawn ? spectrogram(drawn, one) : "";
    const [curve, peak] = soundCurve(part.audio, one);
    const words = peak === null ? "No attention on the voice" : `Attention on the voice is greatest at ${clock(peak)}`;
    figures.push(figure("sound", drawn ? `Spectrogram. ${words}` : words, one, actions, ground, curve));
  }
  if (part.face[0].length) {
    const peak = part.face[0][indexOfMost(part.face[1])];
    const bars = faceBars(part.face, one);
    figures.push(figure("sight", `Attention on the face is greatest at ${clock(peak)}`, one, actions, bars));
  }
  if (!figures.length) return [];
  return [
    make(
      "section",
      { class: "part" },
      make("h3", {}, "Attention over time"),
      make("div", { class: "strips" }, ...figures, axis(one)),
      make(
        "p",
        { class: "quiet small keys-of" },
        ...(part.audio[0].length
          ? [make("span", { class: "key audio" }, drawn ? "on the voice, over its spectrogram (60 Hz to 7.6 kHz)" : "on the voice")]
          : []),
        ...(part.face[0].length ? [make("span", { class: "key face" }, "on the face")] : []),
      ),
    ),
  ];
}

/* A strip as wide as the utterance is long; a click goes to that moment. */
function figure(kind, words, one, actions, ...children) {
  const mark = make("span", { class: "now", hidden: true });
  attention.marks.push(mark);
  const strip = make("div", { class: `strip ${kind}`, role: "img", "aria-label": words }, ...children, mark);
  strip.addEventListener("click", (event) => {
    const { left, width } = strip.getBoundingClientRect();
    actions.seek(one.start + ((event.clientX - left) / width) * lengthOf(one));
  });
  return strip;
}

function spectrogram(drawn, one) {
  const image = make("img", { src: drawn.url, alt: "", draggable: "false" });
  const length = lengthOf(one);
  image.style.left = `${(100 * (drawn.start - one.start)) / length}%`;
  image.style.width = `${(100 * (drawn.end - drawn.start)) / length}%`;
  return image;
}

/* The drawing is 1000 wide and 100 high, stretched to the strip; strokes keep their width. */
function stretched(...children) {
  return draw("svg", { viewBox: "0 0 1000 100", preserveAspectRatio: "none", "aria-hidden": "true" }, ...children);
}

function soundCurve([times, weights], one) {
  if (!times.length) return [stretched(), null];
  const most = Math.max(...weights, 1e-9);
  const points = times.map((time, index) => {
    const x = placeOf(time, one);
    return `${x.toFixed(1)} ${(96 - (88 * weights[index]) / most).toFixed(1)}`;
  });
  const line = `M${points.join("L")}`;
  const first = placeOf(times[0], one).toFixed(1);
  const last = placeOf(times[times.length - 1], one).toFixed(1);
  return [
    stretched(
      draw("path", { class: "under", d: `${line}L${last} 100L${first} 100Z` }),
      draw("path", { class: "halo", d: line }),
      draw("path", { class: "line", d: line }),
    ),
    times[indexOfMost(weights)],
  ];
}

function faceBars([times, weights], one) {
  const most = Math.max(...weights, 1e-9);
  const length = lengthOf(one);
  const steps = times.slice(1).map((time, index) => time - times[index]);
  const wide = Math.max(2, (1000 * Math.min(...steps, length / 10)) / length - 1.5);
  const bars = times.map((time, index) => {
    const tall = Math.max(1, (92 * weights[index]) / most);
    return draw("rect", { x: (placeOf(time, one) - wide / 2).toFixed(1), y: (100 - tall).toFixed(1), width: wide.toFixed(1), height: tall.toFixed(1) });
  });
  return stretched(...bars);
}

function placeOf(time, one) {
  return (1000 * (time - one.start)) / lengthOf(one);
}

function indexOfMost(weights) {
  return weights.reduce((best, weight, index) => (weight > weights[best] ? index : best), 0);
}

function axis(one) {
  const length = lengthOf(one);
  const step = tickStep(length / 5);
  const ticks = [];
  for (let time = Math.ceil(one.start / step) * step; time <= one.end + 1e-6; time += step) {
    const share = (time - one.start) / length;
    const tick = make("span", {}, clock(time));
    tick.style.left = `${100 * share}%`;
    if (share < 0.06) tick.className = "first";
    else if (share > 0.94) tick.className = "last";
    ticks.push(tick);
  }
  return make("div", { class: "axis", "aria-hidden": "true" }, ...ticks);
}

function showAttentionTime(time) {
  const { one, marks } = attention;
  if (!one) return;
  const inside = time >= one.start && time <= one.end;
  for (const mark of marks) {
    mark.hidden = !inside;
    mark.style.left = `${placeOf(time, one) / 10}%`;
  }
}
