// All tasks at once: those with needs in layers from left to right, the others as a block behind, drawn on a canvas.
//
// It answers where it stands still and what hangs together; what one task needs is the graph of that task.  The table of
// tasks is its twin for keys and readers.

import {layout} from './layout.js';
import {store} from './store.js';

const WIDE = 26, HIGH = 10, GAP_X = 46, GAP_Y = 5, NEAR = 6, LEGIBLE = 2, NEAREST = 6;
const STATES = ['blocked', 'ready', 'running', 'parked', 'done', 'failed', 'cancelled'];

// Where each task stands, in units that do not change with the zoom.  A layer of many tasks is several columns, so that
// the whole fills a screen of that shape (width to height) instead of being a thread.
function placed(shape) {
  const linked = new Set();
  for (const [need, task] of store.needs) { linked.add(need); linked.add(task); }
  const ids = store.tasks.id.filter(id => linked.has(id)), rest = store.tasks.id.filter(id => !linked.has(id));
  const {place, layers} = layout(ids, store.needs), of = Array.from({length: layers}, () => []);
  for (const id of ids) of[place.get(id).layer].push(id);
  for (const layer of of) layer.sort((a, b) => place.get(a).row - place.get(b).row);
  if (rest.length) of.push(rest);  // what needs nobody and nobody needs stands behind the others
  const sizeFor = rows => [of.reduce((sum, layer) => sum + GAP_X + Math.ceil(layer.length / rows) * (WIDE + NEAR), 0), Math.min(rows, Math.max(1, ...of.map(layer => layer.length))) * (HIGH + GAP_Y)];
  let best = 1, least = Infinity;
  for (let rows = 1; rows < 20_000; rows = Math.ceil(rows * 1.15)) { const [width, height] = sizeFor(rows), size = Math.max(width / shape, height); if (size < least) { least = size; best = rows; } }
  const at = new Map(), [width, height] = sizeFor(best);
  let x = 0;
  for (const layer of of) {
    const columns = Math.ceil(layer.length / best), rows = Math.ceil(layer.length / Math.max(1, columns)), top = (height - rows * (HIGH + GAP_Y)) / 2;
    layer.forEach((id, n) => at.set(id, [x + Math.floor(n / rows) * (WIDE + NEAR), top + n % rows * (HIGH + GAP_Y)]));
    x += columns * (WIDE + NEAR) + GAP_X;
  }
  return {at, wide: width - GAP_X, high: height};
}

export class TaskMap {
  constructor(box, {choose, chosen}) {
    Object.assign(this, {box, choose, chosen, x: 0, y: 0, scale: 0, made: '', undo: [], wanted: true});
    this.canvas = document.createElement('canvas');
    this.canvas.setAttribute('aria-hidden', 'true');
    box.append(this.canvas);
    this.context = this.canvas.getContext('2d');
    this.theme();
    const watch = new ResizeObserver(() => { this.wanted = true; });
    watch.observe(box);
    this.undo.push(() => watch.disconnect());
    this.on(window, 'themechange', () => this.theme());
    this.on(this.canvas, 'wheel', event => { event.preventDefault(); this.zoom(event.deltaY > 0 ? 1 / 1.2 : 1.2, event.offsetX, event.offsetY); }, {passive: false});
    this.on(this.canvas, 'pointerdown', event => { this.canvas.setPointerCapture(event.pointerId); this.drag = {x: event.offsetX, y: event.offsetY, from: [this.x, this.y], moved: false}; });
    this.on(this.canvas, 'pointermove', event => this.move(event));
    this.on(this.canvas, 'pointerup', event => { const {moved} = this.drag ?? {}; this.drag = null; const id = this.hit(event); if (!moved && id != null) this.choose(id); });
    const frame = () => { if (this.gone) return; this.tick(); requestAnimationFrame(frame); };
    frame();
  }

  on(target, kind, act, options) { target.addEventListener(kind, act, options); this.undo.push(() => target.removeEventListener(kind, act, options)); }

  destroy() { this.gone = true; for (const undo of this.undo) undo(); this.canvas.remove(); }

  theme() {
    const style = getComputedStyle(document.documentElement);
    this.colours = Object.fromEntries(['raised', 'line', 'text', 'dim', 'accent', ...STATES.map(one => `task-${one}`)].map(name => [name, style.getPropertyValue(`--${name}`).trim()]));
    this.wanted = true;
  }

