/* What both pages share: colours of the page, elements, texts. Runs before anything is shown, so
   that no page flashes white. */
"use strict";

const byId = (id) => document.getElementById(id);

/* Light or dark as the system has it, until the reader presses the button with the id "theme". */
const THEME_KEY = "avsent-theme";
const systemIsDark = matchMedia("(prefers-color-scheme: dark)");

let storage = {}; // for browsers that store nothing for pages opened from a file
try {
  storage = localStorage;
} catch {}

/* Shows the stored theme or that of the system; gives its opposite. */
function showTheme() {
  const stored = ["light", "dark"].find((theme) => theme === storage[THEME_KEY]);
  const theme = stored ?? (systemIsDark.matches ? "dark" : "light");
  const other = theme === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  const button = byId("theme");
  if (button) {
    button.textContent = theme === "dark" ? "☀" : "☾";
    button.title = `Switch to ${other} colours`;
    button.setAttribute("aria-label", button.title);
  }
  return other;
}

showTheme();
systemIsDark.addEventListener("change", showTheme);
document.addEventListener("DOMContentLoaded", () => {
  byId("theme").addEventListener("click", () => {
    storage[THEME_KEY] = showTheme();
    showTheme();
  });
  showTheme();
});

/* --- Elements: whatever comes from the data becomes text, never markup ------------------------- */

/* make("td.number", {onclick: f}, "text", element): classes follow the name; options may be left
   out; children that are null are skipped. draw() does the same for SVG. */
const SVG = "http://www.w3.org/2000/svg";
const make = (tag, ...rest) => furnish(document.createElement(tag.split(".")[0]), tag, rest);
const draw = (tag, ...rest) => furnish(document.createElementNS(SVG, tag.split(".")[0]), tag, rest);

function furnish(element, tag, rest) {
  const [options, ...children] = rest[0]?.constructor === Object ? rest : [{}, ...rest];
  if (element.localName === "button") element.type = "button";
  element.classList.add(...tag.split(".").slice(1));
  set(element, options).append(...children.filter((child) => child !== null));
  return element;
}

/* Attributes; "on…": listeners; "hue": the colour of a label or score; "share": a length. */
function set(element, options) {
  for (const [name, value] of Object.entries(options)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "share") element.style.setProperty("--share", value);
    else if (name === "hue") {
      element.classList.add("hued");
      element.style.setProperty("--c", value);
    } else element.setAttribute(name, value === true ? "" : value);
  }
  return element;
}

/* A label with the swatch of its colour. */
function labelled(label, hue, ...rest) {
  return make("span.label", { hue }, make("span.swatch"), label, ...rest);
}

/* Changes aria-pressed or another state of a button; gives the new one. */
function toggle(button, state = "aria-pressed") {
  const now = button.getAttribute(state) !== "true";
  button.setAttribute(state, now);
  return now;
}

/* Data stands in script elements that no browser runs. */
const readBlock = (id) => JSON.parse(byId(id).textContent);

/* All rows in the order of their keys; NaN comes last in either direction. */
function ordered(keys, down) {
  const sign = down ? -1 : 1;
  return Uint32Array.from(keys.keys()).sort((a, b) => {
    const [x, y] = [keys[a], keys[b]];
    if (x < y) return -sign;
    if (x > y) return sign;
    return Number.isNaN(x) - Number.isNaN(y) || a - b;
  });
}

/* --- Texts ------------------------------------------------------------------------------------- */

/* 0:07.5, 1:02:03.0 */
function clock(seconds) {
  if (Number.isNaN(seconds)) return "–";
  const tenths = Math.round(Math.max(0, seconds) * 10);
  const two = (number) => String(Math.floor(number) % 60).padStart(2, "0");
  const hours = Math.floor(tenths / 36000);
  const start = hours ? `${hours}:${two(tenths / 600)}` : Math.floor(tenths / 600);
  return `${start}:${two(tenths / 10)}.${tenths % 10}`;
}

/* +0.62, −0.08, 0.00: a minus as wide as a digit */
function signed(number, digits = 2) {
  if (Number.isNaN(number)) return "–";
  const text = Math.abs(number).toFixed(digits);
  return Number(text) === 0 ? text : (number < 0 ? "−" : "+") + text;
}

/* 1,234 */
const counted = (number) => number.toLocaleString("en");
