// The timeline: one lane per agent, drawn on a canvas, so that a hundred thousand spans cost a frame and no nodes.
//
//   whole run    task bars by outcome; waits are a strip below them, always
//   zoomed in    calls of the model and of tools appear inside
//
// It never moves what somebody looks at: following the end is a mode that a pan or a zoom ends.

import {KIND, KINDS} from './lanes.js';
import {clock, duration} from './format.js';
import {now, store} from './store.js';
import {idle, STRAIGHT} from './warp.js';

const LABEL = 190, TOP = 26, MAP = 34, LANE = 26, DETAIL_S = .25;
const OUTCOME_COLOURS = ['task-running', 'task-done', 'task-failed', 'task-cancelled', 'task-parked', 'task-failed', 'task-done', 'task-cancelled'];
const PHASE_COLOURS = ['task-running', 'model', 'tool', 'wait', 'merge'];
const STEPS = [.1, .2, .5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];

export class Timeline {
  constructor(box, {choose, moved}) {
    this.box = box;
    this.choose = choose;
    this.moved = moved;
    this.canvas = document.createElement('canvas');
    this.canvas.setAttribute('aria-hidden', 'true');
    box.append(this.canvas);
    this.context = this.canvas.getContext('2d');
    this.t0 = store.swarm.started_at;
    this.t1 = Math.max(now(), this.t0 + 1);
    this.top = 0;
    this.laneHeight = LANE;
    this.follow = !store.swarm.ended_at;
    this.order = 'number';
    this.chosen = null;
    this.colours = null;
    this.warp = STRAIGHT;
    this.wanted = true;
    this.undo = [];
    this.measure();
    this.listen();
    this.theme();
    const frame = () => { if (this.gone) return; this.tick(); this.handle = requestAnimationFrame(frame); };
    frame();
  }

  destroy() {
    this.gone = true;
    cancelAnimationFrame(this.handle);
    for (const undo of this.undo) undo();
    this.canvas.remove();
  }

  on(target, kind, act, options) {
    target.addEventListener(kind, act, options);
    this.undo.push(() => target.removeEventListener(kind, act, options));
  }

  listen() {
    const watch = new ResizeObserver(() => { this.wanted = true; });
    watch.observe(this.box);
    this.undo.push(() => watch.disconnect());
    this.on(window, 'themechange', () => this.theme());
    this.on(matchMedia('(prefers-color-scheme: dark)'), 'change', () => this.theme());
    this.on(this.canvas, 'wheel', event => this.wheel(event), {passive: false});
    this.on(this.canvas, 'pointerdown', event => this.down(event));
    this.on(this.canvas, 'pointermove', event => this.move(event));
    this.on(this.canvas, 'pointerup', event => this.up(event));
  }

  theme() {
    const style = getComputedStyle(document.documentElement);
    const names = ['ground', 'raised', 'sunk', 'line', 'text', 'dim', 'accent', ...OUTCOME_COLOURS, ...PHASE_COLOURS];
    this.colours = Object.fromEntries(names.map(name => [name, style.getPropertyValue(`--${name}`).trim()]));
    this.wanted = true;
  }

  // The agents in the order of their lanes.
  agents() {
    if (this.listed?.version === store.version && this.listed.order === this.order) return this.listed.ids;
    const {id, task, ended_at} = store.agents;
    let ids = id.filter((_, row) => task[row] != null);
    if (this.order === 'busy') { const busy = new Map(ids.map(one => [one, this.busy(one)])); ids = [...ids].sort((a, b) => busy.get(b) - busy.get(a)); }
    else if (this.order === 'alive') ids = [...ids].sort((a, b) => (ended_at[store.agents.row(a)] == null ? 0 : 1) - (ended_at[store.agents.row(b)] == null ? 0 : 1) || a - b);
    this.listed = {version: store.version, order: this.order, ids};
    return ids;
  }

  busy(agent) {
    const lane = store.lanes.phases.get(agent);
    let sum = 0;
    if (lane) for (let i = 0; i < lane.n; i++) if (lane.kind[i] === KIND.model || lane.kind[i] === KIND.tool) sum += Math.min(lane.ended[i], now()) - lane.began[i];
    return sum;
  }

  fit() { this.span(store.swarm.started_at, Math.max(now(), store.swarm.started_at + 1)); this.follow = false; this.laneHeight = LANE; }

  fitLanes() {
    const room = this.box.clientHeight - TOP - MAP;
    this.laneHeight = Math.max(2, Math.min(LANE, room / Math.max(1, this.agents().length)));
    this.top = 0;
    this.wanted = true;
  }

