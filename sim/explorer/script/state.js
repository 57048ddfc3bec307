// What is looked at: one object, written to the address after every change, and what follows from it.

const FACETS = [
  ["kind", "Kind"],
  ["rounding", "Rounding"],
  ["overflow", "Overflow"],
  ["alignment", "Alignment"],
  ["offsets", "Exponent offsets"],
  ["stages", "Pipeline stages"],
  ["met", "Clock target"],
  ["chunk", "Chunk"],
  ["operands", "Operands"],
  ["product", "Product"],
];
const ALL = "*";
const LIMITS = [0.1, 0.5, 1];
const CLOCKLESS = "relaxed";

/** A facet's value of a point, as text: null is a value, too. */
const facetValue = (point, facet) => String(point[facet] ?? "none");
const clockOf = (point) => (isNumber(point.clock_ns) ? String(point.clock_ns) : CLOCKLESS);
const techOf = (point) => point.technology ?? "none";

const NETWORKS = DATA.networks;
const AXES = [
  ...DATA.axes,
  ...(NETWORKS.length < 2
    ? []
    : NETWORKS.flatMap((name) => [
        { ...DATA.axes.find((axis) => axis.key === "accuracy"), key: `accuracy:${name}`, label: `Accuracy, ${name}` },
        { ...DATA.axes.find((axis) => axis.key === "loss"), key: `loss:${name}`, label: `Accuracy lost, ${name}` },
      ]).concat({ ...DATA.axes.find((axis) => axis.key === "loss"), key: `loss:${ALL}`, label: "Accuracy lost, worst network" })),
].filter((axis) => POINTS.some((point) => (axis.key in { accuracy: 1, loss: 1 } ? point[axis.key] : true) && hasAxis(point, axis.key)));
const AXIS = new Map(AXES.map((axis) => [axis.key, axis]));

function hasAxis(point, key) {
  const [field, network] = key.split(":");
  if (field !== "accuracy" && field !== "loss") return isNumber(point[key]);
  const found = point[field] ?? {};
  if (network === ALL) return worstLoss(point) !== null;
  return network === undefined ? Object.values(found).some(isNumber) : isNumber(found[network]);
}

const WIDTHS = POINTS.map((point) => point.bits).filter(isNumber);
const NARROWEST = WIDTHS.length ? Math.min(...WIDTHS) : 0;
const WIDEST = WIDTHS.length ? Math.max(...WIDTHS) : 0;

const firstAxis = (...keys) => keys.find((key) => AXIS.has(key)) ?? AXES[0]?.key ?? "bits";

function defaults() {
  const { network, technology, clock_ns } = DATA.view;
  const x = firstAxis("um2", "nand2", "energy_pj", "bits");
  const y = firstAxis("accuracy", "loss", ...["energy_pj", "delay_ns", "fmax_mhz", "bits"].filter((key) => key !== x));
  const start = {
    x,
    y,
    lx: AXIS.get(x)?.log ?? false,
    ly: AXIS.get(y)?.log ?? false,
    net: network ?? "",
    tech: technology ?? "none",
    clock: isNumber(clock_ns) ? String(clock_ns) : CLOCKLESS,
    off: {},
    lo: NARROWEST,
    hi: WIDEST,
    q: "",
    loss: 0,
    every: NETWORKS.length > 1, // whether a loss is limited on every network, or on the one that is looked at
    view: null, // null: what matters; "all": everything; [x0, x1, y0, y1]: a rectangle
    pins: [],
    tab: "front",
    rows: "front",
    sort: "",
    bars: "front",
    color: "kind",
    shape: "rounding",
    names: true,
    theme: "",
  };
  const here = POINTS.filter((point) => techOf(point) === start.tech && clockOf(point) === start.clock);
  // Designs that miss their clock are no answer to a question at that clock, unless there is no other.
  if (here.some((point) => point.met !== false) && POINTS.some((point) => point.met === false)) start.off.met = ["false"];
  return start;
}

const DEFAULTS = defaults();
let state = structuredClone(DEFAULTS);

/** The point's figure on an axis, or null. */
function valueOf(point, key) {
  const [field, network = state.net] = key.split(":");
  if (network === ALL) return worstLoss(point);
  const found = field === "accuracy" || field === "loss" ? point[field]?.[network] : point[key];
  return isNumber(found) ? found : null;
}

