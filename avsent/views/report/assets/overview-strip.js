// The mean score of each file, from the lowest to the highest, as bars on a canvas.

const WIDEST_BAR = 28;
const TIGHT = 4; // below so many pixels bars stand without a gap

class Strip {
  constructor(canvas, tip, range, onPick) {
    Object.assign(this, { canvas, tip });
    this.order = ordered(files.mean, false).filter((file) => !Number.isNaN(files.mean[file]));
    const ends = [this.order[0], this.order[this.order.length - 1]];
    const shown = ends.map((file) => (file === undefined ? "–" : signed(files.mean[file])));
    // A round number that all bars stay within.
    const most = Math.max(0, ...this.order.map((file) => Math.abs(files.mean[file] * 1e6))) / 1e6;
    this.reach = Math.min(1, Math.max(0.1, Math.ceil(most * 10) / 10));
    range.textContent = this.order.length
      ? `${counted.format(this.order.length)} files, lowest ${shown[0]}, highest ${shown[1]}`
      : "No file has utterances";
    canvas.setAttribute("aria-label", `${range.textContent}; the table of files has each`);
    canvas.addEventListener("pointermove", (event) => this.point(event));
    canvas.addEventListener("pointerleave", () => this.point(null));
    canvas.addEventListener("click", (event) => {
      const file = this.at(event);
      if (file !== undefined) onPick(file);
    });
    this.chosen = -1;
    new ResizeObserver(() => this.draw()).observe(canvas);
    new MutationObserver(() => this.draw()).observe(document.documentElement, {
      attributeFilter: ["data-theme"],
    });
  }

  show(chosen) {
    if (this.chosen === chosen) return;
    this.chosen = chosen;
    this.draw();
  }

  /** Width of a bar, and where the first one begins. */
  layout() {
    const width = this.canvas.clientWidth;
    const bar = Math.min(WIDEST_BAR, width / Math.max(1, this.order.length));
    return { width, bar, left: (width - bar * this.order.length) / 2 };
  }

  draw() {
    const { canvas, order } = this;
    const { width, bar, left } = this.layout();
    const height = canvas.clientHeight;
    const scale = devicePixelRatio;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    const colours = this.colours();
    const middle = height / 2;
    const unit = (middle - 2) / this.reach;
    const gap = bar >= TIGHT ? 1 : 0;
    // Where there are more files than pixels, each pixel has the one in its middle.
    const steps = bar < 1 ? Math.floor(width) : order.length;
    const step = bar < 1 ? 1 : bar;
    for (let place = 0; place < steps; place++) {
      const file = order[bar < 1 ? Math.floor(((place + 0.5) / steps) * order.length) : place];
      const mean = files.mean[file];
      const size = Math.max(1, Math.abs(mean) * unit);
      pen.globalAlpha = this.chosen < 0 || this.chosen === file ? 1 : 0.35;
      pen.fillStyle = colours.of(mean);
      pen.fillRect(left + place * step, mean < 0 ? middle : middle - size, step - gap || step, size);
    }
    pen.globalAlpha = 1;
    pen.fillStyle = colours.line;
    pen.fillRect(0, Math.round(middle), width, 1);
    pen.fillStyle = colours.ink;
    pen.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    pen.fillText(signed(this.reach, 1), 0, 10);
    pen.textAlign = "right";
    pen.fillText(signed(-this.reach, 1), width, height - 3);
    this.mark(pen, left, bar, height, colours.ink);
  }

  /** A tick under the chosen file, which may be too thin to be seen. */
  mark(pen, left, bar, height, ink) {
    const place = this.order.indexOf(this.chosen);
    if (place < 0) return;
    const middle = left + (place + 0.5) * bar;
    pen.fillStyle = ink;
    pen.fillRect(middle - 0.75, 0, 1.5, height);
  }

  /** The colours of scores as they are on this ground. */
  colours() {
    const probe = element("span", "probe");
    this.canvas.after(probe);
    const real = data.scoreColours.map((colour) => {
      hued(probe, colour);
      return getComputedStyle(probe).backgroundColor;
    });
    const style = getComputedStyle(this.canvas);
    probe.remove();
    return {
      of: (score) => real[scoreShade(score)],
      line: style.borderTopColor,
      ink: style.color,
    };
  }

  at(event) {
    const { bar, left } = this.layout();
    const x = event.clientX - this.canvas.getBoundingClientRect().left;
    return this.order[Math.floor((x - left) / bar)];
  }

  point(event) {
    const file = event ? this.at(event) : undefined;
    this.tip.hidden = file === undefined;
    if (file === undefined) return;
    this.tip.replaceChildren(
      element("b", "", signed(files.mean[file])),
      " ",
      Object.assign(element("span", "", files.name[file]), { dir: "auto" }),
    );
    const x = event.clientX - this.canvas.getBoundingClientRect().left;
    const room = this.canvas.clientWidth - this.tip.offsetWidth;
    this.tip.style.left = `${Math.max(0, Math.min(room, x - this.tip.offsetWidth / 2))}px`;
  }
}
