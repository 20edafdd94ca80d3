/* The chosen utterance: what was decided, by what, and which other utterances counted. */

const TOP_OTHERS = 6;
const NAMES = { audio: "Voice", face: "Face" };

function showDetail(place, one, index, head, part, actions) {
  byId("chosen-title").textContent = `Utterance ${index + 1} of ${head.utterances.length}`;
  const track = one.track === null ? "" : `, face track ${one.track}`;
  const length = (one.end - one.start).toFixed(1);
  byId("chosen-when").textContent = `${clock(one.start)} to ${clock(one.end)} (${length} s)${track}`;
  place.replaceChildren(
    verdict(one, head),
    ...(one.text === null ? [] : [make("blockquote", { class: "text", dir: "auto" }, one.text)]),
    ...one.warnings.map((warning) => make("p", { class: "note" }, warning)),
    probabilities(one, head),
    shares(one),
    ...facesOf(one, part, actions),
    ...attentionOf(one, part, head, actions),
    ...othersOf(index, head, part),
  );
}

function showNothing(place, head) {
  byId("chosen-title").textContent = "No utterances";
  byId("chosen-when").textContent = "";
  place.replaceChildren(
    make("p", {}, "Nothing was found in this file that could be judged."),
    ...(head.warnings.length ? [] : [make("p", { class: "quiet" }, "Give the utterances yourself with --utterances.")]),
  );
}

function verdict(one, head) {
  const hue = head.colours[head.labels.indexOf(one.label)] ?? one.colour;
  return make(
    "p",
    { class: "verdict" },
    make("span", { class: "label hued", hue }, make("span", { class: "swatch" }), one.label),
    make("span", { class: "figure" }, "score ", make("b", {}, signed(one.score))),
    make("span", { class: "figure" }, "confidence ", make("b", {}, percent(sureness(one)))),
  );
}

function probabilities(one, head) {
  const rows = head.labels.map((label, number) =>
    make(
      "div",
      { class: "probability hued", hue: head.colours[number] },
      make("dt", {}, label),
      make("dd", {}, make("span", { class: "meter", share: one.p[number], "aria-hidden": "true" }), percent(one.p[number])),
    ),
  );
  return make("dl", { class: "probabilities", "aria-label": "Probabilities" }, ...rows);
}

/* How much voice and face had to do with the decision. */
function shares(one) {
  const names = Object.keys(one.shares);
  const usable = names.filter((name) => one.shares[name][1]);
  const bar = make(
    "div",
    { class: "split", "aria-hidden": "true" },
    ...usable.map((name) => make("span", { class: name, share: one.shares[name][0] })),
  );
  const words = names.map((name) => {
    const [weight, effective] = one.shares[name];
    const title = NAMES[name] ?? name;
    return make("span", { class: "share" }, effective ? `${title} ${percent(weight)}` : `${title} not usable`);
  });
  return make("section", { class: "part" }, make("h3", {}, "Share in the decision"), bar, make("p", { class: "split-words" }, ...words));
}

function facesOf(one, part, actions) {
  const faces = part.faces ?? [];
  if (!faces.length) return [];
  const seen = part.face[0].length;
  const crops = faces.map(([time, weight, url]) =>
    make(
      "li",
      {},
      make(
        "button",
        {
          type: "button",
          class: "crop",
          "aria-label": `Go to ${clock(time)}, attention ${percent(weight, 1)}`,
          onclick: () => actions.seek(time),
        },
        make("img", { src: url, alt: "", width: 96, height: 96, decoding: "async" }),
        make("span", { class: "weight" }, percent(weight, 1)),
        make("span", { class: "quiet" }, clock(time)),
      ),
    ),
  );
  return [
    make(
      "section",
      { class: "part" },
      make("h3", {}, "Face: pictures with the most attention"),
      make("ul", { class: "faces" }, ...crops),
      make("p", { class: "quiet small" }, `Shared out evenly, each of ${plural(seen, "picture")} would have ${percent(1 / seen, 1)}.`),
    ),
  ];
}

/* The utterances that contributed to this one, the greatest first. */
function othersOf(index, head, part) {
  const rows = part.context;
  if (head.utterances.length < 2 || !rows.length) return [];
  const most = Math.max(...rows.map((row) => Math.max(row[1], row[2])), 1); // none counts as 0
  const body = make("tbody");
  const line = ([other, voice, face]) => {
    const one = head.utterances[other];
    if (!one) return null;
    const self = other === index;
    const hue = head.colours[head.labels.indexOf(one.label)] ?? one.colour;
    const name = make(
      "a",
      { href: `#u${other + 1}`, title: describe(one, other) },
      `${other + 1}`,
      make("span", { class: "quiet" }, clock(one.start)),
    );
    return make(
      "tr",
      {},
      make("th", { scope: "row" }, name),
      make("td", {}, make("span", { class: "label hued", hue }, make("span", { class: "swatch" }), self ? `${one.label}, itself` : one.label)),
      weightCell(voice, "audio", most),
      weightCell(face, "face", most),
    );
  };
  const fill = (count) => body.replaceChildren(...rows.slice(0, count).map(line).filter(Boolean));
  fill(TOP_OTHERS);
  const table = make(
    "table",
    { class: "table others" },
    make("caption", { class: "unseen" }, "How much each utterance of the file contributed to this one"),
    make("thead", {}, make("tr", {},
      make("th", { scope: "col" }, "Utterance"), make("th", { scope: "col" }, "Sentiment"),
      make("th", { scope: "col" }, "Voice"), make("th", { scope: "col" }, "Face"))),
    body,
  );
  const more = rows.length > TOP_OTHERS
    ? make("button", { type: "button", class: "button", "aria-expanded": "false", onclick: (event) => {
        const open = event.currentTarget.getAttribute("aria-expanded") !== "true";
        event.currentTarget.setAttribute("aria-expanded", open);
        event.currentTarget.textContent = open ? "Show fewer" : `Show all ${rows.length}`;
        fill(open ? rows.length : TOP_OTHERS);
      } }, `Show all ${rows.length}`)
    : null;
  return [make("section", { class: "part" }, make("h3", {}, "Context: utterances that counted"), table, more ?? "")];
}

/* Weights come in ten thousandths. */
function weightCell(weight, kind, most) {
  if (weight === null) return make("td", { class: "quiet" }, "–");
  return make(
    "td",
    { class: "weigh" },
    make("span", { class: `meter ${kind}`, share: weight / most, "aria-hidden": "true" }),
    make("span", {}, percent(weight / 1e4, weight < 995 ? 1 : 0)),
  );
}
