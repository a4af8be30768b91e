// The first page: what is wrong, worst first, with what would help; then who works, and how it goes on.

import {button} from '../act.js';
import {h} from '../dom.js';
import {count, cut, duration, many, percent, short, usd} from '../format.js';
import {Live} from '../live.js';
import {link} from '../route.js';
import {changed, counts, now, store, totals} from '../store.js';

const found = new Live('problems', {every: 700, idle: 1000});
const OPEN = new Set(['running', 'parked', 'ready', 'blocked']);

const OVER = new Set(['deadlock', 'cache', 'failed', 'merge', 'foreseen']);  // what happened once; the others last

const since = ({kind, since_at: at}) => at == null ? '' : OVER.has(kind) ? `${duration(now() - at)} ago` : `for ${duration(now() - at)}`;

function problem(one, readOnly) {
  const [page, ...rest] = one.page;
  return h('li', {key: `${one.kind} ${one.title}`, class: `problem ${one.severity}`},
    h('span', {class: 'mark', 'aria-hidden': 'true'}, one.severity === 'bad' ? '✖' : '!'),
    h('div', {}, h('b', {}, one.title), ' ', h('span', {class: 'dim'}, since(one)), one.detail ? h('p', {}, cut(one.detail, 400)) : '',
      h('div', {class: 'choices'}, h('a', {class: 'button', href: link(page, ...rest)}, 'See it'),
        one.remedies.map(({label, op, target, args}) => button({label, op, target, args, danger: ['kill', 'cancel'].includes(op), readOnly,
          confirm: op === 'kill' ? 'Its process ends at once; its task goes on with another agent.' : op === 'cancel' ? 'The task and all below it end; what was done is kept, but not merged.' : null})))));
}

function problems(readOnly) {
  const told = found.read();
  if (found.problem && !told) return h('section', {class: 'card alert'}, h('h2', {}, 'Problems cannot be read'), h('p', {}, found.problem));
  if (!told) return h('section', {class: 'card'}, h('p', {class: 'dim'}, 'Looking for problems …'));
  if (!told.problems.length) return h('section', {class: 'card calm'}, h('h2', {}, '✔ Nothing is wrong'), h('p', {class: 'dim'}, 'No failures, no long waits, no lost caches, nothing to merge by hand.'));
  const more = Object.values(told.counted).reduce((sum, one) => sum + one, 0) - told.problems.length;
  return h('section', {class: 'card', 'aria-labelledby': 'problems'}, h('h2', {id: 'problems'}, `Problems (${count(told.problems.length + more)})`),
    h('ul', {class: 'problems'}, told.problems.map(one => problem(one, readOnly))),
    more ? h('p', {class: 'dim'}, `${count(told.problems.length)} of ${count(told.problems.length + more)} are shown.`) : '');
}

function progress() {
  const states = counts(), all = Object.values(states).reduce((sum, one) => sum + one, 0);
  return h('section', {class: 'card'}, h('h2', {}, 'Tasks'),
    h('div', {class: 'stack', role: 'img', 'aria-label': Object.entries(states).map(([state, n]) => `${n} ${state}`).join(', ')},
      Object.entries(states).filter(([, n]) => n).map(([state, n]) => h('i', {key: state, class: `swatch task-${state}`, style: {width: `${n / all * 100}%`}}))),
    h('div', {class: 'legend'}, Object.entries(states).filter(([, n]) => n).map(([state, n]) =>
      h('a', {key: state, href: link('tasks', {state})}, h('i', {class: `swatch task-${state}`}), `${count(n)} ${state}`))));
}

// How many agents worked in each fortieth of the run.
function spark() {
  const zero = store.swarm.started_at, end = now(), steps = 40, step = Math.max(1e-3, (end - zero) / steps), work = new Array(steps).fill(0);
  for (const lane of store.lanes.phases.values())
    for (let i = 0; i < lane.n; i++) if (lane.kind[i] < 3) {
      const ended = Math.min(lane.ended[i], end);
      for (let k = Math.max(0, Math.floor((lane.began[i] - zero) / step)); k < steps && zero + k * step < ended; k++)
        work[k] += Math.max(0, Math.min(ended, zero + (k + 1) * step) - Math.max(lane.began[i], zero + k * step)) / step;
    }
  const most = Math.max(1, ...work);
  return h('svg', {svg: true, viewBox: `0 0 ${steps * 5} 40`, class: 'spark', role: 'img', 'aria-label': `Agents at work over time, at most ${most.toFixed(1)} at once`, preserveAspectRatio: 'none'},
    work.map((one, k) => h('rect', {svg: true, key: k, x: k * 5, y: 40 - one / most * 38, width: 4.2, height: Math.max(.5, one / most * 38)})));
}

// What concerns all of it: standing still, and a word to everybody.
const own = {say: ''};

