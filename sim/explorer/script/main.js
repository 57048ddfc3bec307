// The controls, and one place where every change goes through.

/** Change the state and everything that follows from it. */
function update(patch) {
  if ("x" in patch || "y" in patch || "lx" in patch || "ly" in patch || "net" in patch || "tech" in patch || "clock" in patch)
    if (Array.isArray(state.view)) state.view = null; // a rectangle of other figures
  Object.assign(state, patch);
  writeHash();
  render();
}

function writeHash() {
  const hash = toHash();
  if (hash === location.hash.slice(1)) return;
  try {
    history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
  } catch {
    location.replace(`#${hash}`);
  }
}

function render() {
  const points = passing();
  document.documentElement.dataset.theme = state.theme;
  drawControls(points);
  drawScatter(points);
  drawLegend(points);
  drawNotes(points);
  drawDetails(points);
  drawTabs(points);
}

function drawControls(points) {
  for (const id of ["x", "y", "color", "shape"]) byId(id).value = state[id];
  for (const id of ["lx", "ly", "names", "every"]) byId(id).checked = state[id];
  for (const id of ["x", "y"]) for (const key of ["accuracy", "loss"]) {
    const option = byId(id).querySelector(`option[value="${key}"]`);
    if (option) option.textContent = titleOf(key);
  }
  byId("network").value = state.net;
  byId("technology").value = state.tech;
  byId("clock").replaceChildren(...clockOptions());
  byId("clock").value = state.clock;
  for (const [id, value] of [["query", state.q], ["low", state.lo], ["high", state.hi]])
    if (document.activeElement !== byId(id)) byId(id).value = value;
  byId("count").textContent = `${points.length} of ${POINTS.length}`;
  byId("loss").replaceChildren(...segmented("loss", [[0, "off"], ...LIMITS.map((limit) => [limit, String(limit)])]).childNodes);
  byId("theme").textContent = `Theme: ${state.theme || "auto"}`;
  const clock = state.clock === ALL ? "all clocks" : state.clock === CLOCKLESS ? "no clock target" : `${plain(Number(state.clock))} ns (${plain(1000 / Number(state.clock))} MHz)`;
  byId("scope").textContent = [state.net, state.tech === ALL ? "all technologies" : state.tech, clock].filter((text) => text && text !== "none").join(" · ");
  const mixed = [state.tech === ALL && new Set(points.map(techOf)).size > 1 && "technologies", state.clock === ALL && new Set(points.map(clockOf)).size > 1 && "clocks"].filter(Boolean);
  byId("warning").hidden = !mixed.length;
  byId("warning").textContent = mixed.length ? `Different ${mixed.join(" and ")} are mixed here: costs do not compare, and the front means little.` : "";
  for (const [facet] of FACETS) drawFacet(facet);
}

function clockOptions() {
  const here = POINTS.filter((point) => state.tech === ALL || techOf(point) === state.tech);
  const clocks = [...new Set(here.map(clockOf))];
  const rank = (clock) => (clock === CLOCKLESS ? Infinity : Number(clock));
  const options = clocks.sort((a, b) => rank(a) - rank(b))
    .map((clock) => h("option", { value: clock }, clock === CLOCKLESS ? CLOCKLESS : `${plain(Number(clock))} ns`));
  return clocks.length > 1 ? [...options, h("option", { value: ALL }, "all, mixed")] : options;
}

/** The clock to look at in a technology: the same where it is there, else the commonest. */
function clockIn(tech) {
  const clocks = POINTS.filter((point) => tech === ALL || techOf(point) === tech).map(clockOf);
  if (state.clock === ALL || clocks.includes(state.clock)) return state.clock;
  const count = (clock) => clocks.filter((each) => each === clock).length;
  return [...new Set(clocks)].sort((a, b) => count(b) - count(a))[0];
}