  span(t0, t1) {
    const middle = (t0 + t1) / 2, half = Math.max(.005, (t1 - t0) / 2);
    this.t0 = middle - half; this.t1 = middle + half;
    this.measure();
    this.wanted = true;
    this.moved?.(this);
  }

  measure() { this.w0 = this.warp.fold(this.t0); this.length = Math.max(.005, this.warp.fold(this.t1) - this.w0); }

  // Keep the end in sight, as much of the time as is seen now.
  track() { this.follow = true; this.wanted = true; }

  // Where the idle stretches are folded, the screen is even in the folded time, and only there.
  x(time) { return LABEL + (this.warp.fold(time) - this.w0) / this.length * (this.width - LABEL); }
  time(x) { return this.warp.unfold(this.w0 + (x - LABEL) / (this.width - LABEL) * this.length); }

  // Fold the stretches in which nothing happened, or show all time evenly again.
  fold() {
    this.warp = this.warp === STRAIGHT ? idle(store.lanes.phases, store.swarm.started_at, now()) : STRAIGHT;
    this.foldedAt = performance.now();
    this.span(this.t0, this.t1);
  }

  get folded() { return this.warp !== STRAIGHT; }

  tick() {
    const scale = devicePixelRatio || 1, {clientWidth: width, clientHeight: height} = this.box;
    if (this.canvas.width !== Math.round(width * scale) || this.canvas.height !== Math.round(height * scale)) {
      this.canvas.width = Math.round(width * scale); this.canvas.height = Math.round(height * scale);
      this.canvas.style.width = `${width}px`; this.canvas.style.height = `${height}px`;
      this.wanted = true;
    }
    this.width = width; this.height = height;
    if (this.follow && !store.swarm.ended_at) { const {length} = this; this.t1 = now() + length * .02; this.t0 = this.warp.unfold(this.warp.fold(this.t1) - length); this.measure(); this.wanted = true; }
    if (this.folded && !store.swarm.ended_at && performance.now() - this.foldedAt > 5000) { this.warp = STRAIGHT; this.fold(); }
    if (this.drawn !== store.version) { this.drawn = store.version; this.wanted = true; }
    if (!this.wanted || width < LABEL) return;
    this.wanted = false;
    const began = performance.now();
    this.context.setTransform(scale, 0, 0, scale, 0, 0);
    this.draw();
    this.drawMs = performance.now() - began;
  }

  draw() {
    const c = this.context, {colours} = this;
    c.fillStyle = colours.raised;
    c.fillRect(0, 0, this.width, this.height);
    this.axis();
    c.save();
    c.beginPath(); c.rect(0, TOP, this.width, this.height - TOP - MAP); c.clip();
    const agents = this.agents(), first = Math.max(0, Math.floor(this.top / this.laneHeight));
    const last = Math.min(agents.length, Math.ceil((this.top + this.height - TOP - MAP) / this.laneHeight));
    for (let row = first; row < last; row++) this.lane(agents[row], TOP + row * this.laneHeight - this.top, row);
    this.arrow();
    c.restore();
    this.minimap();
  }

  axis() {
    const c = this.context, {colours} = this;
    const step = STEPS.find(one => one / this.length * (this.width - LABEL) > 90) ?? 86400;
    c.font = '11px system-ui, sans-serif'; c.textBaseline = 'middle'; c.fillStyle = colours.dim; c.strokeStyle = colours.line;
    c.lineWidth = 1;
    c.beginPath();
    const zero = store.swarm.started_at;
    let free = 0;
    for (let t = zero + Math.ceil((this.t0 - zero) / step) * step; t < this.t1; t += step) {
      const x = Math.round(this.x(t)) + .5;
      if (x < LABEL || x < free) continue;
      free = this.folded ? x + 60 : 0;
      c.moveTo(x, TOP - 6); c.lineTo(x, this.height - MAP);
      c.fillText(duration(t - zero), x + 4, TOP / 2);
    }
    c.globalAlpha = .6; c.stroke(); c.globalAlpha = 1;
    c.fillText(clock(this.t0), 12, TOP / 2);
    this.gaps();
  }

  // A folded stretch is a band that says how long it is.
  gaps() {
    const c = this.context;
    for (const [from, to] of this.warp.gaps) {
      if (to < this.t0 || from > this.t1) continue;
      const left = Math.max(LABEL, this.x(from)), right = this.x(to);
      c.fillStyle = this.colours.sunk; c.fillRect(left, TOP, Math.max(2, right - left), this.height - TOP - MAP);
      c.fillStyle = this.colours.dim; c.fillText(`⇥ ${duration(to - from)}`, left + 2, TOP - 5);
    }
  }

