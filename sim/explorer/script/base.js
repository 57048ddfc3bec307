// Elements, numbers and the data. Text reaches the page as text nodes only: what a file says is never markup.

const DATA = JSON.parse(document.getElementById("data").textContent);
const POINTS = DATA.points;
const BY_ID = new Map(POINTS.map((point) => [point.id, point]));
const SVG = "http://www.w3.org/2000/svg";

const byId = (id) => document.getElementById(id);

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

/** An element of HTML; attributes that begin with "on" are listeners. */
const h = (name, attributes, ...children) => fill(document.createElement(name), attributes, children);

/** An element of SVG. */
const s = (name, attributes, ...children) => fill(document.createElementNS(SVG, name), attributes, children);

function say(text) {
  byId("live").textContent = text;
}

const isNumber = (value) => typeof value === "number";

/** Thin spaces between thousands, as in 1 234. */
function grouped(text) {
  const [whole, rest] = text.split(".");
  const spaced = whole.length > 4 ? whole.replace(/\B(?=(\d{3})+$)/g, "\u202f") : whole;
  return (rest === undefined ? spaced : `${spaced}.${rest}`).replace("-", "\u2212");
}

/** A figure in four significant digits, or as many as its whole part has. */
function figure(value) {
  if (!isNumber(value)) return "–";
  if (value === 0 || Number.isInteger(value)) return grouped(String(value));
  const size = Math.abs(value);
  if (size < 1e-4 || size >= 1e9) return value.toExponential(2).replace("-", "\u2212");
  const digits = Math.max(0, 3 - Math.floor(Math.log10(size)));
  return grouped(value.toFixed(digits));
}

/** A figure that somebody chose, as it was chosen: 2.5 and not 2.500. */
const plain = (value) => grouped(String(Number(value.toPrecision(4))));

/** Accuracies and losses in hundredths of a point, everything else in four digits. */
function shown(value, key) {
  if (!isNumber(value)) return "–";
  const name = key.split(":")[0];
  if (name === "accuracy") return value.toFixed(2);
  if (name === "loss") return signed(value);
  return figure(value);
}

const signed = (value) => `${value < 0 ? "\u2212" : value > 0 ? "+" : ""}${Math.abs(value).toFixed(2)}`;

/** What remains of b in a: -37 % where a is 0.63 b. */
function relative(a, b) {
  if (!isNumber(a) || !isNumber(b) || b === 0) return "";
  const percent = 100 * (a / b - 1);
  if (Math.abs(percent) < 0.05) return "±0 %";
  const digits = Math.abs(percent) < 10 ? 1 : 0;
  return `${percent < 0 ? "\u2212" : "+"}${Math.abs(percent).toFixed(digits)} %`;
}

/** Words in the middle of a sentence: energy per MAC. */
const lowered = (text) => text[0].toLowerCase() + text.slice(1);

const plural = (count, one, many = `${one}s`) => `${grouped(String(count))} ${count === 1 ? one : many}`;

const WORDS = {
  kind: { float: "float", fixed: "fixed point", int: "integer", exact: "exact" },
  rounding: { rz: "toward zero", rne: "nearest even", floor: "floor", sr: "stochastic" },
  overflow: { sat: "saturates", wrap: "wraps" },
  offsets: { wired: "wired in", registers: "registers", none: "none" },
  met: { true: "met", false: "missed", none: "no target" },
};

/** The value of a facet in words; rounding to random bits is sr and their number. */
function words(facet, value) {
  const known = WORDS[facet]?.[value];
  if (known) return known;
  if (facet === "rounding" && /^sr\d+$/.test(value)) return `stochastic, ${value.slice(2)} bits`;
  if (facet === "alignment") return value === "none" ? "exact" : `g = ${value}`;
  return value === "none" ? "not said" : value;
}