/** A test of points, leaving one facet out where its own counts are wanted. */
function filterTest(but = null) {
  const terms = state.q.toLowerCase().split(/\s+/).filter(Boolean);
  const off = Object.entries(state.off).filter(([facet, values]) => facet !== but && values.length);
  const anyWidth = state.lo <= NARROWEST && state.hi >= WIDEST;
  return (point) =>
    (but === "tech" || state.tech === ALL || techOf(point) === state.tech) &&
    (but === "clock" || state.clock === ALL || clockOf(point) === state.clock) &&
    (anyWidth || (isNumber(point.bits) && point.bits >= state.lo && point.bits <= state.hi)) &&
    off.every(([facet, values]) => !values.includes(facetValue(point, facet))) &&
    (!terms.length || terms.every((term) => nameOf(point).includes(term)));
}

/** Designs of one name, in one technology at one clock, are told apart by their stages, then by their chunks. */
const TELLING = [["stages", "s"], ["chunk", "c"]];
const NAMESAKES = new Map();
const placeName = (point) => [point.label, techOf(point), clockOf(point)].join("\n");
for (const point of POINTS) NAMESAKES.set(placeName(point), [...(NAMESAKES.get(placeName(point)) ?? []), point]);
const differ = (points, field) => new Set(points.map((point) => point[field])).size > 1;
const FULL_NAMES = new Map(POINTS.map((point) => {
  const marks = TELLING.filter(([field]) => isNumber(point[field]) && differ(NAMESAKES.get(placeName(point)), field));
  return [point.id, [point.label, ...marks.map(([field, letter]) => letter + point[field])].join(" ")];
}));
const fullName = (point) => FULL_NAMES.get(point.id);

const nameOf = (point) => `${point.label} ${point.config ?? ""} ${point.silicon ?? ""}`.toLowerCase();

/** Points that pass the filters, whether or not they have the figures of the axes. */
const passing = () => POINTS.filter(filterTest());

/** Why a point cannot be drawn on an axis, or "". */
function unfit(point, key, log) {
  const value = valueOf(point, key);
  return value === null ? "absent" : log && value <= 0 ? "not positive" : "";
}

const drawable = (point) => !unfit(point, state.x, state.lx) && !unfit(point, state.y, state.ly);

/** Points that none of the others matches in both figures and beats in one, from the least x on. */
function paretoFront(points) {
  const [bx, by] = [state.x, state.y].map((key) => AXIS.get(key).better);
  const sorted = points
    .map((point) => [bx * valueOf(point, state.x), by * valueOf(point, state.y), point])
    .sort((a, b) => b[0] - a[0] || b[1] - a[1]);
  const front = [];
  let best = -Infinity;
  for (let i = 0; i < sorted.length; ) {
    const [x, y] = sorted[i];
    let j = i;
    for (; j < sorted.length && sorted[j][0] === x; j++)
      if (sorted[j][1] === y && y > best) front.push(sorted[j][2]);
    best = Math.max(best, y);
    i = j;
  }
  return front.sort((a, b) => valueOf(a, state.x) - valueOf(b, state.x) || by * (valueOf(a, state.y) - valueOf(b, state.y)));
}

/** The axis of cost by which the best design is picked: the one that is plotted, or else area. */
function costAxis() {
  const costs = AXES.filter((axis) => !/^(accuracy|loss|bits)/.test(axis.key)).map((axis) => axis.key);
  return AXIS.get([state.x, state.y, "um2", "nand2", ...costs].find((key) => costs.includes(key)));
}

/** Points lost on the network that loses most; null where one of them is not known. */
function worstLoss(point) {
  const losses = NETWORKS.map((name) => point.loss?.[name]);
  return losses.length && losses.every(isNumber) ? Math.max(...losses) : null;
}

/** The loss that is held against the limit. */
const limitedLoss = (point) => (state.every ? worstLoss(point) : valueOf(point, "loss"));

/** Whether a loss is within a limit: one image in a thousand is 0.1 points, give or take a bit of a float64. */
const within = (loss, limit) => loss !== null && loss <= limit + 1e-9;

/** Among the points, the one that costs least while it loses at most `limit` points; null where none does. */
function bestWithin(points, limit) {
  const axis = costAxis();
  if (!axis) return null;
  const enough = points.filter((point) => within(limitedLoss(point), limit) && valueOf(point, axis.key) !== null);
  const order = (a, b) =>
    axis.better * (valueOf(b, axis.key) - valueOf(a, axis.key)) || limitedLoss(a) - limitedLoss(b);
  return enough.sort(order)[0] ?? null;
}

