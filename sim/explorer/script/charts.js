// What a design consists of, and accuracy over width.

/** Components of all designs in the order in which the export has them; each keeps its colour. */
const PART_NAMES = (() => {
  const names = [];
  const lists = POINTS.flatMap((point) => [Object.keys(point.parts_um2 ?? {}), Object.keys(point.parts_pj ?? {}), Object.keys(point.critical_ns ?? {})]);
  for (const found of lists.sort((a, b) => b.length - a.length))
    found.forEach((name, i) => {
      if (names.includes(name)) return;
      const after = names.indexOf(found[i - 1]);
      names.splice(i ? after + 1 : 0, 0, name);
    });
  return names;
})();
const partColor = (name) => `var(--p${(PART_NAMES.indexOf(name) % 14) + 1})`;
const partWords = (name) => name.replaceAll("_", " ");
const PARTS_OF = {
  parts_um2: ["Area by component", "µm²", "um2", "area"],
  parts_pj: ["Energy by component", "pJ per MAC", "energy_pj", "energy"],
  critical_ns: ["Critical path by component", "ns", "delay_ns", "critical path"],
};

const PART_FIELDS = Object.keys(PARTS_OF).filter((field) => POINTS.some((point) => Object.keys(point[field] ?? {}).length));

/** A design's parts as [name, figure], the absent and the negative left out; null where there is none. */
function partsOf(point, field) {
  const parts = PART_NAMES.map((name) => [name, point[field]?.[name]]).filter(([, value]) => isNumber(value) && value > 0);
  return parts.length ? parts : null;
}

function stackedBars(points, field, { small = false } = {}) {
  const [, unit, wholeKey] = PARTS_OF[field];
  const sum = (point) => partsOf(point, field).reduce((total, [, value]) => total + value, 0);
  const longest = Math.max(...points.map((point) => Math.max(sum(point), point[wholeKey] ?? 0)));
  const used = PART_NAMES.filter((name) => points.some((point) => (point[field]?.[name] ?? 0) > 0));
  const rows = points.map((point) => {
    const whole = isNumber(point[wholeKey]) ? point[wholeKey] : sum(point);
    return h("div", { class: "bar-row" },
      small ? null : h("button", { type: "button", class: "link bar-name", title: fullName(point), "aria-label": `Pin or unpin ${fullName(point)}`, onclick: () => togglePin(point.id) },
        state.pins.includes(point.id) ? h("b", { class: "letter" }, LETTERS[state.pins.indexOf(point.id)]) : null, fullName(point)),
      h("div", { class: "track", role: "img", "aria-label": `${point.label}: ${partsOf(point, field).map(([name, value]) => `${partWords(name)} ${figure(value)}`).join(", ")} ${unit}` },
        partsOf(point, field).map(([name, value]) => h("span", { class: "part", style: `width:${((100 * value) / longest).toFixed(3)}%;background:${partColor(name)}`,
          onpointermove: (event) => showTip([h("strong", null, partWords(name)), h("div", null, `${figure(value)} ${unit}, ${((100 * value) / sum(point)).toFixed(0)} %`), h("div", { class: "faint" }, point.label)], event.clientX, event.clientY),
          onpointerleave: hideTip })),
        isNumber(point[wholeKey]) ? h("span", { class: "whole", style: `left:${((100 * point[wholeKey]) / longest).toFixed(3)}%` }) : null),
      small ? null : h("span", { class: "bar-total" }, figure(whole)));
  });
  const legend = small
    ? h("ul", { class: "part-list" }, partsOf(points[0], field).map(([name, value]) => h("li", null, h("i", { style: `background:${partColor(name)}` }), partWords(name), h("span", { class: "num" }, figure(value)), h("span", { class: "faint num" }, `${((100 * value) / sum(points[0])).toFixed(0)} %`))))
    : h("ul", { class: "part-legend" }, used.map((name) => h("li", null, h("i", { style: `background:${partColor(name)}` }), partWords(name))), h("li", null, h("i", { class: "whole-key" }), { parts_um2: "the whole, mapped flat", parts_pj: "the whole, measured flat", critical_ns: "the delay" }[field]));
  return [h("div", { class: small ? "bars small" : "bars" }, rows), legend];
}

