// Designs as a table and as a file, and what the export says of itself.

const SHORT = { bits: "Width", loss: "Lost", energy_pj: "Energy", throughput_per_area: "Throughput" };

function columns() {
  const text = (key, name, get) => ({ key, name, get, text: get });
  const number = (key) => ({ key, name: SHORT[key] ?? AXIS.get(key).label, unit: AXIS.get(key).unit, get: (point) => valueOf(point, key), text: (point) => shown(valueOf(point, key), key), num: true });
  return [
    text("label", "Design", fullName),
    text("kind", "Kind", (point) => words("kind", facetValue(point, "kind"))),
    text("rounding", "Rounding", (point) => words("rounding", facetValue(point, "rounding"))),
    { key: "stages", name: "Stages", get: (point) => point.stages ?? null, text: (point) => figure(point.stages), num: true },
    // what is plotted comes first
    ...[...new Set([state.y, state.x, "bits", "accuracy", "loss", ...FIGURES])].filter((key) => AXIS.has(key)).map(number),
  ];
}

function sorted(points, column, direction) {
  const order = (a, b) => (isNumber(a) ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
  return [...points].sort((a, b) => {
    const [x, y] = [column.get(a), column.get(b)];
    if (x === null || y === null) return (x === null) - (y === null); // what is absent is last either way
    return direction * order(x, y);
  });
}

function tableView(points) {
  const shownPoints = state.rows === "front" ? plot.front : points;
  const [key, way] = state.sort.split(":");
  const cols = columns();
  const by = cols.find((column) => column.key === key);
  const rows = by ? sorted(shownPoints, by, Number(way)) : shownPoints;
  const frontIds = new Set(plot.front.map((point) => point.id));
  const head = cols.map((column) => {
    const now = column === by ? Number(way) : 0;
    const next = now ? -now : (AXIS.get(column.key)?.better ?? -1) > 0 ? -1 : 1;
    return h("th", { scope: "col", class: column.num ? "num" : null, "aria-sort": now ? (now > 0 ? "ascending" : "descending") : "none" },
      h("button", { type: "button", class: "sort", "data-sort": column.key, onclick: () => { update({ sort: `${column.key}:${next}` }); document.querySelector(`[data-sort="${column.key}"]`)?.focus(); } },
        h("span", null, h("span", { class: "arrow", "aria-hidden": "true" }, now ? (now > 0 ? "▲ " : "▼ ") : ""), column.name), column.unit ? h("span", { class: "unit" }, column.unit) : null));
  });
  return [
    h("div", { class: "panel-head" }, segmented("rows", [["front", `The front (${plot.front.length})`], ["all", `All that pass (${points.length})`]]),
      h("span", { class: "faint" }, `${titleOf(state.y)} against ${titleOf(state.x)}`)),
    h("div", { class: "wide tall" }, h("table", { class: "designs" },
      h("caption", { class: "unseen" }, "Designs; headings sort"),
      h("thead", null, h("tr", null, h("th", { scope: "col" }, h("span", { class: "unseen" }, "Pin")), head)),
      h("tbody", null, rows.map((point) => {
        const place = state.pins.indexOf(point.id);
        return h("tr", { class: frontIds.has(point.id) && state.rows === "all" ? "on-front" : null, "data-row": point.id },
          h("td", null, h("button", { type: "button", class: place < 0 ? "pin" : "pin on", "aria-pressed": String(place >= 0), "aria-label": `Pin ${fullName(point)}`, "data-pin": point.id,
            onclick: () => { togglePin(point.id); document.querySelector(`[data-pin="${CSS.escape(point.id)}"]`)?.focus(); } }, place < 0 ? "" : LETTERS[place])),
          cols.map((column, i) => (i ? h("td", { class: column.num ? "num" : null }, column.text(point))
            : h("th", { scope: "row" }, glyph(shapeName(state.shape, facetValue(point, state.shape)), pointColor(point), point.met === false), column.text(point)))));
      })))),
  ];
}

const CSV_FIELDS = ["id", "label", "config", "silicon", "kind", "bits", "exp_bits", "man_bits", "rounding", "overflow", "alignment", "product", "chunk", "operands", "offsets", "stages", "technology", "clock_ns", "met", ...FIGURES, "cells", "offset", "recipe", "timer", "stimulus", "vectors"];

/** The designs as CSV: a line each, a column for each figure that some design has. */
function csvOf(points) {
  const front = new Set(plot.front.map((point) => point.id));
  const inner = (field) => [...new Set(POINTS.flatMap((point) => Object.keys(point[field] ?? {})))];
  const cols = CSV_FIELDS.filter((key) => POINTS.some((point) => point[key] !== undefined)).map((key) => [key, (point) => point[key]]);
  cols.push(["on_front", (point) => front.has(point.id)]);
  for (const name of NETWORKS) for (const field of ["accuracy", "loss", "n"]) cols.push([`${field} ${name}`, (point) => point[field]?.[name]]);
  for (const field of ["parts_um2", "parts_pj", "critical_ns", "commands"]) for (const name of inner(field)) cols.push([`${field} ${name}`, (point) => point[field]?.[name]]);
  const cell = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [cols.map(([name]) => name), ...points.map((point) => cols.map(([, get]) => get(point)))].map((row) => row.map(cell).join(",")).join("\n") + "\n";
}

function downloadCsv() {
  const points = passing();
  const link = h("a", { href: URL.createObjectURL(new Blob([csvOf(points)], { type: "text/csv" })), download: "designs.csv" });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  say(`${plural(points.length, "design")} written to designs.csv`);
}

function aboutView() {
  const show = (value) => {
    if (Array.isArray(value)) return h("ul", null, value.map((each) => h("li", null, show(each))));
    if (value && typeof value === "object") return h("dl", { class: "meta" }, Object.entries(value).map(([key, each]) => [h("dt", null, partWords(key)), h("dd", null, show(each))]));
    return value === null || value === undefined ? "–" : String(value);
  };
  const absent = AXES.map((axis) => [axis, POINTS.filter((point) => !hasAxis(point, axis.key)).length]).filter(([, count]) => count);
  return [
    h("h2", null, "About these data"),
    h("p", null, `${plural(POINTS.length, "design point")}. The front is made of the designs that pass the filters, have both figures, and are matched in both and beaten in one by no other. A filled mark meets its clock or has none to meet, an open one misses it. `,
      "The design picked for a loss is the one that costs least, by the axis of cost that is plotted, or else by area."),
    absent.length ? h("p", null, "Absent figures: ", absent.map(([axis, count]) => `${lowered(axis.label)}${axis.unit ? ` (${axis.unit})` : ""} of ${plural(count, "design")}`).join("; "), ".") : null,
    show(DATA.meta),
  ];
}
