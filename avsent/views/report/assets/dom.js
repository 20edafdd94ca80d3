/* Elements and texts. Whatever comes from the data becomes text, never markup. */

const SVG = "http://www.w3.org/2000/svg";
const calm = matchMedia("(prefers-reduced-motion: reduce)");

const byId = (id) => document.getElementById(id);

/* make("td", {class: "number", onclick: f}, "text", otherElement) */
function make(tag, options = {}, ...children) {
  return furnish(document.createElement(tag), options, children);
}

function draw(tag, options = {}, ...children) {
  return furnish(document.createElementNS(SVG, tag), options, children);
}

function furnish(element, options, children) {
  for (const [name, value] of Object.entries(options)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "hue") element.style.setProperty("--c", value);
    else if (name === "share") element.style.setProperty("--share", value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function attributes(element, values) {
  for (const [name, value] of Object.entries(values)) element.setAttribute(name, value);
}

/* Data stands in script elements that no browser runs; a part is read when it is wanted. */
function readBlock(id) {
  const block = byId(id);
  return block ? JSON.parse(block.textContent) : null;
}

/* 0:07.5, 1:02:03.0 */
function clock(seconds) {
  const tenths = Math.round(Math.max(0, seconds) * 10);
  const hours = Math.floor(tenths / 36000);
  const minutes = Math.floor(tenths / 600) % 60;
  const rest = `${String(Math.floor(tenths / 10) % 60).padStart(2, "0")}.${tenths % 10}`;
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

/* Never 0: lengths divide. */
function lengthOf(one) {
  return Math.max(one.end - one.start, 0.001);
}

/* +0.62, −0.08, 0.00: a sign that is as wide as a digit */
function signed(number) {
  const text = Math.abs(number).toFixed(2);
  if (text === "0.00") return text;
  return (number < 0 ? "−" : "+") + text;
}

function percent(share, digits = 0) {
  return `${(100 * share).toFixed(digits)} %`;
}

function plural(count, word) {
  return `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
}

/* The name at the end of a path, of whatever system. */
function baseName(path) {
  return path.split(/[\\/]/).filter(Boolean).pop() ?? path;
}