function buildControls() {
  const options = (values) => values.map(([value, text]) => h("option", { value }, text));
  const plain = AXES.filter((axis) => !axis.key.includes(":"));
  const others = AXES.filter((axis) => axis.key.includes(":"));
  for (const id of ["x", "y"]) {
    byId(id).append(...options(plain.map((axis) => [axis.key, `${axis.label}${axis.unit ? ` (${axis.unit})` : ""}`])));
    if (others.length) byId(id).append(h("optgroup", { label: "Of one network" }, options(others.map((axis) => [axis.key, `${axis.label} (${axis.unit})`]))));
    byId(id).addEventListener("change", (event) => update({ [id]: event.target.value, [`l${id}`]: AXIS.get(event.target.value).log }));
    byId(`l${id}`).addEventListener("change", (event) => update({ [`l${id}`]: event.target.checked }));
  }
  const techs = VALUES.technology;
  byId("technology").append(...options(techs.map((tech) => [tech, words("technology", tech)])), ...(techs.length > 1 ? options([[ALL, "all, mixed"]]) : []));
  byId("network").append(...options(NETWORKS.length ? NETWORKS.map((name) => [name, name]) : [["", "none"]]));
  byId("color").append(...options(COLOR_BY.map((facet) => [facet, facet])));
  byId("shape").append(...options(SHAPE_BY.map((facet) => [facet, facet])));
  byId("network").addEventListener("change", (event) => update({ net: event.target.value }));
  byId("technology").addEventListener("change", (event) => update({ tech: event.target.value, clock: clockIn(event.target.value) }));
  byId("clock").addEventListener("change", (event) => update({ clock: event.target.value }));
  for (const id of ["color", "shape"]) byId(id).addEventListener("change", (event) => update({ [id]: event.target.value }));
  byId("names").addEventListener("change", (event) => update({ names: event.target.checked }));
  byId("every").addEventListener("change", (event) => update({ every: event.target.checked }));
  byId("every").closest("label").hidden = NETWORKS.length < 2;
  byId("swap").addEventListener("click", () => update({ x: state.y, y: state.x, lx: state.ly, ly: state.lx }));
  byId("query").addEventListener("input", (event) => filtered({ q: event.target.value }));
  for (const [id, key, end] of [["low", "lo", () => NARROWEST], ["high", "hi", () => WIDEST]]) {
    byId(id).min = NARROWEST;
    byId(id).max = WIDEST;
    byId(id).addEventListener("input", (event) => filtered({ [key]: event.target.value === "" ? end() : Number(event.target.value) }));
    byId(id).addEventListener("blur", () => drawControls(passing()));
  }
  byId("width-facet").hidden = NARROWEST === WIDEST;
  byId("reset").addEventListener("click", () => {
    byId("query").value = "";
    filtered({ off: structuredClone(DEFAULTS.off), lo: NARROWEST, hi: WIDEST, q: "", view: null });
  });
  byId("facets").append(...FACETS.filter(([facet]) => VALUES[facet].length > 1).map(buildFacet));
  byId("csv").addEventListener("click", downloadCsv);
  byId("copy-link").addEventListener("click", (event) => copy(location.href, "Link", event.currentTarget));
  byId("theme").addEventListener("click", () => update({ theme: { "": "light", light: "dark", dark: "" }[state.theme] }));
}

function filtered(patch) {
  update(patch);
  say(`${plural(passing().length, "design")} of ${POINTS.length}`);
}

function buildFacet([facet, name]) {
  const values = VALUES[facet];
  const set = (off) => filtered({ off: { ...state.off, [facet]: off } });
  return h("details", { class: "facet", "data-facet": facet, open: values.length <= 6 && !["chunk", "operands", "product"].includes(facet) },
    h("summary", null, h("span", null, name), h("span", { class: "faint", "data-summary": facet })),
    h("div", { class: "values", role: "group", "aria-label": name }, values.map((value) => h("div", { class: "value" },
      h("label", null, h("input", { type: "checkbox", "data-value": value, onchange: (event) => {
        const off = (state.off[facet] ?? []).filter((each) => each !== value);
        set(event.target.checked ? off : [...off, value]);
      } }), h("span", { class: "key" }), h("span", { class: "value-name" }, words(facet, value)), h("span", { class: "tally" })),
      values.length > 2 ? h("button", { type: "button", class: "only", "aria-label": `Only ${words(facet, value)}`, onclick: () => set(values.filter((each) => each !== value)) }, "only") : null))));
}

function drawFacet(facet) {
  const box = document.querySelector(`[data-facet="${facet}"]`);
  if (!box) return;
  const rest = POINTS.filter(filterTest(facet));
  const off = state.off[facet] ?? [];
  for (const row of box.querySelectorAll(".value")) {
    const input = row.querySelector("input");
    const { value } = input.dataset;
    const count = rest.filter((point) => facetValue(point, facet) === value).length;
    input.checked = !off.includes(value);
    row.classList.toggle("zero", !count);
    row.querySelector(".tally").textContent = count;
    const key = [];
    if (facet === state.color || facet === state.shape) key.push(glyph(facet === state.shape ? shapeName(facet, value) : "circle", facet === state.color ? colorName(facet, value) : "var(--muted)"));
    row.querySelector(".key").replaceChildren(...key);
  }
  const on = VALUES[facet].filter((value) => !off.includes(value)).length;
  box.querySelector("[data-summary]").textContent = on < VALUES[facet].length ? `${on} of ${VALUES[facet].length}` : "";
}

/** Buttons of which one is chosen. */
function segmented(key, choices) {
  return h("span", { class: "segments", role: "group" }, choices.map(([value, text]) =>
    h("button", { type: "button", "data-choice": `${key}:${value}`, "aria-pressed": String(state[key] === value), onclick: () => { update({ [key]: value }); document.querySelector(`[data-choice="${key}:${value}"]`)?.focus(); } }, text)));
}

