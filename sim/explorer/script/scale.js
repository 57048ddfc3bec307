// Scales, their ticks, and the marks of points.

/** 1, 2 or 5 times a power of ten, so that `count` steps or fewer span the range. */
function niceStep(span, count) {
  const rough = span / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough * 0.999);
}

function linearTicks(low, high, count) {
  const step = niceStep(high - low, count);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) ticks.push(i * step);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return ticks.map((value) => [value, grouped((Math.abs(value) < step * 1e-6 ? 0 : value).toFixed(Math.min(digits, 12)))]);
}

function logTicks(low, high, count) {
  const decades = Math.log10(high / low);
  if (decades < 0.7) return linearTicks(low, high, count);
  const factors = decades <= count / 3 ? [1, 2, 5] : [1];
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++)
    for (const factor of factors) {
      const value = Number(`${factor}e${power}`);
      if (value >= low * 0.999 && value <= high * 1.001) ticks.push([value, plain(value)]);
    }
  return ticks.length > 1 ? ticks : linearTicks(low, high, count);
}

/** A scale of a range of values onto pixels, with room at the ends where `pad` is given. */
function makeScale({ low, high, log, from, to, pad = 0, room = [0, 0], count = 6 }) {
  const put = log ? Math.log10 : (value) => value;
  const back = log ? (value) => 10 ** value : (value) => value;
  if (low === high) [low, high] = log ? [low / 1.5, high * 1.5] : [low - (Math.abs(low) * 0.1 || 1), high + (Math.abs(high) * 0.1 || 1)];
  const span = put(high) - put(low);
  const [start, end] = [put(low) - (pad + room[0]) * span, put(high) + (pad + room[1]) * span];
  const scale = (value) => from + ((put(value) - start) / (end - start)) * (to - from);
  scale.invert = (pixel) => back(start + ((pixel - from) / (to - from)) * (end - start));
  scale.domain = [back(start), back(end)];
  scale.ticks = (log ? logTicks : linearTicks)(...scale.domain, count);
  return scale;
}

const SHAPES = {
  circle: "M-4.2,0A4.2,4.2 0 1 0 4.2,0A4.2,4.2 0 1 0 -4.2,0Z",
  square: "M-3.8,-3.8H3.8V3.8H-3.8Z",
  triangle: "M0,-5L4.7,3.6H-4.7Z",
  diamond: "M0,-5.4L5,0L0,5.4L-5,0Z",
  cross: "M-1.6,-4.8H1.6V-1.6H4.8V1.6H1.6V4.8H-1.6V1.6H-4.8V-1.6H-1.6Z",
  down: "M0,5L4.7,-3.6H-4.7Z",
};
const SHAPE_ORDER = ["circle", "square", "triangle", "diamond", "cross", "down"];
const SHAPE_OF = {
  rounding: { rz: "circle", rne: "square", sr: "triangle", floor: "diamond" },
  overflow: { sat: "circle", wrap: "square" },
  kind: { float: "circle", fixed: "square", exact: "diamond", int: "triangle" },
};
const KIND_COLOR = { float: 1, fixed: 2, exact: 3, int: 4 };

/** Values of a facet that occur, in order: numbers by size, words by how they first come. */
function valuesOf(facet) {
  const found = [...new Set(POINTS.map((point) => facetValue(point, facet)))];
  const known = Object.keys(WORDS[facet] ?? {});
  const place = (value) => (known.includes(value) ? known.indexOf(value) : known.length);
  return found.sort((a, b) => place(a) - place(b) || a.localeCompare(b, "en", { numeric: true }));
}

const VALUES = Object.fromEntries([...FACETS.map(([facet]) => facet), "technology"].map((facet) => [facet, valuesOf(facet)]));

/** The name of the mark of a facet's value: values beyond the sixth share the last. */
function shapeName(facet, value) {
  if (facet === "none") return "circle";
  const base = facet === "rounding" ? value.replace(/^sr\d+$/, "sr") : value;
  return SHAPE_OF[facet]?.[base] ?? SHAPE_ORDER[Math.min(Math.max(VALUES[facet].indexOf(value), 0), SHAPE_ORDER.length - 1)];
}

/** The style sheet's colour of a facet's value: values beyond the eighth share the last. */
function colorName(facet, value) {
  const place = facet === "kind" ? (KIND_COLOR[value] ?? 8) : Math.min(VALUES[facet].indexOf(value) + 1, 8);
  return `var(--c${place})`;
}

const pointColor = (point) => colorName(state.color, facetValue(point, state.color));
const pointShape = (point) => SHAPES[shapeName(state.shape, facetValue(point, state.shape))];

/** A small mark in a line of text. */
function glyph(shape, color, open = false) {
  return s("svg", { class: open ? "glyph open" : "glyph", viewBox: "-7 -7 14 14", "aria-hidden": "true", style: `--c:${color}` },
    s("path", { d: SHAPES[shape] }));
}