/** The cheapest 32-bit float accumulator at the same clock in the same technology, under the same operands if
    there is one; filters do not matter to it. */
function float32Design(point) {
  const axis = costAxis();
  const rivals = POINTS.filter(
    (each) =>
      each.kind === "float" && each.bits === 32 && each.met !== false &&
      techOf(each) === techOf(point) && clockOf(each) === clockOf(point) && isNumber(each[axis?.key]),
  );
  const alike = rivals.filter((each) => each.operands === point.operands);
  return (alike.length ? alike : rivals).sort((a, b) => axis.better * (b[axis.key] - a[axis.key]))[0] ?? null;
}

const PLAIN = ["x", "y", "net", "tech", "clock", "q", "tab", "rows", "sort", "bars", "color", "shape", "theme"];
const FLAGS = ["lx", "ly", "names", "every"];
const list = (values) => values.map(encodeURIComponent).join(",");
const unlist = (text) => text.split(",").filter(Boolean).map(decodeURIComponent);

/** The state as an address; what is as it was at first is not in it. */
function toHash() {
  const query = new URLSearchParams();
  for (const key of PLAIN) if (state[key] !== DEFAULTS[key]) query.set(key, state[key]);
  for (const key of FLAGS) if (state[key] !== DEFAULTS[key]) query.set(key, state[key] ? "1" : "0");
  if (state.lo !== NARROWEST || state.hi !== WIDEST) query.set("bits", `${state.lo}-${state.hi}`);
  if (state.loss) query.set("loss", state.loss);
  if (state.view) query.set("view", state.view === "all" ? "all" : state.view.map((edge) => +edge.toPrecision(6)).join(","));
  if (state.pins.length) query.set("pin", list(state.pins));
  for (const [facet] of FACETS) {
    const [now, first] = [state.off[facet] ?? [], DEFAULTS.off[facet] ?? []];
    if (list(now) !== list(first)) query.set(`-${facet}`, list(now));
  }
  return query.toString();
}

/** The state of an address; what it asks for and is not here is left as it was at first. */
function fromHash(text) {
  const query = new URLSearchParams(text);
  const found = structuredClone(DEFAULTS);
  const allowed = {
    x: AXIS, y: AXIS, net: new Set(NETWORKS),
    tech: new Set([ALL, ...POINTS.map(techOf)]), clock: new Set([ALL, ...POINTS.map(clockOf)]),
    tab: new Set(TABS.map(([key]) => key)), rows: new Set(["front", "all"]), bars: new Set(["front", "pinned"]),
    color: new Set(COLOR_BY), shape: new Set(SHAPE_BY), theme: new Set(["", "light", "dark"]),
  };
  for (const key of PLAIN) {
    const value = query.get(key);
    if (value !== null && (allowed[key]?.has(value) ?? true)) found[key] = value;
  }
  for (const key of FLAGS) if (query.has(key)) found[key] = query.get(key) === "1";
  const bits = /^(\d+)-(\d+)$/.exec(query.get("bits") ?? "");
  if (bits) [found.lo, found.hi] = [Number(bits[1]), Number(bits[2])];
  const loss = Number(query.get("loss"));
  if (LIMITS.includes(loss)) found.loss = loss;
  const view = query.get("view");
  const edges = (view ?? "").split(",").map(Number);
  if (view === "all") found.view = "all";
  else if (edges.length === 4 && edges.every(Number.isFinite) && edges[0] < edges[1] && edges[2] < edges[3]) found.view = edges;
  found.pins = [...new Set(safely(query.get("pin")))].filter((id) => BY_ID.has(id)).slice(0, MOST_PINS);
  for (const [facet] of FACETS) if (query.has(`-${facet}`)) found.off[facet] = safely(query.get(`-${facet}`));
  return found;
}

function safely(text) {
  try {
    return unlist(text ?? "");
  } catch {
    return []; // a link that somebody cut in the middle of a character
  }
}

const MOST_PINS = 8;
const LETTERS = "ABCDEFGH";
const COLOR_BY = ["kind", "rounding", "operands", "offsets", "stages", "technology"];
const SHAPE_BY = ["rounding", "overflow", "alignment", "offsets", "kind", "none"];
const TABS = [["front", "Table"], ["compare", "Compare"], ["bars", "Breakdown"], ["width", "Width"], ["about", "About"]];
