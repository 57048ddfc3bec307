// What is known of one design, the answers beside the plot, and pinned designs.

const FIGURES = ["um2", "nand2", "delay_ns", "fmax_mhz", "energy_pj", "leakage_uw", "throughput_per_area"];

function togglePin(id) {
  const there = state.pins.includes(id);
  if (!there && state.pins.length === MOST_PINS) return say(`No more than ${MOST_PINS} designs can be pinned`);
  const pins = there ? state.pins.filter((each) => each !== id) : [...state.pins, id];
  say(`${fullName(BY_ID.get(id))} ${there ? "unpinned" : "pinned"}; ${plural(pins.length, "design")} pinned`);
  update({ pins });
}

/** Choices of a design in words, without those that say nothing of it. */
function policies(point) {
  const parts = ["kind", "rounding", "overflow", "alignment", "offsets"]
    .filter((facet) => point[facet] !== undefined && !(facet === "offsets" && point.offsets === "none") && !(facet === "alignment" && point.alignment === null))
    .map((facet) => (facet === "offsets" ? `offsets ${words(facet, point[facet])}` : words(facet, facetValue(point, facet))));
  if (isNumber(point.bits)) parts.unshift(`${point.bits} bits`);
  if (isNumber(point.stages)) parts.push(plural(point.stages, "stage"));
  if (isNumber(point.chunk) && VALUES.chunk.length > 1) parts.push(`chunks of ${point.chunk}`);
  return parts.join(" · ");
}

function pointTip(point) {
  const keys = [...new Set([state.y, state.x, "accuracy", "loss", ...FIGURES])].filter((key) => AXIS.has(key) && valueOf(point, key) !== null).slice(0, 8);
  const onFront = plot.front.includes(point);
  return [
    h("strong", null, fullName(point)),
    h("div", { class: "faint" }, policies(point)),
    h("table", null, keys.map((key) => h("tr", null, h("th", null, titleOf(key).replace(/ \([^)]*\)$/, "")), h("td", null, shown(valueOf(point, key), key)), h("td", { class: "unit" }, AXIS.get(key).unit)))),
    h("div", { class: "faint" }, [onFront && "On the front", point.met === false && "Misses its clock", state.pins.includes(point.id) ? "Click to unpin" : "Click to pin"].filter(Boolean).join(" · ")),
  ];
}

function drawDetails(points) {
  const box = byId("details");
  const kept = box.scrollTop;
  const pinned = state.pins.map((id) => BY_ID.get(id));
  const last = pinned.at(-1);
  box.replaceChildren(
    ...(last ? [pinnedCard(last, pinned), answersCard(points), helpCard()] : [answersCard(points), helpCard()]));
  box.scrollTop = kept;
}

/** The design to build for each loss that can be borne. */
function answersCard(points) {
  const axis = costAxis();
  if (!axis || !NETWORKS.length || !AXIS.has("loss")) return h("section", { class: "card" }, h("h2", null, "What to build"),
    h("p", { class: "faint" }, NETWORKS.length ? "This export has no cost to compare yet." : "This export has no accuracies, so nothing can be said about losses."));
  const unjudged = points.filter((point) => limitedLoss(point) === null).length;
  const superlative = axis.better < 0 ? "Least" : "Most";
  return h("section", { class: "card", id: "answers" },
    h("h2", null, "What to build"),
    h("p", { class: "faint" }, `${superlative} ${lowered(axis.label)}${axis.unit ? ` (${axis.unit})` : ""} among the designs that pass the filters, for each number of points that may be lost, against float32 sums of the same operands, on ${state.every && NETWORKS.length > 1 ? "each network" : state.net}.`),
    h("ul", { class: "answers" }, LIMITS.map((limit) => {
      const best = bestWithin(points, limit);
      const rival = best && float32Design(best);
      return h("li", { class: state.loss === limit ? "on" : null, "data-limit": limit },
        h("span", { class: "limit-key" }, limit, h("span", { class: "unseen" }, limit === 1 ? " point" : " points")),
        best
          ? [h("button", { type: "button", class: "link", "data-id": best.id, title: "Pin or unpin this design", onclick: () => togglePin(best.id) }, fullName(best)),
            h("span", { class: "num" }, figure(valueOf(best, axis.key))),
            h("span", { class: "why" }, [lossWords(best), rival && rival !== best && `${relative(valueOf(best, axis.key), valueOf(rival, axis.key))} against ${fullName(rival)}`].filter(Boolean).join("; "))]
          : h("span", { class: "faint" }, "none of those shown"));
    })),
    unjudged ? h("p", { class: "faint" }, `${plural(unjudged, "design")} without ${state.every && NETWORKS.length > 1 ? "all these accuracies" : "that accuracy"} ${unjudged === 1 ? "is" : "are"} not considered.`) : null);
}