function whole(readOnly) {
  const {paused, ended_at} = store.swarm;
  if (ended_at) return '';
  return [
    h('div', {class: 'choices', key: 'pause'}, paused ? button({label: 'Go on', op: 'resume', target: {}, readOnly}) : button({label: 'Pause the swarm', op: 'pause', target: {}, readOnly})),
    h('div', {class: 'choices', key: 'say'}, h('input', {class: 'wide', 'aria-label': 'A message to all agents', placeholder: 'Tell all agents something …', value: own.say, oninput: event => { own.say = event.target.value; changed(); }}),
      button({label: 'Send', op: 'message', target: {}, args: {text: own.say}, disabled: !own.say.trim(), readOnly})),
  ];
}

function facts(readOnly) {
  const all = totals(), run = now() - store.swarm.started_at;
  let busy = 0;
  for (const lane of store.lanes.phases.values()) for (let i = 0; i < lane.n; i++) if (lane.kind[i] === 1 || lane.kind[i] === 2) busy += Math.min(lane.ended[i], now()) - lane.began[i];
  const open = store.tasks.id.filter((_, row) => OPEN.has(store.tasks.state[row]));
  const path = Math.max(0, ...open.map(id => store.tasks.path_s[store.tasks.row(id)] ?? 0));
  const entries = [
    ['Input', `${short(all.prompt)}, ${percent(all.read / all.prompt)} from the cache`], ['Output', short(all.output)],
    ['Cost', all.usd == null ? 'not known' : `${usd(all.usd)}${run > 60 ? `, ${usd(all.usd / run * 3600)} an hour` : ''}`],
    ['At work at once', `${(busy / run).toFixed(1)} on average of ${store.swarm.slots} slots`],
    open.length ? ['Left', `${many(open.length, 'task')}${path > 0 ? `; the longest line of needs is taken to be ${duration(path)}` : ''}`] : ['Took', duration(run)],
  ];
  return h('section', {class: 'card'}, h('h2', {}, 'The run'), spark(), h('dl', {class: 'pairs'}, entries.map(([name, value]) => [h('dt', {key: `t ${name}`}, name), h('dd', {key: `d ${name}`}, value)])), whole(readOnly));
}

// What each agent that lives does now, by its newest call or wait.
function doing(agent) {
  const lane = store.lanes.phases.get(agent);
  if (!lane?.n) return ['', 0, ''];
  const place = lane.n - 1, name = store.lanes.names[lane.name[place]];
  if (lane.ended[place] !== Infinity) return ['asks the model', now() - lane.ended[place], 'model'];
  return lane.kind[place] === 2 ? [`runs ${name}`, now() - lane.began[place], 'tool'] : [`waits for ${name}`, now() - lane.began[place], 'wait'];
}

function agents() {
  const {id, task, ended_at, input, cache_read, cache_write} = store.agents;
  const alive = id.filter((_, row) => task[row] != null && ended_at[row] == null);
  const shown = alive.slice(0, 60);
  return h('section', {class: 'card'}, h('h2', {}, `Agents (${count(alive.length)} alive)`),
    alive.length ? h('table', {}, h('thead', {}, h('tr', {}, ['agent', 'task', 'does', 'for', 'input', 'cache'].map(title => h('th', {key: title, class: /input|cache|for/.test(title) ? 'num' : ''}, title)))),
      h('tbody', {}, shown.map(agent => {
        const row = store.agents.row(agent), prompt = input[row] + cache_read[row] + cache_write[row], [what, time, kind] = doing(agent);
        return h('tr', {key: agent}, h('td', {}, h('a', {href: link('agents', agent)}, String(agent))),
          h('td', {}, h('a', {href: link('tasks', task[row])}, `${task[row]} ${cut(store.tasks.title[store.tasks.row(task[row])] ?? '', 48)}`)),
          h('td', {}, h('i', {class: `swatch ${kind}`}), cut(what, 44)), h('td', {class: 'num'}, time ? duration(time) : ''), h('td', {class: 'num'}, short(prompt)), h('td', {class: 'num'}, percent(cache_read[row] / prompt)));
      }))) : h('p', {class: 'dim'}, store.swarm.ended_at ? 'The swarm has ended.' : 'Nobody works just now.'),
    alive.length > shown.length ? h('p', {class: 'dim'}, `${shown.length} of ${count(alive.length)}; `, h('a', {href: link('agents')}, 'see all')) : '');
}

export const nowPage = {
  title: 'Now',
  badge: () => { const told = found.read(); return told ? Object.values(told.counted).reduce((sum, one) => sum + one, 0) : 0; },
  view: (_where, {readOnly}) => h('div', {class: 'columns'},
    h('div', {key: 'left'}, h('section', {class: 'card', key: 'goal'}, h('h2', {}, 'Goal'), h('p', {}, cut(store.swarm.goal, 600))), problems(readOnly), progress()),
    h('div', {key: 'right'}, facts(readOnly), agents())),
};
