// How often each sentiment and each score occurs: pale among all utterances, in full colour among
// those chosen; as shares, so that a single file can be compared with the whole.

const BINS = 20;

const counted = new Intl.NumberFormat("en");
const percent = new Intl.NumberFormat("en", {
  style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1,
});

/** A number with its sign, as a reader expects a minus to look. */
function signed(value, digits = 2) {
  if (!(value === value)) return "–";
  const text = Math.abs(value).toFixed(digits);
  return Number(text) === 0 ? text : (value < 0 ? "−" : "+") + text;
}

function hued(made, colour) {
  made.classList.add("hued");
  made.style.setProperty("--c", colour);
  return made;
}

/** Which of the colours a score has. */
function scoreShade(score) {
  const most = data.scoreColours.length - 1;
  return Math.max(0, Math.min(most, Math.round(((score + 1) / 2) * most)));
}

function scoreColour(score) {
  return data.scoreColours[scoreShade(score)];
}

/** Which bar of the histogram a score is in: the last one holds 1, too. */
function binOf(score) {
  return Math.max(0, Math.min(BINS - 1, Math.floor((score + 1) * (BINS / 2) + 1e-9)));
}

/** The scores at the edges of a bar, as the fields of the filter have them. */
function binEdges(bin) {
  return [bin, bin + 1].map((edge) => Math.round((edge / (BINS / 2) - 1) * 1000) / 1000);
}

/** Shares of a whole, 0 where there is none. */
function sharesOf(counts, whole) {
  return Array.from(counts, (count) => (whole ? count / whole : 0));
}

/** A length in percent, never so short that something looks like nothing. */
function lengthOf(share, most) {
  return share > 0 ? `max(1.5px, ${(100 * share) / most}%)` : "0";
}

class LabelBars {
  constructor(list, onPick) {
    this.whole = new Uint32Array(LABELS.length);
    for (const label of said.label) if (label >= 0) this.whole[label]++;
    this.shares = sharesOf(this.whole, said.count);
    this.bars = LABELS.map((name, label) => {
      const item = element("li");
      const button = hued(element("button", "bar-row"), data.labelColours[label]);
      button.type = "button";
      button.addEventListener("click", () => onPick(label));
      const track = element("span", "track");
      const all = element("span", "all");
      const some = element("span", "some");
      track.append(all, some);
      const title = element("span", "name", name);
      title.dir = "auto";
      const count = element("span", "count");
      button.append(title, track, count);
      item.append(button);
      list.append(item);
      return { button, all, some, count };
    });
  }

  show(view, labels) {
    const now = new Uint32Array(LABELS.length);
    for (const one of view) if (said.label[one] >= 0) now[said.label[one]]++;
    const chosen = sharesOf(now, view.length);
    const most = Math.max(...this.shares, ...chosen);
    this.bars.forEach(({ button, all, some, count }, label) => {
      all.style.width = lengthOf(this.shares[label], most);
      some.style.width = lengthOf(chosen[label], most);
      const share = view.length ? percent.format(chosen[label]) : "–";
      count.replaceChildren(element("b", "", share), ` ${counted.format(now[label])}`);
      button.setAttribute("aria-pressed", labels.has(label));
      button.title = `${counted.format(this.whole[label])} of all ${counted.format(said.count)}`;
    });
  }
}

class ScoreBars {
  constructor(root, onPick) {
    const whole = new Uint32Array(BINS);
    for (const score of said.score) whole[binOf(score)]++;
    this.shares = sharesOf(whole, said.count);
    this.bars = this.shares.map((_, bin) => {
      const [low, high] = binEdges(bin);
      const button = hued(element("button", "column"), scoreColour((low + high) / 2));
      button.type = "button";
      button.addEventListener("click", () => onPick(low, high));
      const all = element("span", "all");
      const some = element("span", "some");
      button.append(all, some);
      root.append(button);
      return { button, all, some, low, high };
    });
  }

  show(view, low, high) {
    const now = new Uint32Array(BINS);
    for (const one of view) now[binOf(said.score[one])]++;
    const chosen = sharesOf(now, view.length);
    const most = Math.max(...this.shares, ...chosen);
    this.bars.forEach((bar, bin) => {
      bar.all.style.height = lengthOf(this.shares[bin], most);
      bar.some.style.height = lengthOf(chosen[bin], most);
      const span = `${signed(bar.low, 1)} to ${signed(bar.high, 1)}`;
      const text = `${counted.format(now[bin])} utterances with scores ${span}`;
      bar.button.setAttribute("aria-label", text);
      bar.button.title = text;
      bar.button.setAttribute("aria-pressed", bar.low === low && bar.high === high);
    });
  }
}