/** What a design loses on the network, with its interval and its accuracy where the export has them. */
function lossWords(point) {
  const network = state.every ? NETWORKS.find((name) => point.loss[name] === worstLoss(point)) : state.net;
  const loss = point.loss[network];
  const ends = point.interval?.[network];
  const interval = ends?.every(isNumber) ? ` [${ends.map(signed).join(", ")}]` : "";
  const accuracy = point.accuracy?.[network];
  return [
    `${loss <= 0 ? `gains ${Math.abs(loss).toFixed(2)}` : `loses ${loss.toFixed(2)}`}${interval}`,
    state.every && NETWORKS.length > 1 && `on ${network}`,
    isNumber(accuracy) && `(${accuracy.toFixed(2)} %)`,
  ].filter(Boolean).join(" ");
}

function helpCard() {
  const key = (text) => h("kbd", null, text);
  return h("section", { class: "card help" }, h("h2", null, "Getting about"),
    h("ul", null,
      h("li", null, "Click a design to pin it: all its figures, and the commands that make them again."),
      h("li", null, "Pin two or more to see them side by side."),
      h("li", null, "Drag over the plot to zoom, double-click to go back."),
      h("li", null, "In the plot: ", key("←"), " ", key("→"), " along x, ", key("↑"), " ", key("↓"), " along y, with ", key("Shift"), " along the front; ", key("Enter"), " pins, ", key("+"), " ", key("−"), " ", key("0"), " zoom, ", key("Esc"), " closes."),
      h("li", null, "The address holds the view: copy it to share what you see.")));
}

function pinnedCard(point, pinned) {
  return h("section", { class: "card pinned", "data-pinned": point.id },
    h("div", { class: "chips" }, pinned.map((each, i) => h("span", { class: each === point ? "chip on" : "chip" },
      h("b", null, LETTERS[i]), h("button", { type: "button", class: "link", onclick: () => update({ pins: [...state.pins.filter((id) => id !== each.id), each.id] }) }, fullName(each)),
      h("button", { type: "button", class: "close", "aria-label": `Unpin ${each.label}`, onclick: () => togglePin(each.id) }, "×"))),
      pinned.length > 1 ? [h("button", { type: "button", onclick: () => { update({ tab: "compare" }); byId("panel").scrollIntoView({ block: "nearest", behavior: "smooth" }); } }, "Compare"), h("button", { type: "button", onclick: () => update({ pins: [] }) }, "Unpin all")] : null),
    h("h2", null, glyph(shapeName(state.shape, facetValue(point, state.shape)), pointColor(point), point.met === false), " ", fullName(point)),
    h("p", { class: "faint" }, policies(point)),
    point.config ? h("p", { class: "config" }, h("code", null, point.config), copyButton(point.config, "configuration")) : null,
    figuresTable(point),
    PART_FIELDS.filter((field) => partsOf(point, field)).map((field) => [h("h3", null, `${PARTS_OF[field][0]} (${PARTS_OF[field][1]})`), stackedBars([point], field, { small: true })]),
    commandsOf(point));
}

function figuresTable(point) {
  const row = (name, value, unit = "") => h("tr", null, h("th", { scope: "row" }, name), h("td", { class: "num" }, value), h("td", { class: "unit" }, unit));
  const line = (name, text) => h("tr", null, h("th", { scope: "row" }, name), h("td", { colspan: 2 }, text));
  const rows = FIGURES.filter((key) => AXIS.has(key)).map((key) => row(AXIS.get(key).label, figure(point[key]), isNumber(point[key]) ? AXIS.get(key).unit : ""));
  if (point.technology) rows.push(line("Technology", point.technology));
  const slack = isNumber(point.clock_ns) && isNumber(point.delay_ns) ? point.clock_ns - point.delay_ns : null;
  if (isNumber(point.clock_ns)) rows.push(line("Clock target", `${plain(point.clock_ns)} ns${point.met === undefined ? "" : `, ${words("met", String(point.met))}`}${slack === null ? "" : `; slack ${plain(+slack.toFixed(3))} ns`}`));
  else if (point.clock_ns === null) rows.push(line("Clock target", CLOCKLESS));
  if (point.recipe) rows.push(line("Mapped by", point.recipe));
  if (point.timer) rows.push(line("Timed by", point.timer));
  if (point.stimulus) rows.push(line("Activity", `${point.stimulus}${isNumber(point.vectors) ? `, ${plural(point.vectors, "vector")}` : ""}`));
  const networks = NETWORKS.filter((name) => isNumber(point.accuracy?.[name]) || isNumber(point.loss?.[name]));
  return [
    h("table", { class: "figures" }, h("tbody", null, rows)),
    networks.length ? h("table", { class: "figures" }, h("thead", null, h("tr", null, h("th", { scope: "col" }, "Network"), h("th", { scope: "col", class: "num" }, "right, %"), h("th", { scope: "col", class: "num" }, "lost"), h("th", { scope: "col", class: "num" }, "images"))),
      h("tbody", null, networks.map((name) => h("tr", null, h("th", { scope: "row" }, name), h("td", { class: "num" }, shown(point.accuracy?.[name], "accuracy")), h("td", { class: "num", title: point.interval?.[name]?.every(isNumber) ? `95 %: ${point.interval[name].map(signed).join(" to ")}` : null }, shown(point.loss?.[name], "loss")), h("td", { class: "num" }, figure(point.n?.[name])))))) : null,
  ];
}