  tick() {
    const ratio = devicePixelRatio || 1, {clientWidth: width, clientHeight: height} = this.box;
    if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(height * ratio)) {
      this.canvas.width = Math.round(width * ratio); this.canvas.height = Math.round(height * ratio);
      this.canvas.style.width = `${width}px`; this.canvas.style.height = `${height}px`;
      this.wanted = true;
    }
    const made = `${store.tasks.size} ${store.needs.length} ${this.moved ? '' : `${width} ${height}`}`;
    if (!width || !height) return;
    if (made !== this.made) { this.made = made; Object.assign(this, placed(width / height)); if (!this.moved) this.fit(); this.wanted = true; }
    if (this.drawn !== store.version) { this.drawn = store.version; this.wanted = true; }
    if (!this.wanted) return;
    this.wanted = false;
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.draw(width, height);
  }

  fit() {
    const {clientWidth: width, clientHeight: height} = this.box;
    this.scale = Math.min(NEAREST, (width - 40) / Math.max(1, this.wide), (height - 40) / Math.max(1, this.high));
    this.x = (width - this.wide * this.scale) / 2; this.y = (height - this.high * this.scale) / 2;
    this.wanted = true;
  }

  draw(width, height) {
    const c = this.context, {colours, scale} = this;
    c.fillStyle = colours.raised; c.fillRect(0, 0, width, height);
    c.strokeStyle = colours.line; c.lineWidth = Math.max(.4, Math.min(1.2, scale));
    c.beginPath();
    for (const [need, task] of store.needs) {
      const from = this.at.get(need), to = this.at.get(task);
      if (!from || !to) continue;
      const x0 = this.x + (from[0] + WIDE) * scale, y0 = this.y + (from[1] + HIGH / 2) * scale, x1 = this.x + to[0] * scale, y1 = this.y + (to[1] + HIGH / 2) * scale;
      if (Math.max(x0, x1) < 0 || Math.min(x0, x1) > width || Math.max(y0, y1) < 0 || Math.min(y0, y1) > height) continue;
      c.moveTo(x0, y0); c.lineTo(x1, y1);
    }
    c.stroke();
    c.font = `${Math.min(12, HIGH * scale * .55)}px system-ui, sans-serif`; c.textBaseline = 'middle';
    const w = Math.max(1.5, WIDE * scale), high = Math.max(1.5, HIGH * scale);
    store.tasks.id.forEach((id, row) => {
      const spot = this.at.get(id);
      if (!spot) return;
      const x = this.x + spot[0] * scale, y = this.y + spot[1] * scale;
      if (x + w < 0 || x > width || y + high < 0 || y > height) return;
      c.fillStyle = colours[`task-${store.tasks.state[row]}`];
      c.fillRect(x, y, w, high);
      if (id === this.chosen()) { c.strokeStyle = colours.accent; c.lineWidth = 3; c.strokeRect(x - 2, y - 2, w + 4, high + 4); }
      if (scale > LEGIBLE) { c.fillStyle = colours.text; c.save(); c.beginPath(); c.rect(x, y, w, high); c.clip(); c.fillText(`${id} ${store.tasks.title[row]}`, x + 4, y + high / 2); c.restore(); }
    });
  }

  move(event) {
    if (!this.drag) { const id = this.hit(event); this.canvas.style.cursor = id == null ? 'grab' : 'pointer'; this.canvas.title = id == null ? '' : this.words(id); return; }
    const dx = event.offsetX - this.drag.x, dy = event.offsetY - this.drag.y;
    if (Math.abs(dx) + Math.abs(dy) > 3) this.drag.moved = this.moved = true;
    if (this.drag.moved) { this.x = this.drag.from[0] + dx; this.y = this.drag.from[1] + dy; this.wanted = true; }
  }

  zoom(factor, x = this.box.clientWidth / 2, y = this.box.clientHeight / 2) {
    const scale = Math.max(.01, Math.min(12, this.scale * factor)), by = scale / this.scale;
    this.moved = true;
    this.x = x - (x - this.x) * by; this.y = y - (y - this.y) * by; this.scale = scale; this.wanted = true;
  }

  hit({offsetX, offsetY}) {
    const x = (offsetX - this.x) / this.scale, y = (offsetY - this.y) / this.scale, slack = 2 / this.scale;
    for (const [id, [left, top]] of this.at ?? []) if (x >= left - slack && x <= left + WIDE + slack && y >= top - slack && y <= top + HIGH + slack) return id;
    return null;
  }

  words(id) { const row = store.tasks.row(id); return `${id} ${store.tasks.state[row]}: ${store.tasks.title[row]}`; }

  key(event) {
    if (event.key === '+' || event.key === '=') this.zoom(1.4);
    else if (event.key === '-') this.zoom(1 / 1.4);
    else if (event.key === '0') { this.moved = false; this.fit(); }
    else return false;
    return true;
  }
}
