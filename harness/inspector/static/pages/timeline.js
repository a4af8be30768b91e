// Who did what, when, and waited for whom: the canvas, its table, and what is chosen in it.

import {h} from '../dom.js';
import {clockMs, count, duration, many} from '../format.js';
import {grid} from '../grid.js';
import {KINDS} from '../lanes.js';
import {link, note, takeAway} from '../route.js';
import {changed, now, store} from '../store.js';
import {Timeline} from '../timeline.js';

const own = {timeline: null, chosen: null, table: false, rows: null, version: -1, noting: 0};
const KEY = [['task-done', 'done'], ['task-running', 'running'], ['task-failed', 'failed'], ['model', 'model'], ['tool', 'tool'], ['wait', 'waiting'], ['merge', 'merging']];

const button = (title, key, act) => h('button', {onclick: act, 'aria-keyshortcuts': key}, title, ' ', h('kbd', {}, key));

function chosenSpan() {
  const {agent, lane, place} = own.chosen;
  const found = lane && store.lanes[lane].get(agent);
  const task = found ? found.task[place] : store.agents.get(agent)?.task;
  const row = store.tasks.row(task), ended = found?.ended[place];
  return h('aside', {class: 'side', key: 'side', 'aria-label': 'What is chosen'},
    h('h2', {}, found ? `${KINDS[found.kind[place]]} ${store.lanes.names[found.name[place]]}` : `agent ${agent}`),
    h('dl', {},
      h('dt', {}, 'agent'), h('dd', {}, h('a', {href: link('agents', agent)}, `${agent} ${store.agents.get(agent)?.name ?? ''}`)),
      task ? [h('dt', {}, 'task'), h('dd', {}, h('a', {href: link('tasks', task)}, `${task} ${store.tasks.title[row] ?? ''}`))] : '',
      found ? [
        h('dt', {}, 'began'), h('dd', {}, `${clockMs(found.began[place])}, ${duration(found.began[place] - store.swarm.started_at)} into the run`),
        h('dt', {}, 'took'), h('dd', {}, ended === Infinity ? `${duration(now() - found.began[place])} so far` : duration(ended - found.began[place])),
      ] : ''));
}

// The stretch in sight, for pages that can look at a part of the run.
const here = () => own.timeline ? {t0: own.timeline.t0.toFixed(0), t1: Math.min(own.timeline.t1, now()).toFixed(0)} : {};

// The same spans as rows, newest first, for whoever cannot see or point at a canvas.
function rows() {
  if (own.version === store.version && own.rows) return own.rows;
  const all = [];
  for (const name of ['tasks', 'phases'])
    for (const [agent, lane] of store.lanes[name]) for (let i = 0; i < lane.n; i++) all.push([lane.began[i], lane.ended[i], agent, lane.task[i], lane.kind[i], lane.name[i]]);
  own.rows = all.sort((a, b) => b[0] - a[0]);
  own.version = store.version;
  return own.rows;
}

const COLUMNS = [{name: 'began', title: 'began', width: '120px', kind: 'num'}, {name: 'took', title: 'took', width: '100px', kind: 'num'},
  {name: 'agent', title: 'agent', width: '70px', kind: 'num'}, {name: 'task', title: 'task', width: '70px', kind: 'num'}, {name: 'kind', title: 'what', width: '90px'}, {name: 'name', title: 'which', width: '1fr'}];

function table() {
  const all = rows();
  const cell = (index, {name}) => {
    const [began, ended, agent, task, kind, which] = all[index];
    return {began: () => clockMs(began), took: () => duration(Math.min(ended, now()) - began), agent: () => ({text: String(agent), href: link('agents', agent)}),
      task: () => task ? {text: String(task), href: link('tasks', task)} : '', kind: () => KINDS[kind], name: () => store.lanes.names[which]}[name]();
  };
  return grid({key: 'spans', label: 'Spans', columns: COLUMNS, total: all.length, cell});
}

export const timeline = {
  title: 'Timeline', scrolls: false,
  keys: [['0', 'the whole run'], ['a', 'all lanes'], ['l', 'follow the end'], ['i', 'fold or show idle time'], ['t', 'as a table'], ['← →', 'the span before or behind'], ['↑ ↓', 'another lane'], ['+ −', 'nearer, farther']],
  leave() { own.chosen = null; },
  press(event) {
    if (event.key === 't') { own.table = !own.table; changed(); }
    else own.timeline?.key(event);
  },
  view(where) {
    const mount = box => {
      own.timeline = new Timeline(box, {
        choose: found => { own.chosen = found; changed(); },
        moved: ({t0, t1}) => { clearTimeout(own.noting); own.noting = setTimeout(() => note({t0: t0.toFixed(3), t1: t1.toFixed(3)}), 250); },
      });
      const t0 = Number(where.query.get('t0')), t1 = Number(where.query.get('t1')), agent = Number(where.query.get('agent'));
      if (where.query.get('fold')) own.timeline.fold();
      if (t0 && t1 > t0) { own.timeline.follow = false; own.timeline.span(t0, t1); }
      if (agent) own.timeline.select({agent, lane: null, place: -1});
      window.prong.timeline = own.timeline;
      return () => { own.timeline.destroy(); own.timeline = null; };
    };
    const spans = [...store.lanes.phases.values()].reduce((sum, lane) => sum + lane.n, 0);
    return h('div', {class: 'column'},
      h('div', {class: 'tools'},
        button('Whole run', '0', () => own.timeline?.fit()), button('All lanes', 'a', () => own.timeline?.fitLanes()),
        button(own.timeline?.follow ? 'Following' : 'Follow', 'l', () => own.timeline?.track()),
        button(own.timeline?.folded ? 'All time' : 'Fold idle time', 'i', () => { own.timeline?.fold(); changed(); }),
        h('label', {}, 'lanes by', h('select', {onchange: event => { if (own.timeline) { own.timeline.order = event.target.value; own.timeline.wanted = true; } }},
          h('option', {value: 'number'}, 'number'), h('option', {value: 'alive'}, 'who is alive'), h('option', {value: 'busy'}, 'who is busy'))),
        button(own.table ? 'As a picture' : 'As a table', 't', () => { own.table = !own.table; changed(); }),
        h('a', {class: 'button', href: link('locks', here())}, 'Locks then'), takeAway('perfetto.json', 'otlp.json'),
        h('span', {class: 'grow'}),
        store.phases ? '' : h('span', {class: 'dim', role: 'status'}, 'Reading calls and waits …'),
        h('span', {class: 'legend'}, KEY.map(([colour, text]) => h('span', {key: colour}, h('i', {class: `swatch ${colour}`}), text))),
        h('span', {class: 'dim'}, `${many(store.agents.size, 'agent')} · ${count(spans)} calls and waits`)),
      h('div', {class: own.chosen && !own.table ? 'split' : 'one', key: 'body'},
        own.table ? table() : !store.agents.size ? h('p', {class: 'empty', key: 'none'}, 'No agent has begun yet. Each gets a lane here, with its tasks, calls and waits.') : h('div', {class: 'canvas', key: 'canvas', tabindex: 0, opaque: true, role: 'application', 'aria-roledescription': 'timeline',
          'aria-label': 'Timeline of agents. Arrow keys choose spans and lanes, plus and minus zoom, t shows a table of the same.', mount}),
        own.chosen && !own.table ? chosenSpan() : ''),
      h('div', {class: 'unseen', 'aria-live': 'polite'}, own.chosen?.lane && own.timeline ? own.timeline.words(own.chosen) : ''));
  },
};