function commandsOf(point) {
  const commands = Object.entries(point.commands ?? {});
  if (!commands.length) return null;
  return [h("h3", null, "Make it again"), commands.map(([name, line]) => h("div", { class: "command" },
    h("div", { class: "command-head" }, h("span", null, name), copyButton(line, `${name} command`)), h("code", null, line)))];
}

function copyButton(text, what) {
  const button = h("button", { type: "button", class: "copy", "aria-label": `Copy ${what}`, onclick: () => copy(text, what, button) }, "Copy");
  return button;
}

async function copy(text, what, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // browsers that keep the clipboard from pages on disk still have the old way
    const area = h("textarea", { class: "unseen" }, text);
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
  }
  const before = button.dataset.text ?? button.textContent;
  button.dataset.text = before;
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = before; }, 1200);
  say(`${what} copied`);
}

/** Pinned designs side by side: figures, and each against the first. */
function compareView() {
  const pinned = state.pins.map((id) => BY_ID.get(id));
  if (pinned.length < 2) return h("p", { class: "faint" }, "Pin two or more designs to compare them: click them in the plot, or press Enter on them.");
  const [first] = pinned;
  const rows = [];
  const text = (name, get) => rows.push(h("tr", null, h("th", { scope: "row" }, name), pinned.map((point) => h("td", null, get(point)))));
  const number = (name, unit, key, get) => {
    const values = pinned.map(get);
    if (!values.some(isNumber)) return;
    const better = key === "bits" ? 0 : (AXIS.get(key)?.better ?? 0);
    const best = Math.max(...values.filter(isNumber).map((value) => better * value));
    rows.push(h("tr", null, h("th", { scope: "row" }, unit ? `${name} (${unit})` : name),
      values.map((value, i) => h("td", { class: isNumber(value) && better && better * value === best && new Set(values).size > 1 ? "num best" : "num" }, shown(value, key),
        h("span", { class: "change" }, !i || /^(accuracy|loss|bits)/.test(key) ? (i && isNumber(value) && isNumber(values[0]) && /^(accuracy|loss)/.test(key) ? signed(value - values[0]) : "") : relative(value, values[0]))))));
  };
  text("Design", (point) => policies(point));
  text("Configuration", (point) => h("code", null, point.config ?? "–"));
  text("Operands, product", (point) => [point.operands ?? "–", ", ", point.product ?? "–"]);
  text("Technology, clock", (point) => `${point.technology ?? "–"}, ${isNumber(point.clock_ns) ? `${plain(point.clock_ns)} ns` : CLOCKLESS}`);
  for (const key of ["bits", ...FIGURES]) if (AXIS.has(key)) number(AXIS.get(key).label, AXIS.get(key).unit, key, (point) => point[key]);
  for (const name of NETWORKS) {
    number(`Accuracy, ${name}`, "%", "accuracy", (point) => point.accuracy?.[name]);
    number(`Accuracy lost, ${name}`, "points", "loss", (point) => point.loss?.[name]);
  }
  const mixed = new Set(pinned.map((point) => `${techOf(point)} ${clockOf(point)}`)).size > 1;
  return [
    mixed ? h("p", { class: "warning" }, "These designs were not built in one technology at one clock: their costs do not compare.") : null,
    h("div", { class: "wide" }, h("table", { class: "compare" }, h("thead", null, h("tr", null, h("td"), pinned.map((point, i) => h("th", { scope: "col" },
      h("b", { class: "letter" }, LETTERS[i]), " ", fullName(point), " ", h("button", { type: "button", class: "close", "aria-label": `Unpin ${point.label}`, onclick: () => togglePin(point.id) }, "×"))))), h("tbody", null, rows))),
    h("p", { class: "faint" }, `Bold: the best of these. Small: against ${fullName(first)}.`),
    allBars(pinned),
  ];
}