function barsFigure(points, field) {
  const [title, unit, , noun] = PARTS_OF[field];
  const there = points.filter((point) => partsOf(point, field));
  const absent = points.length - there.length;
  return h("figure", { class: "bars-figure", "data-field": field },
    h("figcaption", null, h("strong", null, title), ` (${unit})`),
    there.length ? stackedBars(there, field) : null,
    absent ? h("p", { class: "faint" }, there.length ? `${plural(absent, "design has", "designs have")} no ${noun} by component.` : `This export has no ${noun} by component for ${absent === 1 ? "it" : "them"}.`) : null,
    there.length ? asTable(there, field) : null);
}

const allBars = (points) => h("div", { class: "pair" }, (PART_FIELDS.length ? PART_FIELDS : ["parts_um2", "parts_pj"]).map((field) => barsFigure(points, field)));

function asTable(points, field) {
  const used = PART_NAMES.filter((name) => points.some((point) => isNumber(point[field]?.[name])));
  return h("details", { class: "as-table" }, h("summary", null, "As a table"),
    h("div", { class: "wide" }, h("table", null, h("thead", null, h("tr", null, h("th", { scope: "col" }, "Design"), used.map((name) => h("th", { scope: "col", class: "num" }, partWords(name))))),
      h("tbody", null, points.map((point) => h("tr", null, h("th", { scope: "row" }, fullName(point)), used.map((name) => h("td", { class: "num" }, figure(point[field]?.[name]))))))))); 
}

function barsView() {
  const choice = segmented("bars", [["front", `The front (${plot.front.length})`], ["pinned", `Pinned (${state.pins.length})`]]);
  const points = state.bars === "front" ? plot.front : state.pins.map((id) => BY_ID.get(id));
  return [h("div", { class: "panel-head" }, choice, h("span", { class: "faint" }, state.bars === "front" ? `The front of ${nounOf(state.y)} against ${nounOf(state.x)}` : "In the order in which they were pinned")),
    points.length ? allBars(points) : h("p", { class: "faint" }, "No design is pinned.")];
}

/** The curve a design belongs to. */
const familyFacets = (point) => (point.kind === "exact" ? ["kind"] : ["kind", "rounding", ...(point.overflow === "wrap" ? ["overflow"] : [])]);
const familyOf = (point) => familyFacets(point).map((facet) => String(VALUES[facet].indexOf(facetValue(point, facet)))).join(" ");

/** Per family and width, the design with the best accuracy on a network: [[family, [point, ...]], ...]. */
function curvesOf(points, network) {
  const families = new Map();
  for (const point of points) {
    const value = point.accuracy?.[network];
    if (!isNumber(value) || !isNumber(point.bits)) continue;
    const family = families.get(familyOf(point)) ?? families.set(familyOf(point), new Map()).get(familyOf(point));
    const rival = family.get(point.bits);
    if (!rival || value > rival.accuracy[network]) family.set(point.bits, point);
  }
  return [...families].sort(([a], [b]) => a.localeCompare(b, "en", { numeric: true })).map(([name, best]) => [name, [...best.values()].sort((a, b) => a.bits - b.bits)]);
}

function widthView(points) {
  const networks = NETWORKS.filter((name) => points.some((point) => isNumber(point.accuracy?.[name]) && isNumber(point.bits)));
  if (!networks.length) return h("p", { class: "faint" }, "None of the designs shown has an accuracy and a width.");
  const families = new Map(networks.flatMap((name) => curvesOf(points, name)).map(([name, [first]]) => [name, first]).sort(([a], [b]) => a.localeCompare(b, "en", { numeric: true })));
  return [
    h("p", { class: "faint" }, `The best accuracy at each width among the designs that pass the filters, a curve for each kind and rounding${state.view === "all" ? "" : `; more than ${MATTERS} points below the best is left out`}.`),
    h("div", { class: "panels" }, networks.map((name) => widthPanel(points, name))),
    h("ul", { class: "curve-legend" }, [...families.values()].map((point) => h("li", null,
      s("svg", { class: "curve-key", viewBox: "0 0 30 14", "aria-hidden": "true", style: `--c:${colorName("kind", facetValue(point, "kind"))}` },
        s("path", { class: dashOf(point), d: "M1,7H29" }), s("path", { class: "dot", transform: "translate(15,7)scale(.8)", d: SHAPES[shapeName("rounding", facetValue(point, "rounding"))] })),
      familyFacets(point).map((facet) => words(facet, facetValue(point, facet))).join(", ")))),
    widthTable(points, networks),
  ];
}

