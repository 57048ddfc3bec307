// Getting about in the plot, by pointer and by keys, and the hint beside what is looked at.

const REACH = 16; // pixels from which a pointer catches a point

function listen(svg) {
  const at = (event) => {
    const box = svg.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  let start = null;
  svg.addEventListener("pointerdown", (event) => {
    if (event.button === 0) start = at(event);
  });
  svg.addEventListener("pointermove", (event) => {
    const [x, y] = at(event);
    if (start && event.pointerType === "mouse" && event.buttons & 1) return brushTo(start, [x, y]);
    const near = nearest(x, y);
    near ? activate(near.point.id, false) : deactivate();
  });
  svg.addEventListener("pointerleave", () => svg.contains(document.activeElement) || deactivate());
  svg.addEventListener("pointerup", (event) => {
    const [from, to] = [start, at(event)];
    start = null;
    if (plot.brush.getAttribute("visibility") === "visible") return zoomTo(from, to);
    const near = nearest(...to);
    if (near && from) togglePin(near.point.id);
  });
  svg.addEventListener("dblclick", (event) => nearest(...at(event)) || update({ view: null }));
  svg.addEventListener("keydown", pressed);
  svg.addEventListener("focusin", (event) => event.target.dataset?.id && activate(event.target.dataset.id, true));
  svg.addEventListener("focusout", () => deactivate());
}

function nearest(x, y) {
  let [found, least] = [null, REACH ** 2];
  for (const place of plot.places) {
    const far = (place.x - x) ** 2 + (place.y - y) ** 2;
    if (far < least) [found, least] = [place, far];
  }
  return found;
}

function brushTo([x0, y0], [x, y]) {
  if (Math.hypot(x - x0, y - y0) < 6) return;
  for (const [name, value] of Object.entries({ x: Math.min(x0, x), y: Math.min(y0, y), width: Math.abs(x - x0), height: Math.abs(y - y0), visibility: "visible" }))
    plot.brush.setAttribute(name, value);
}

function zoomTo([x0, y0], [x1, y1]) {
  const { sx, sy } = plot.scales;
  const order = (a, b) => (a < b ? [a, b] : [b, a]);
  const view = [...order(sx.invert(x0), sx.invert(x1)), ...order(sy.invert(y0), sy.invert(y1))];
  if (Math.abs(x1 - x0) < 6 || Math.abs(y1 - y0) < 6) return render();
  update({ view });
}

/** Zoom by a factor about the design that is looked at, or the middle. */
function zoomBy(factor) {
  const { sx, sy, right, bottom } = plot.scales;
  const centre = placeOf(plot.active) ?? { x: (MARGIN.left + right) / 2, y: (MARGIN.top + bottom) / 2 };
  const reach = (from, to, middle) => [middle + (from - middle) * factor, middle + (to - middle) * factor];
  const [left, end] = reach(MARGIN.left, right, centre.x);
  const [low, high] = reach(bottom, MARGIN.top, centre.y);
  const edges = [sx.invert(left), sx.invert(end), sy.invert(low), sy.invert(high)];
  if (edges.every(Number.isFinite)) update({ view: edges });
}

const byX = (a, b) => a.x - b.x || b.y - a.y;
const byY = (a, b) => b.y - a.y || a.x - b.x;

function pressed(event) {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const { key } = event;
  const frontIds = new Set(plot.front.map((point) => point.id));
  const among = event.shiftKey ? plot.places.filter((place) => frontIds.has(place.point.id)) : plot.places;
  const walk = (order, step) => {
    const row = [...among].sort(order);
    const here = placeOf(plot.active);
    let i = row.indexOf(here);
    if (i < 0) i = here ? row.findIndex((place) => order(place, here) > 0) - (step > 0 ? 1 : 0) : -step;
    const next = row[Math.min(Math.max(i + step, 0), row.length - 1)];
    if (next) plot.marks.get(next.point.id).focus({ preventScroll: true });
  };
  const ends = (last) => [...among].sort(byX).at(last ? -1 : 0);
  const actions = {
    ArrowRight: () => walk(byX, 1), ArrowLeft: () => walk(byX, -1),
    ArrowUp: () => walk(byY, 1), ArrowDown: () => walk(byY, -1),
    Home: () => plot.marks.get(ends(false)?.point.id)?.focus(), End: () => plot.marks.get(ends(true)?.point.id)?.focus(),
    Enter: () => plot.active && togglePin(plot.active), " ": () => plot.active && togglePin(plot.active),
    "+": () => zoomBy(0.6), "=": () => zoomBy(0.6), "-": () => zoomBy(1 / 0.6), 0: () => update({ view: null }),
    Escape: () => (byId("tip").hidden ? state.view && update({ view: null }) : hideTip()),
  };
  if (!actions[key]) return;
  event.preventDefault();
  actions[key]();
}

function activate(id, focused) {
  if (plot.active === id && !byId("tip").hidden) return;
  for (const [other, element] of plot.marks) if (element.getAttribute("tabindex") === "0" && other !== id) element.setAttribute("tabindex", "-1");
  plot.active = id;
  plot.marks.get(id).setAttribute("tabindex", "0");
  const { x, y } = placeOf(id);
  plot.ring.setAttribute("transform", `translate(${x.toFixed(1)},${y.toFixed(1)})`);
  plot.ring.setAttribute("visibility", "visible");
  plot.ring.classList.toggle("focused", focused);
  const box = plot.svg.getBoundingClientRect();
  showTip(pointTip(BY_ID.get(id)), box.left + x, box.top + y);
}

function deactivate() {
  plot.ring.setAttribute("visibility", "hidden");
  hideTip();
}

/** Shows a hint beside a place of the window, on the side where there is room. */
function showTip(content, x, y) {
  const tip = byId("tip");
  tip.replaceChildren(...[content].flat());
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const [wide, high] = [document.documentElement.clientWidth, window.innerHeight];
  const within = (place, size, room) => `${Math.min(Math.max(place, 6), Math.max(6, room - size - 6))}px`;
  const sides = [x + 16, x - 16 - width].filter((left) => left >= 6 && left + width <= wide - 6);
  const under = y + 18 + height <= high - 6 ? y + 18 : y - 18 - height; // where neither side has room
  tip.style.left = within(sides[0] ?? x - width / 2, width, wide);
  tip.style.top = within(sides.length ? y - height / 2 : under, height, high);
}

function hideTip() {
  byId("tip").hidden = true;
}
