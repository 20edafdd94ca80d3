// The columns of both tables: how a cell is made once, and filled whenever its row is another one.

/** `0:07.5`, `1:02:03.0`, as everywhere in avsent. */
function clock(seconds) {
  if (Number.isNaN(seconds)) return "–";
  const tenths = Math.round(seconds * 10);
  const minutes = Math.floor(tenths / 600);
  const rest = `${String(Math.floor((tenths % 600) / 10)).padStart(2, "0")}.${tenths % 10}`;
  const hours = Math.floor(minutes / 60);
  return hours ? `${hours}:${String(minutes % 60).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

/** A text from outside: on one line, in its own direction, whole when pointed at. */
function put(cell, text) {
  if (cell.textContent !== text) {
    cell.textContent = text;
    cell.title = text;
  }
}

/** A name of which the end is seen before its folders are. */
const nameParts = {
  make(cell) {
    cell.folder = element("span", "folder");
    cell.last = element("span", "last");
    cell.folder.dir = cell.last.dir = "auto";
    cell.append(cell.folder, cell.last);
  },
  put(cell, name) {
    if (cell.title === name) return;
    const cut = name.lastIndexOf("/") + 1;
    cell.folder.textContent = name.slice(0, cut);
    cell.last.textContent = name.slice(cut);
    cell.title = name;
  },
};

/** A score as a number and a bar that begins at zero. */
const scoreBar = {
  make(cell) {
    cell.bar = element("span", "diverging");
    cell.fillBar = element("span", "");
    cell.figure = element("span", "figure");
    cell.bar.setAttribute("aria-hidden", "true");
    cell.bar.append(cell.fillBar);
    cell.append(cell.bar, cell.figure);
  },
  put(cell, score) {
    const known = !Number.isNaN(score);
    cell.figure.textContent = signed(score);
    cell.bar.hidden = !known;
    if (!known) return;
    hued(cell.fillBar, scoreColour(score));
    cell.fillBar.style.left = `${50 + 50 * Math.min(0, score)}%`;
    cell.fillBar.style.width = `${50 * Math.abs(score)}%`;
  },
};

/** Links to the page and the result of a file; `anchor`: what is added to the page's address. */
const links = {
  make(cell) {
    cell.page = element("a", "", "page");
    cell.result = element("a", "", "result");
    cell.append(cell.page, " ", cell.result);
  },
  put(cell, file, anchor = "") {
    const address = files.page[file]; // of one utterance, the page shows more than the result
    cell.page.hidden = !address;
    if (address) cell.page.href = address + anchor;
    cell.result.hidden = !files.result[file] || (address && anchor !== "");
    if (files.result[file]) cell.result.href = files.result[file];
    cell.page.setAttribute("aria-label", `page of ${files.name[file]}`);
    cell.result.setAttribute("aria-label", `result of ${files.name[file]}`);
  },
};

/** How large a share of a file's utterances each label has; why there are none in one that failed. */
const shares = {
  make(cell) {
    cell.stack = element("span", "stack");
    cell.parts = LABELS.map((_, label) => hued(element("span"), data.labelColours[label]));
    cell.stack.append(...cell.parts);
    cell.reason = element("span", "reason");
    cell.reason.dir = "auto";
    cell.append(cell.stack, cell.reason);
  },
  fill(cell, file) {
    const all = files.said[file];
    cell.stack.hidden = !all;
    cell.reason.hidden = all > 0;
    cell.reason.textContent = "";
    if (all) {
      const counts = LABELS.map((_, label) => files.labels[file * LABELS.length + label]);
      cell.parts.forEach((part, label) => { part.style.flexGrow = counts[label]; });
      const told = LABELS.map((name, label) => `${name} ${counts[label]}`).join(", ");
      cell.title = told;
      cell.stack.setAttribute("role", "img");
      cell.stack.setAttribute("aria-label", told);
    } else {
      const done = files.state[file] === "done";
      cell.reason.textContent = done ? "no utterances" : files.error[file] || files.state[file];
      cell.reason.classList.toggle("failed", files.state[file] === "failed");
      cell.title = cell.reason.textContent;
    }
  },
};

function fileRemarks(file) {
  const own = files.remarks[file].map((remark) => data.remarks[remark]);
  const inside = files.warnings[file] - own.length;
  if (inside) own.push(`${counted.format(inside)} in utterances`);
  return own.join("; ");
}

function numbered(key, title, hint, text) {
  return { key, title, hint, kind: `number ${key}`, fill: (cell, row) => put(cell, text(row)) };
}

function fileColumns() {
  const columns = [
    {
      key: "name", title: "File", kind: "name", make: nameParts.make,
      fill: (cell, file) => nameParts.put(cell, files.name[file]),
    },
    numbered("duration", "Duration", "", (file) => clock(files.duration[file])),
    numbered("said", "Utterances", "", (file) =>
      files.state[file] === "done" ? counted.format(files.said[file]) : "–"),
    {
      key: "labels", title: "Sentiments", kind: "shares",
      hint: LABELS.length ? `Sort by the share of ${LABELS[LABELS.length - 1]}` : "",
      make: shares.make, fill: shares.fill,
    },
    {
      key: "mean", title: "Mean score", kind: "number score", make: scoreBar.make,
      fill: (cell, file) => scoreBar.put(cell, files.mean[file]),
    },
    {
      key: "warnings", title: "Warnings", kind: "remarks number-first",
      fill: (cell, file) => put(cell, fileRemarks(file)),
    },
    {
      title: "Open", kind: "links", make: links.make,
      fill: (cell, file) => links.put(cell, file),
    },
  ];
  return columns;
}

function saidColumns() {
  const columns = [
    {
      key: "file", title: "File", kind: "name", make: nameParts.make,
      fill: (cell, one) => nameParts.put(cell, files.name[said.file[one]]),
    },
    numbered("place", "#", "Its number in the file, from 1", (one) => String(said.place[one])),
    numbered("start", "Start", "", (one) => clock(said.start[one])),
    numbered("length", "Length", "", (one) => `${said.length[one].toFixed(1)} s`),
    {
      key: "label", title: "Sentiment", kind: "label",
      make(cell) {
        cell.swatch = element("span", "swatch");
        cell.name = element("span", "");
        cell.append(cell.swatch, cell.name);
      },
      fill(cell, one) {
        const label = said.label[one];
        hued(cell.swatch, data.labelColours[label] ?? "#888888");
        cell.name.textContent = LABELS[label] ?? "–";
      },
    },
    {
      key: "score", title: "Score", kind: "number score", make: scoreBar.make,
      fill: (cell, one) => scoreBar.put(cell, said.score[one]),
    },
    numbered("certainty", "Probability", "Of this sentiment, as the model has it", (one) =>
      Number.isNaN(said.certainty[one]) ? "–" : percent.format(said.certainty[one])),
    {
      key: "remark", title: "Warnings", kind: "remarks",
      fill: (cell, one) => put(cell, data.remarks[said.remark[one]] ?? ""),
    },
    {
      title: "Open", kind: "links", make: links.make,
      fill: (cell, one) => links.put(cell, said.file[one], `#u${said.place[one]}`),
    },
  ];
  if (said.text) {
    columns.splice(4, 0, {
      key: "text", title: "Text", kind: "text",
      make: (cell) => { cell.dir = "auto"; },
      fill: (cell, one) => put(cell, said.text[one]),
    });
  }
  return columns;
}