const dashOf = (point) => (point.overflow === "wrap" ? "curve dashed" : point.rounding === "rne" ? "curve dotted" : "curve");

function widthPanel(points, network) {
  const curves = curvesOf(points, network);
  const all = curves.flatMap(([, members]) => members);
  const values = all.map((point) => point.accuracy[network]);
  const [low, high] = state.view === "all" ? [Math.min(...values), Math.max(...values)] : matters(values, "accuracy");
  const [width, height, left, right, top, bottom] = [350, 240, 40, 340, 26, 206];
  const widths = all.map((point) => point.bits);
  const sx = makeScale({ low: Math.min(...widths), high: Math.max(...widths), from: left, to: right, pad: 0.03, count: 7 });
  const sy = makeScale({ low, high, from: bottom, to: top, pad: 0.05, count: 5 });
  const at = (point) => `${sx(point.bits).toFixed(1)},${sy(point.accuracy[network]).toFixed(1)}`;
  const clip = `clip-${NETWORKS.indexOf(network)}`;
  const reference = DATA.meta.networks?.[network]?.float32;
  const count = Math.max(0, ...all.map((point) => point.n?.[network] ?? 0));
  return s("svg", { class: "width-panel", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Accuracy on ${network} over accumulator width; its figures are in the table below`, "data-network": network },
    s("clipPath", { id: clip }, s("rect", { x: left, y: top - 5, width: right - left + 8, height: bottom - top + 8 })),
    s("text", { class: "panel-title", x: left, y: 14 }, network, s("tspan", { class: "faint" }, count ? `  ${plural(count, "image")}` : "")),
    sy.ticks.map(([value, text]) => [s("line", { class: "grid", x1: left, x2: right, y1: sy(value), y2: sy(value) }), s("text", { class: "tick y", x: left - 7, y: sy(value) }, text)]),
    sx.ticks.filter(([value]) => Number.isInteger(value)).map(([value, text]) => s("text", { class: "tick x", x: sx(value), y: bottom + 16 }, text)),
    s("path", { class: "frame", d: `M${left},${top}V${bottom}H${right}` }),
    s("text", { class: "tick x", x: (left + right) / 2, y: height - 1 }, "accumulator width (bits)"),
    isNumber(reference) && reference >= sy.domain[0] && reference <= sy.domain[1]
      ? s("g", { class: "reference" }, s("line", { x1: left, x2: right, y1: sy(reference), y2: sy(reference) }), s("text", { x: right, y: sy(reference) - 4, class: "end" }, "float32")) : "",
    s("g", { "clip-path": `url(#${clip})` }, curves.map(([, members]) => s("g", { "data-family": familyFacets(members[0]).map((facet) => facetValue(members[0], facet)).join(" "), style: `--c:${colorName("kind", facetValue(members[0], "kind"))}` },
      s("path", { class: dashOf(members[0]), d: `M${members.map(at).join("L")}` }),
      members.map((point) => s("path", { class: "dot", "data-id": point.id, transform: `translate(${at(point)})scale(.8)`, d: SHAPES[shapeName("rounding", facetValue(point, "rounding"))],
        onclick: () => togglePin(point.id), onpointerleave: hideTip,
        onpointerenter: (event) => showTip([h("strong", null, point.label), h("div", null, `${network}: ${shown(point.accuracy[network], "accuracy")} %${isNumber(point.loss?.[network]) ? `, lost ${shown(point.loss[network], "loss")}` : ""}`), h("div", { class: "faint" }, policies(point))], event.clientX, event.clientY) }))))));
}

function widthTable(points, networks) {
  const rows = networks.flatMap((network) => curvesOf(points, network).flatMap(([, members]) => members.map((point) => [network, point])));
  return h("details", { class: "as-table" }, h("summary", null, "As a table"), h("div", { class: "wide" }, h("table", null,
    h("thead", null, h("tr", null, ["Network", "Kind", "Rounding", "Bits", "Accuracy, %", "Design"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", null, rows.map(([network, point]) => h("tr", null, h("td", null, network), h("td", null, words("kind", facetValue(point, "kind"))), h("td", null, words("rounding", facetValue(point, "rounding"))), h("td", { class: "num" }, figure(point.bits)), h("td", { class: "num" }, shown(point.accuracy[network], "accuracy")), h("td", null, point.label)))))));
}
