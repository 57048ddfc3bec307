// The scatter plot: points, the front over them, and names.

const MARGIN = { left: 56, right: 18, top: 14, bottom: 26 };
const MATTERS = 5; // points of accuracy below the best that are still looked at unasked
const plot = { places: [], front: [], active: null, svg: null, outside: 0 };

/** The range of an axis that is shown unasked: accuracies far below the best are of no use to anybody. */
function matters(values, key) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  if (!/^(accuracy|loss)/.test(key) || high - low <= 1.25 * MATTERS) return [low, high];
  return key.startsWith("loss") ? [low, low + MATTERS] : [high - MATTERS, high];
}

/** The rectangle of figures to be drawn: [x0, x1, y0, y1]. */
function viewOf(points) {
  if (Array.isArray(state.view)) return state.view;
  const [xs, ys] = [state.x, state.y].map((key) => points.map((point) => valueOf(point, key)));
  if (!points.length) return [state.lx ? 1 : 0, 1.5, state.ly ? 1 : 0, 1.5];
  if (state.view === "all") return [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const [[x0, x1], [y0, y1]] = [matters(xs, state.x), matters(ys, state.y)];
  const inside = points.map((_, i) => i).filter((i) => xs[i] >= x0 && xs[i] <= x1 && ys[i] >= y0 && ys[i] <= y1);
  const [ix, iy] = [inside.map((i) => xs[i]), inside.map((i) => ys[i])];
  if (!inside.length) return [x0, x1, y0, y1];
  return [Math.min(...ix), Math.max(...ix), Math.min(...iy), Math.max(...iy)];
}

/** Pixel places of points; those at one place stand around it, in the order of the file. */
function placesOf(points, sx, sy) {
  const crowds = new Map();
  return points.map((point) => {
    const [x, y] = [sx(valueOf(point, state.x)), sy(valueOf(point, state.y))];
    const key = `${x.toFixed(1)} ${y.toFixed(1)}`;
    const i = crowds.get(key) ?? 0;
    crowds.set(key, i + 1);
    const [radius, angle] = [3.4 * Math.sqrt(i), i * 2.39996];
    return { point, x: x + radius * Math.cos(angle), y: y + radius * Math.sin(angle), moved: i > 0 };
  });
}

function drawScatter(points) {
  const hadFocus = plot.svg?.contains(document.activeElement);
  const box = byId("plot");
  const [width, height] = [Math.max(280, box.clientWidth), Math.max(220, box.clientHeight)];
  const [right, bottom] = [width - MARGIN.right, height - MARGIN.bottom];
  const drawn = points.filter(drawable);
  const [x0, x1, y0, y1] = viewOf(drawn);
  const pad = Array.isArray(state.view) ? 0 : 0.045;
  const sx = makeScale({ low: x0, high: x1, log: state.lx, from: MARGIN.left, to: right, pad, room: nameRoom(), count: Math.max(5, Math.round((right - MARGIN.left) / 80)) });
  const sy = makeScale({ low: y0, high: y1, log: state.ly, from: bottom, to: MARGIN.top, pad, count: Math.round(height / 62) });
  const inside = (value, [low, high]) => value >= low && value <= high;
  const inView = drawn.filter((point) => inside(valueOf(point, state.x), sx.domain) && inside(valueOf(point, state.y), sy.domain));
  plot.front = paretoFront(drawn);
  plot.outside = drawn.length - inView.length;
  plot.places = placesOf(inView, sx, sy);
  plot.scales = { sx, sy, right, bottom };
  plot.taken = []; // rectangles where no name can stand
  const best = state.loss ? bestWithin(points, state.loss) : null;
  const frontIds = new Set(plot.front.map((point) => point.id));

  const svg = s("svg", {
    width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-roledescription": "scatter plot",
    "aria-label": `${titleOf(state.y)} against ${titleOf(state.x)}: ${plural(inView.length, "design")}, ${plot.front.length} on the Pareto front. Arrow keys move among them, Enter pins.`,
    class: state.loss ? "limited" : null,
  });
  svg.append(
    s("defs", null, s("clipPath", { id: "inside" },
      s("rect", { x: MARGIN.left, y: MARGIN.top - 8, width: right - MARGIN.left + 8, height: bottom - MARGIN.top + 8 }))),
    axisLines(sx, sy, right, bottom),
    s("path", { class: "front-line", "clip-path": "url(#inside)", d: frontPath(sx, sy, right, bottom) }),
    limitLine(sx, sy, right, bottom),
    referenceLine(sx, sy, right, bottom),
  );
  const scale = plot.places.length > 600 ? 0.8 : 1;
  const marks = plot.places.map((place) => mark(place, frontIds.has(place.point.id), scale));
  plot.marks = new Map(plot.places.map((place, i) => [place.point.id, marks[i]]));
  svg.append(s("g", { class: "marks" }, marks.filter((each) => !each.classList.contains("front")), marks.filter((each) => each.classList.contains("front"))));
  if (best && plot.marks.has(best.id)) svg.append(bestRing(best));
  svg.append(pinBadges());
  if (state.names) svg.append(frontNames(right, bottom, best));
  plot.ring = s("circle", { class: "ring", r: 9, visibility: "hidden" });
  plot.brush = s("rect", { class: "brush", visibility: "hidden" });
  svg.append(plot.ring, plot.brush);
  listen(svg);
  box.replaceChildren(svg);
  plot.svg = svg;
  if (!plot.marks.has(plot.active)) plot.active = null;
  plot.marks.get(plot.active ?? plot.front.find((point) => plot.marks.has(point.id))?.id ?? plot.places[0]?.point.id)?.setAttribute("tabindex", "0");
  if (hadFocus && plot.active) plot.marks.get(plot.active).focus({ preventScroll: true });
  else if (!hadFocus) hideTip();
  if (!inView.length) svg.append(s("text", { class: "empty", x: (MARGIN.left + right) / 2, y: height / 2 }, "No design has both figures under these filters"));
}

/** Room for names at the better end of the x axis: [before, after], as shares of its length. */
function nameRoom() {
  if (!state.names || Array.isArray(state.view)) return [0, 0];
  return AXIS.get(state.x).better < 0 ? [0.1, 0] : [0, 0.1];
}

function titleOf(key) {
  const axis = AXIS.get(key);
  if (!axis) return key;
  const network = (key === "accuracy" || key === "loss") && state.net ? `, ${state.net}` : "";
  return `${axis.label}${network}${axis.unit ? ` (${axis.unit})` : ""}`;
}

function axisLines(sx, sy, right, bottom) {
  return s("g", { class: "axes", "aria-hidden": "true" },
    sy.ticks.map(([value, text]) => [
      s("line", { class: "grid", x1: MARGIN.left, x2: right, y1: sy(value), y2: sy(value) }),
      s("text", { class: "tick y", x: MARGIN.left - 8, y: sy(value) }, text),
    ]),
    sx.ticks.map(([value, text]) => [
      s("line", { class: "grid", x1: sx(value), x2: sx(value), y1: MARGIN.top, y2: bottom }),
      s("text", { class: "tick x", x: sx(value), y: bottom + 17 }, text),
    ]),
    s("path", { class: "frame", d: `M${MARGIN.left},${MARGIN.top}V${bottom}H${right}` }));
}

/** The edge of what can be had: between two designs of the front it takes the worse figure of both. */
function frontPath(sx, sy, right, bottom) {
  if (!plot.front.length) return "";
  const [ax, ay] = [AXIS.get(state.x), AXIS.get(state.y)];
  const at = plot.front.map((point) => [sx(valueOf(point, state.x)), sy(valueOf(point, state.y))]);
  const worseX = ax.better > 0 ? Math.min : Math.max; // in pixels
  const worseY = ay.better > 0 ? Math.max : Math.min;
  let path = "";
  at.forEach(([x, y], i) => {
    if (!i) path = `M${x.toFixed(1)},${y.toFixed(1)}`;
    else {
      const [px, py] = at[i - 1];
      const [cx, cy] = [worseX(px, x), worseY(py, y)];
      path += `L${cx.toFixed(1)},${cy.toFixed(1)}L${x.toFixed(1)},${y.toFixed(1)}`;
    }
  });
  // Beyond the ends: the best y goes on for all worse x, and the best x for all worse y.
  const topmost = at.reduce((a, b) => (worseY(a[1], b[1]) === a[1] ? b : a));
  const sidemost = at.reduce((a, b) => (worseX(a[0], b[0]) === a[0] ? b : a));
  const edgeX = ax.better > 0 ? MARGIN.left : right;
  const edgeY = ay.better > 0 ? bottom : MARGIN.top;
  return `${path}M${topmost[0].toFixed(1)},${topmost[1].toFixed(1)}H${edgeX}M${sidemost[0].toFixed(1)},${sidemost[1].toFixed(1)}V${edgeY}`;
}

/** Where an axis is the loss that is limited, the limit. */
function limitLine(sx, sy, right, bottom) {
  if (!state.loss) return "";
  const ours = (key) => key === `loss:${ALL}` || (!state.every && (key === "loss" || key === `loss:${state.net}`));
  if (ours(state.y)) return s("line", { class: "limit", x1: MARGIN.left, x2: right, y1: sy(state.loss), y2: sy(state.loss) });
  if (ours(state.x)) return s("line", { class: "limit", x1: sx(state.loss), x2: sx(state.loss), y1: MARGIN.top, y2: bottom });
  return "";
}

/** The network's accuracy in float32, where accuracy is an axis and the export says it. */
function referenceLine(sx, sy, right, bottom) {
  for (const key of [state.y, state.x]) {
    const [field, network = state.net] = key.split(":");
    const value = DATA.meta.networks?.[network]?.float32;
    if (field !== "accuracy" || !isNumber(value)) continue;
    const [scale, upright] = key === state.y ? [sy, false] : [sx, true];
    if (value < scale.domain[0] || value > scale.domain[1]) continue;
    const at = scale(value);
    plot.taken.push(upright ? [at, bottom - 18, at + 48, bottom] : [MARGIN.left, at - 15, MARGIN.left + 48, at]);
    return s("g", { class: "reference", "aria-hidden": "true" },
      s("line", upright ? { x1: at, x2: at, y1: MARGIN.top, y2: bottom } : { x1: MARGIN.left, x2: right, y1: at, y2: at }),
      s("text", upright ? { x: at + 4, y: bottom - 6 } : { x: MARGIN.left + 5, y: at - 4 }, "float32"));
  }
  return "";
}

function mark({ point, x, y }, onFront, scale) {
  const classes = ["mark", onFront && "front", point.met === false && "open",
    state.loss && !within(limitedLoss(point), state.loss) && "beyond"].filter(Boolean);
  return s("g", {
    class: classes.join(" "), transform: `translate(${x.toFixed(1)},${y.toFixed(1)})scale(${onFront ? 1.15 * scale : scale})`,
    style: `--c:${pointColor(point)}`, "data-id": point.id, role: "button", tabindex: "-1",
    "aria-pressed": String(state.pins.includes(point.id)), "aria-label": spoken(point, onFront),
  }, s("path", { d: pointShape(point) }));
}

/** A design in one line, for those who do not see the plot. */
function spoken(point, onFront) {
  const [ax, ay] = [AXIS.get(state.x), AXIS.get(state.y)];
  return `${fullName(point)}: ${ay.label} ${shown(valueOf(point, state.y), state.y)} ${ay.unit}, ${ax.label} ${shown(valueOf(point, state.x), state.x)} ${ax.unit}` +
    `${onFront ? ", on the front" : ""}${point.met === false ? ", misses its clock" : ""}`;
}

const placeOf = (id) => plot.places.find((place) => place.point.id === id);

function bestRing(best) {
  const { x, y } = placeOf(best.id);
  return s("g", { class: "best", "data-best": best.id, transform: `translate(${x.toFixed(1)},${y.toFixed(1)})` }, s("circle", { r: 11 }), s("circle", { class: "halo", r: 15 }));
}

function pinBadges() {
  return s("g", { class: "pins", "aria-hidden": "true" }, state.pins.map((id, i) => {
    const place = placeOf(id);
    if (!place) return null;
    return s("g", { transform: `translate(${place.x.toFixed(1)},${place.y.toFixed(1)})` },
      s("circle", { class: "around", r: 8 }), s("circle", { class: "badge", cx: 11, cy: -11, r: 8 }), s("text", { x: 11, y: -7.5 }, LETTERS[i]));
  }));
}

/** Names beside the front, towards the better corner, where nothing stands; those without room are left out. */
function frontNames(right, bottom, best) {
  const [left, up] = [AXIS.get(state.x).better < 0, AXIS.get(state.y).better > 0];
  const wanted = [best, ...plot.front].filter((point, i, all) => point && all.indexOf(point) === i && plot.marks.has(point.id));
  const taken = [...plot.taken, ...state.pins.map(placeOf).filter(Boolean).map(({ x, y }) => [x - 9, y - 20, x + 20, y + 9])];
  for (const point of plot.front) {
    const place = placeOf(point.id);
    if (place) taken.push([place.x - 5, place.y - 5, place.x + 5, place.y + 5]);
  }
  const texts = [];
  for (const point of wanted) {
    const { x, y } = placeOf(point.id);
    const size = 6.2 * fullName(point).length;
    const spots = [[left ? -9 : 9, up ? -6 : 14], [left ? -10 : 10, 3.5], [left ? -3 : 3, up ? -10 : 18], [left ? 10 : -10, up ? -8 : 16]];
    for (const [dx, dy] of point === best ? [[left ? -17 : 17, up ? -8 : 16], ...spots] : spots) {
      const leftwards = dx < 0;
      const area = [leftwards ? x + dx - size : x + dx, y + dy - 10, leftwards ? x + dx : x + dx + size, y + dy + 3];
      if (area[0] < MARGIN.left + 2 || area[2] > right + 12 || area[1] < 0 || area[3] > bottom) continue;
      if (taken.some((other) => area[0] < other[2] && other[0] < area[2] && area[1] < other[3] && other[1] < area[3])) continue;
      taken.push(area);
      texts.push(s("text", { x: (x + dx).toFixed(1), y: (y + dy).toFixed(1), class: leftwards ? "name end" : "name" }, fullName(point)));
      break;
    }
  }
  return s("g", { class: "names", "aria-hidden": "true" }, texts);
}