  lane(agent, y, row) {
    const c = this.context, {colours, laneHeight} = this, tall = laneHeight >= 12;
    const at = store.agents.row(agent);
    if (this.chosen?.agent === agent) { c.fillStyle = colours.sunk; c.fillRect(0, y, this.width, laneHeight); }
    else if (tall && row % 2) { c.fillStyle = colours.ground; c.fillRect(0, y, this.width, laneHeight); }
    if (tall) {
      c.fillStyle = store.agents.ended_at[at] == null ? colours.text : colours.dim;
      c.font = '12px system-ui, sans-serif';
      const task = store.agents.task[at], title = store.tasks.title[store.tasks.row(task)] ?? '';
      c.save(); c.beginPath(); c.rect(0, y, LABEL - 8, laneHeight); c.clip();
      c.fillText(`${agent}  ${title}`, 12, y + laneHeight / 2);
      c.restore();
    }
    c.save(); c.beginPath(); c.rect(LABEL, y, this.width - LABEL, laneHeight); c.clip();
    const gap = tall ? 3 : laneHeight > 4 ? .5 : 0, height = laneHeight - 2 * gap;
    const detail = this.length / (this.width - LABEL) < DETAIL_S && tall;
    const tasks = store.lanes.tasks.get(agent), phases = store.lanes.phases.get(agent);
    const level = Math.floor(Math.log2(this.length / (this.width - LABEL))) + (tall ? -1 : 1);  // of low lanes nobody sees single pixels
    if (tasks) this.bars(tasks.runs(level, {waits: false}), y + gap, height, OUTCOME_COLOURS, detail ? .3 : .85);
    if (phases && detail) this.phases(phases, y + gap, height);
    else if (phases) { const strip = Math.max(1.5, height * .28); this.bars(phases.runs(level, {waits: true}), y + gap + height - strip, strip, PHASE_COLOURS, 1); }
    c.restore();
  }

  // Bars closer than a pixel are one: what cannot be told apart costs nothing.
  bars(runs, y, height, names, alpha) {
    const c = this.context, {colours} = this, end = this.t1, present = now();
    c.globalAlpha = alpha;
    let covered = -1;
    for (let i = runs.after(this.t0); i < runs.n && runs.began[i] < end; i++) {
      const left = this.x(runs.began[i]), right = this.x(Math.min(runs.ended[i], present));
      if (right < covered) continue;
      const width = Math.max(1.2, right - left);
      c.fillStyle = colours[names[runs.look[i]]];
      c.fillRect(left, y, width, height);
      covered = Math.max(right, left) + .25;
    }
    c.globalAlpha = 1;
  }

  phases(lane, y, height) {
    const c = this.context, end = this.t1, present = now(), strip = Math.max(1.5, height * .28);
    let covered = -1;
    for (let i = lane.after(this.t0); i < lane.n && lane.began[i] < end; i++) {
      const kind = lane.kind[i], waits = kind === KIND.wait || kind === KIND.merge;
      const left = this.x(lane.began[i]), right = this.x(Math.min(lane.ended[i], present));
      if (right < covered && right - left < .5) continue;
      c.fillStyle = lane.outcome[i] === 2 ? this.colours['task-failed'] : this.colours[PHASE_COLOURS[kind]];
      if (waits) c.fillRect(left, y + height - strip, Math.max(1, right - left), strip);
      else c.fillRect(left, y + height * .12, Math.max(1, right - left - .5), height * .58);
      covered = right;
    }
  }

  // From a chosen wait to the lane of the agent that works on what it waits for.
  arrow() {
    const chosen = this.chosen;
    if (!chosen || chosen.lane !== 'phases') return;
    const lane = store.lanes.phases.get(chosen.agent), name = store.lanes.names[lane.name[chosen.place]] ?? '';
    const wanted = /^tasks .*?(\d+)/.exec(name)?.[1];
    const holder = wanted ? store.tasks.agent[store.tasks.row(+wanted)] : null;
    if (holder == null) return;
    const agents = this.agents(), from = agents.indexOf(chosen.agent), to = agents.indexOf(holder);
    if (to < 0) return;
    const c = this.context, x = Math.max(LABEL + 6, this.x(lane.began[chosen.place])), mid = row => TOP + (row + .5) * this.laneHeight - this.top;
    c.strokeStyle = this.colours.accent; c.lineWidth = 1.5;
    c.beginPath(); c.moveTo(x, mid(from)); c.lineTo(x, mid(to)); c.lineTo(x + 8, mid(to)); c.stroke();
  }