function drawLegend(points) {
  const drawn = new Set(points.filter(drawable));
  const used = (facet) => VALUES[facet].filter((value) => [...drawn].some((point) => facetValue(point, facet) === value));
  const entry = (shape, color, text, open) => h("span", null, glyph(shape, color, open), text);
  const [ax, ay] = [AXIS.get(state.x), AXIS.get(state.y)];
  const arrow = { "-1 1": "↖", "1 1": "↗", "-1 -1": "↙", "1 -1": "↘" }[`${ax?.better} ${ay?.better}`];
  byId("legend").replaceChildren(
    ...used(state.color).map((value) => entry(state.color === state.shape ? shapeName(state.shape, value) : "circle", colorName(state.color, value), words(state.color, value))),
    h("i", { class: "rule" }),
    ...(state.shape === "none" || state.shape === state.color ? [] : used(state.shape).map((value) => entry(shapeName(state.shape, value), "var(--muted)", words(state.shape, value)))),
    ...([...drawn].some((point) => point.met === false) ? [entry("circle", "var(--muted)", "misses the clock", true)] : []),
    h("span", null, h("i", { class: "front-key" }), "Pareto front"),
    h("span", { class: "better" }, `better ${arrow ?? ""}`));
}

/** What is not in the plot, and why; nothing is left out in silence. */
function drawNotes(points) {
  const notes = [];
  for (const [key, log] of [[state.x, state.lx], [state.y, state.ly]]) {
    const why = points.map((point) => unfit(point, key, log));
    const count = (reason) => why.filter((each) => each === reason).length;
    const noun = nounOf(key);
    if (count("absent")) notes.push(`${plural(count("absent"), "design has", "designs have")} no ${noun}`);
    if (count("not positive")) notes.push(`${plural(count("not positive"), "design has", "designs have")} a ${noun} that no logarithmic axis shows`);
  }
  const missed = (state.off.met ?? []).includes("false") ? POINTS.filter(filterTest("met")).filter((point) => point.met === false).length : 0;
  if (missed) notes.push(`${plural(missed, "design misses", "designs miss")} the clock and ${missed === 1 ? "is" : "are"} filtered out`);
  const moved = plot.places.filter((place) => place.moved).length;
  if (moved) notes.push(`${plural(moved, "design has", "designs have")} the figures of another and ${moved === 1 ? "stands" : "stand"} beside it`);
  if (plot.outside) notes.push(`${plural(plot.outside, "design lies", "designs lie")} outside this view`);
  const text = notes.length ? `${plural(points.filter(drawable).length - plot.outside, "design")} drawn. ${notes.join("; ")}.` : `${plural(points.length, "design")} drawn.`;
  const again = (words, view) => h("button", { type: "button", class: "link", onclick: () => update({ view }) }, words);
  byId("notes").replaceChildren(text, ...(plot.outside ? [" ", again("Show all", "all")] : []), ...(state.view ? [" ", again("Back to what matters", null)] : []));
}

/** An axis in the middle of a sentence. */
function nounOf(key) {
  const { label } = AXIS.get(key);
  const network = (key === "accuracy" || key === "loss") && state.net ? ` on ${state.net}` : "";
  return lowered(label).replace(",", " on") + network;
}

function drawTabs(points) {
  const tabs = byId("tabs");
  if (!tabs.childElementCount) tabs.append(...TABS.map(([key, name]) => h("button", { type: "button", role: "tab", id: `tab-${key}`, "aria-controls": "panel", onclick: () => update({ tab: key }) }, name, h("span", { class: "badge-count" }))));
  for (const button of tabs.children) {
    const on = button.id === `tab-${state.tab}`;
    button.setAttribute("aria-selected", String(on));
    button.tabIndex = on ? 0 : -1;
  }
  byId("tab-compare").querySelector(".badge-count").textContent = state.pins.length ? ` ${state.pins.length}` : "";
  const panel = byId("panel");
  panel.setAttribute("aria-labelledby", `tab-${state.tab}`);
  const scrolled = panel.querySelector(".tall")?.scrollTop ?? 0;
  const views = { front: tableView, compare: compareView, bars: barsView, width: widthView, about: aboutView };
  panel.replaceChildren(...[views[state.tab](points)].flat(Infinity).filter(Boolean));
  const tall = panel.querySelector(".tall");
  if (tall) tall.scrollTop = scrolled;
}

function walkTabs(event) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const here = TABS.findIndex(([key]) => key === state.tab);
  const [key] = TABS[(here + step + TABS.length) % TABS.length];
  update({ tab: key });
  byId(`tab-${key}`).focus();
  event.preventDefault();
}

buildControls();
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address is the state's
  (byId("plot").querySelector('[tabindex="0"]') ?? byId("plot")).focus();
});
byId("tabs").addEventListener("keydown", walkTabs);
state = fromHash(location.hash.slice(1));
if (window.matchMedia("(max-width: 900px)").matches) byId("filter-box").open = false;
render();
window.addEventListener("hashchange", () => { state = fromHash(location.hash.slice(1)); render(); });
document.addEventListener("keydown", (event) => event.key === "Escape" && hideTip());
window.addEventListener("scroll", () => plot.svg.contains(document.activeElement) || hideTip(), { passive: true });
let wide = byId("plot").clientWidth;
new ResizeObserver(() => {
  if (byId("plot").clientWidth === wide) return;
  wide = byId("plot").clientWidth;
  requestAnimationFrame(render);
}).observe(byId("plot"));
