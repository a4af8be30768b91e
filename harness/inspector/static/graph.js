// A small graph of tasks as SVG: whom one needs and who needs it, so that each node is a link that keys and readers find.

import {h} from './dom.js';
import {cut} from './format.js';
import {layout} from './layout.js';
import {link} from './route.js';
import {store} from './store.js';

const WIDE = 210, HIGH = 46, GAP_X = 60, GAP_Y = 12, MOST = 250;

// The tasks that a task needs, directly or not, and those that need it; nearest first, at most `MOST`.
export function around(task) {
  const found = new Set([task]);
  const walk = edges => {
    let edge = [task];
    while (edge.length && found.size < MOST) {
      const next = [];
      for (const id of edge) for (const one of edges.get(id) ?? []) if (!found.has(one) && found.size < MOST) { found.add(one); next.push(one); }
      edge = next;
    }
  };
  walk(store.needed);
  walk(store.needers);
  return [...found];
}

export function graph(ids, {chosen} = {}) {
  const inside = new Set(ids), edges = [];
  for (const id of ids) for (const to of store.needers.get(id) ?? []) if (inside.has(to)) edges.push([id, to]);
  const {place, layers, rows, cycles} = layout(ids, edges);
  const x = id => place.get(id).layer * (WIDE + GAP_X) + 8, y = id => (place.get(id).row + (rows - 1) / 2) * (HIGH + GAP_Y) + 8;
  const width = layers * (WIDE + GAP_X), height = rows * (HIGH + GAP_Y) + 16;
  return h('div', {class: 'graph'},
    cycles.length ? h('p', {class: 'bad'}, `These need each other in a circle: ${cycles.join(', ')}`) : '',
    h('svg', {svg: true, width, height, viewBox: `0 0 ${width} ${height}`, role: 'group', 'aria-label': `${ids.length} tasks and what they need`},
      edges.map(([from, to]) => {
        const x0 = x(from) + WIDE, y0 = y(from) + HIGH / 2, x1 = x(to), y1 = y(to) + HIGH / 2, bend = Math.max(30, (x1 - x0) / 2);
        return h('path', {svg: true, key: `${from} ${to}`, class: from === chosen || to === chosen ? 'edge near' : 'edge', d: `M${x0} ${y0}C${x0 + bend} ${y0} ${x1 - bend} ${y1} ${x1} ${y1}`});
      }),
      ids.map(id => node(id, x(id), y(id), id === chosen))));
}

function node(id, x, y, chosen) {
  const row = store.tasks.row(id), state = store.tasks.state[row] ?? 'blocked';
  return h('a', {svg: true, key: `node ${id}`, href: link('tasks', id, {view: 'graph'}), class: chosen ? 'node chosen' : 'node'},
    h('rect', {svg: true, x, y, width: WIDE, height: HIGH, rx: 6}),
    h('rect', {svg: true, x, y, width: 6, height: HIGH, rx: 3, class: `fill task-${state}`}),
    h('text', {svg: true, x: x + 14, y: y + 19}, `${id} ${state}`),
    h('text', {svg: true, x: x + 14, y: y + 36, class: 'soft'}, cut(store.tasks.title[row] ?? '', 30)));
}