  minimap() {
    const c = this.context, {colours} = this, y = this.height - MAP, zero = store.swarm.started_at, length = Math.max(1, now() - zero);
    c.fillStyle = colours.sunk; c.fillRect(0, y, this.width, MAP);
    const load = this.load(), wide = (this.width - LABEL) / load.busy.length, most = Math.max(1, ...load.busy.map((one, i) => one + load.waits[i]));
    load.busy.forEach((busy, i) => {
      const full = MAP - 8, high = busy / most * full, wait = load.waits[i] / most * full;
      c.fillStyle = colours['task-running']; c.fillRect(LABEL + i * wide, y + MAP - 2 - high, Math.max(1, wide - .5), high);
      c.fillStyle = colours.wait; c.fillRect(LABEL + i * wide, y + MAP - 2 - high - wait, Math.max(1, wide - .5), wait);
    });
    c.fillStyle = colours.dim; c.font = '11px system-ui, sans-serif'; c.fillText('busy and waiting', 12, y + MAP / 2);
    const left = LABEL + (this.t0 - zero) / length * (this.width - LABEL), right = LABEL + (this.t1 - zero) / length * (this.width - LABEL);
    c.strokeStyle = colours.accent; c.lineWidth = 1.5;
    c.strokeRect(Math.max(LABEL, left), y + 1, Math.max(3, Math.min(this.width, right) - Math.max(LABEL, left)), MAP - 2);
  }

  // How many agents were busy and how many waited, in 120 stretches of the whole run; each span costs the same.
  load() {
    if (this.loaded && performance.now() - this.loaded.made < Math.max(1000, 50 * this.loaded.tookMs)) return this.loaded;
    const made = performance.now(), zero = store.swarm.started_at, end = now(), step = Math.max(1e-3, (end - zero) / 120);
    const busy = new Float64Array(122), waits = new Float64Array(122), whole = {busy: new Float64Array(123), waits: new Float64Array(123)};
    const add = (into, full, began, ended) => {
      const x = Math.max(0, (began - zero) / step), y = Math.min(120, (Math.min(ended, end) - zero) / step), i = Math.floor(x), j = Math.floor(y);
      if (!(y > x)) return;
      if (i === j) { into[i] += y - x; return; }
      into[i] += i + 1 - x; into[j] += y - j; full[i + 1]++; full[j]--;
    };
    for (const lane of store.lanes.tasks.values()) for (let i = 0; i < lane.n; i++) add(busy, whole.busy, lane.began[i], lane.ended[i]);
    for (const lane of store.lanes.phases.values()) for (let i = 0; i < lane.n; i++) if (lane.kind[i] >= KIND.wait) add(waits, whole.waits, lane.began[i], lane.ended[i]);
    for (let i = 0, b = 0, w = 0; i < 120; i++) { b += whole.busy[i]; w += whole.waits[i]; waits[i] += w; busy[i] = Math.max(0, busy[i] + b - waits[i]); }
    this.loaded = {busy: busy.subarray(0, 120), waits: waits.subarray(0, 120), made, tookMs: performance.now() - made};
    return this.loaded;
  }

