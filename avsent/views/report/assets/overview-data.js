// The batch as columns of numbers, and what can be asked of them: an order, a choice.

const data = JSON.parse(document.getElementById("data").textContent);
const LABELS = data.labels;

/** Whole numbers of a unit as numbers; what is unknown is NaN. */
function scaled(values, unit) {
  return Float64Array.from(values, (value) => (value === null ? NaN : value / unit));
}

/** Remarks by row: `{row: …}` as a full column of what stands for none where there is none. */
function spread(byRow, count, none) {
  const column = new Array(count).fill(none);
  for (const [row, value] of Object.entries(byRow)) column[row] = value;
  return column;
}

const files = (() => {
  const plain = data.files;
  const count = plain.name.length;
  const first = new Uint32Array(count + 1);
  for (let file = 0; file < count; file++) first[file + 1] = first[file] + plain.count[file];
  return {
    count,
    name: plain.name,
    state: plain.state.map((number) => data.states[number]),
    duration: scaled(plain.duration, 1000),
    mean: scaled(plain.mean, 10000),
    said: Float64Array.from(plain.count),
    first, // its first utterance; one more entry, so that first[file + 1] is its end
    remarks: spread(plain.remarks, count, []),
    error: spread(plain.error, count, ""),
    result: plain.result,
    page: plain.page,
  };
})();

const said = (() => {
  const plain = data.utterances;
  const count = plain.start.length;
  const file = new Uint32Array(count);
  for (let one = 0; one < files.count; one++) file.fill(one, files.first[one], files.first[one + 1]);
  return {
    count,
    file,
    place: Float64Array.from(file, (own, one) => one - files.first[own] + 1),
    start: scaled(plain.start, 1000),
    length: scaled(plain.length, 1000),
    label: Int16Array.from(plain.label),
    score: scaled(plain.score, 10000),
    certainty: scaled(plain.certainty, 1000),
    text: plain.text,
    remark: spread(plain.remarks, count, -1),
  };
})();

// How many utterances of each label a file has, label by label, and how many warnings there are.
files.labels = new Uint32Array(files.count * LABELS.length);
files.warnings = Float64Array.from(files.remarks, (remarks) => remarks.length);
for (let one = 0; one < said.count; one++) {
  const file = said.file[one];
  if (said.label[one] >= 0) files.labels[file * LABELS.length + said.label[one]]++;
  if (said.remark[one] >= 0) files.warnings[file]++;
}

const collator = new Intl.Collator(undefined, { numeric: true });

/** The place of each text in the alphabet; equal texts have the same, empty ones none. */
function ranks(texts) {
  const order = Uint32Array.from(texts, (_, row) => row);
  order.sort((a, b) => collator.compare(texts[a], texts[b]));
  const places = new Float64Array(texts.length);
  let place = 0;
  order.forEach((row, number) => {
    if (number && collator.compare(texts[row], texts[order[number - 1]]) !== 0) place = number;
    places[row] = texts[row] === "" ? NaN : place;
  });
  return places;
}

/** `make` called once, when its value is needed. */
function once(make) {
  let value = null;
  return () => (value ??= make());
}

const nameRanks = once(() => ranks(files.name));
const remarkRanks = once(() => ranks(data.remarks));

/** What each column is sorted by; NaN comes last in either direction. */
const FILE_KEYS = {
  name: nameRanks,
  state: once(() => Float64Array.from(data.files.state)),
  duration: () => files.duration,
  said: () => files.said,
  labels: once(() =>
    Float64Array.from(files.said, (all, file) =>
      all ? files.labels[(file + 1) * LABELS.length - 1] / all : NaN)),
  mean: () => files.mean,
  warnings: () => files.warnings,
};
const SAID_KEYS = {
  file: once(() => Float64Array.from(said.file, (file) => nameRanks()[file])),
  place: () => said.place,
  start: () => said.start,
  length: () => said.length,
  text: once(() => ranks(said.text ?? new Array(said.count).fill(""))),
  label: once(() => Float64Array.from(said.label, (label) => (label < 0 ? NaN : label))),
  score: () => said.score,
  certainty: () => said.certainty,
  remark: once(() =>
    Float64Array.from(said.remark, (remark) => (remark < 0 ? NaN : remarkRanks()[remark]))),
};

/** All rows in the order of their keys; rows with the same key as they came. */
function ordered(keys, down) {
  const sign = down ? -1 : 1;
  return Uint32Array.from(keys, (_, row) => row).sort((a, b) => {
    const x = keys[a];
    const y = keys[b];
    if (x === y) return a - b;
    if (x !== x) return y !== y ? a - b : 1;
    if (y !== y) return -1;
    return x < y ? -sign : sign;
  });
}

/** A text as it is compared when one looks for words in it. */
function folded(text) {
  return text.normalize("NFC").toLowerCase();
}

const foldedNames = once(() => files.name.map(folded));
const foldedTexts = once(() => (said.text ?? []).map(folded));

/** The rows of `order` that `query` lets through. */
function chosenFiles(order, query) {
  const words = folded(query.words.trim());
  const names = words ? foldedNames() : null;
  return order.filter((file) =>
    (!words || names[file].includes(words)) &&
    (query.state === "" || files.state[file] === query.state ||
      (query.state === "warned" && files.warnings[file] > 0)));
}

function chosenSaid(order, query) {
  const words = folded(query.words.trim());
  const names = words ? foldedNames().map((name) => name.includes(words)) : null;
  const texts = words && said.text ? foldedTexts() : null;
  const { labels, low, high, file, warned } = query;
  const end = query.open ? high : high + 1e-9; // an open range holds its upper edge no more
  return order.filter((one) =>
    (file < 0 || said.file[one] === file) &&
    (labels.size === 0 || labels.has(said.label[one])) &&
    said.score[one] >= low && said.score[one] < end &&
    (!warned || said.remark[one] >= 0) &&
    (!words || names[said.file[one]] || (texts !== null && texts[one].includes(words))));
}