  wheel(event) {
    event.preventDefault();
    if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) this.pan((event.deltaX || event.deltaY) / (this.width - LABEL));
    else if (event.ctrlKey || event.metaKey || event.offsetX > LABEL && event.altKey) this.zoom(event.deltaY > 0 ? 1.2 : 1 / 1.2, this.time(event.offsetX));
    else if (event.offsetX > LABEL) this.zoom(event.deltaY > 0 ? 1.15 : 1 / 1.15, this.time(event.offsetX));
    else this.scroll(event.deltaY);
  }

  zoom(factor, around = (this.t0 + this.t1) / 2) {
    this.follow = false;
    const {warp} = this, at = warp.fold(around), w1 = this.w0 + this.length;
    this.span(warp.unfold(at - (at - this.w0) * factor), warp.unfold(at + (w1 - at) * factor));
  }

  pan(share) { this.follow = false; this.shift(this.w0, share * this.length); }

  // Show as much from another place on, in the folded time.
  shift(w0, by) { const {warp, length} = this; this.span(warp.unfold(w0 + by), warp.unfold(w0 + by + length)); }

  scroll(by) {
    const most = Math.max(0, this.agents().length * this.laneHeight - (this.height - TOP - MAP));
    this.top = Math.max(0, Math.min(most, this.top + by));
    this.wanted = true;
  }

  down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.drag = {x: event.offsetX, y: event.offsetY, w0: this.w0, top: this.top, moved: false, map: event.offsetY > this.height - MAP};
    if (this.drag.map) this.jumpTo(event.offsetX);
  }

  move(event) {
    const drag = this.drag;
    if (!drag) { this.hover(event); return; }
    const dx = event.offsetX - drag.x, dy = event.offsetY - drag.y;
    if (Math.abs(dx) + Math.abs(dy) > 3) drag.moved = true;
    if (drag.map) { this.jumpTo(event.offsetX); return; }
    if (!drag.moved) return;
    this.follow = false;
    this.shift(drag.w0, -dx / (this.width - LABEL) * this.length);
    this.top = drag.top;
    this.scroll(-dy);
  }

  up(event) {
    const drag = this.drag;
    this.drag = null;
    if (drag && !drag.moved && !drag.map) { this.select(this.hit(event.offsetX, event.offsetY)); this.box.focus(); }
  }

  jumpTo(x) {
    const zero = store.swarm.started_at, at = zero + (x - LABEL) / (this.width - LABEL) * (now() - zero), half = (this.t1 - this.t0) / 2;
    this.follow = false;
    this.span(at - half, at + half);
  }

  hover(event) {
    const found = this.hit(event.offsetX, event.offsetY);
    this.canvas.style.cursor = found?.lane ? 'pointer' : 'default';
    this.canvas.title = found?.lane ? this.words(found) : '';
  }

  // What is under a point: {agent, lane, place}, or only the agent where its lane is empty there.
  hit(x, y) {
    const row = Math.floor((y - TOP + this.top) / this.laneHeight), agent = this.agents()[row];
    if (agent === undefined || y < TOP || y > this.height - MAP) return null;
    const time = this.time(x), slack = 3 / (this.width - LABEL) * this.length;
    for (const name of ['phases', 'tasks']) {
      const lane = store.lanes[name].get(agent);
      if (!lane || x < LABEL) continue;
      let best = -1;
      for (let i = lane.after(time - slack); i < lane.n && lane.began[i] <= time + slack; i++)
        if (lane.ended[i] >= time - slack && (best < 0 || lane.ended[i] - lane.began[i] < lane.ended[best] - lane.began[best])) best = i;
      if (best >= 0) return {agent, lane: name, place: best};
    }
    return {agent, lane: null, place: -1};
  }

  select(found) { this.chosen = found; this.wanted = true; this.choose(found); }

  words({agent, lane, place}) {
    const found = store.lanes[lane].get(agent);
    const length = Math.min(found.ended[place], now()) - found.began[place];
    return `agent ${agent}, task ${found.task[place]}: ${KINDS[found.kind[place]]} ${store.lanes.names[found.name[place]]}, ${duration(length)}${found.ended[place] === Infinity ? ' so far' : ''}`;
  }

  key(event) {
    const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (step && this.chosen?.lane && !event.shiftKey) this.next(step);
    else if (step) this.pan(step * .1);
    else if (event.key === 'ArrowDown' || event.key === 'ArrowUp') this.nextLane(event.key === 'ArrowDown' ? 1 : -1);
    else if (event.key === '+' || event.key === '=') this.zoom(1 / 1.5);
    else if (event.key === '-') this.zoom(1.5);
    else if (event.key === '0') this.fit();
    else if (event.key === 'a') this.fitLanes();
    else if (event.key === 'l') this.track();
    else if (event.key === 'i') this.fold();
    else return;
    event.preventDefault();
  }

  next(step) {
    const lane = store.lanes[this.chosen.lane].get(this.chosen.agent), place = Math.max(0, Math.min(lane.n - 1, this.chosen.place + step));
    this.select({...this.chosen, place});
    const began = lane.began[place];
    if (began < this.t0 || began > this.t1) this.span(began - (this.t1 - this.t0) / 2, began + (this.t1 - this.t0) / 2);
  }

  nextLane(step) {
    const agents = this.agents(), row = Math.max(0, Math.min(agents.length - 1, agents.indexOf(this.chosen?.agent) + step)), agent = agents[row];
    const lane = store.lanes.tasks.get(agent);
    this.select({agent, lane: lane ? 'tasks' : null, place: lane ? 0 : -1});
    const y = row * this.laneHeight;
    if (y < this.top) this.scroll(y - this.top);
    else if (y + this.laneHeight > this.top + this.height - TOP - MAP) this.scroll(y + this.laneHeight - this.top - (this.height - TOP - MAP));
  }
}
