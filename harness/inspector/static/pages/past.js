// The swarm as it was after any event, and what has changed since another.

import {h} from '../dom.js';
import {clockMs, count, cut, duration} from '../format.js';
import {Live} from '../live.js';
import {link, note} from '../route.js';
import {changed, store} from '../store.js';

const own = {seq: null, since: null, shown: {tasks: 200, keys: 100}};
const found = new Live('past', {every: 60, asked: () => ({seq: own.seq, since: own.since})});
const STATES = ['blocked', 'ready', 'running', 'parked', 'done', 'failed', 'cancelled'];

const go = seq => { note({seq: Math.max(1, Math.min(store.seq, seq))}); changed(); };

function slider(at) {
  return h('div', {class: 'tools'},
    h('label', {class: 'long'}, 'after event', h('input', {type: 'range', min: 1, max: Math.max(1, store.seq), value: at, 'aria-valuetext': `event ${at}`, oninput: event => go(+event.target.value)})),
    h('input', {type: 'number', 'aria-label': 'Number of the event', min: 1, max: store.seq, value: at, onchange: event => go(+event.target.value)}),
    h('button', {onclick: () => go(at - 1), 'aria-keyshortcuts': ','}, '‹ one back'), h('button', {onclick: () => go(at + 1), 'aria-keyshortcuts': '.'}, 'one on ›'),
    own.since == null ? h('button', {onclick: () => { note({since: at}); changed(); }}, 'Compare from here') : h('button', {onclick: () => { note({since: ''}); changed(); }}, `Compared with event ${count(own.since)} ✕`));
}

const was = value => value === undefined || value === null ? '–' : cut(typeof value === 'string' ? value : JSON.stringify(value), 120);

function changes(told) {
  const rows = [...told.tasks.map(one => [['tasks', one.id], `task ${one.id}`, one]), ...told.agents.map(one => [['agents', one.id], `agent ${one.id}`, one]), ...told.locks.map(one => [['state', 'lock', one.id], `lock ${one.id}`, one]), ...told.keys.map(one => [['state', 'map', one.map, {key: one.key}], `${one.map} ${one.key}`, one])];
  return h('section', {class: 'card'}, h('h2', {}, `What changed since event ${count(own.since)} (${count(rows.length)})`),
    rows.length ? h('table', {class: 'even'}, h('thead', {}, h('tr', {}, ['what', 'was', 'became'].map(title => h('th', {key: title}, title)))), h('tbody', {}, rows.slice(0, 500).map(([to, name, one]) => h('tr', {key: name}, h('td', {}, h('a', {href: link(...to)}, cut(name, 70))), h('td', {class: 'dim'}, was(one.before)), h('td', {}, was(one.after)))))) : h('p', {class: 'dim'}, 'Nothing.'),
    rows.length > 500 ? h('p', {class: 'dim'}, `500 of ${count(rows.length)} are shown.`) : '');
}

function moment(told) {
  const by = Object.fromEntries(STATES.map(state => [state, told.tasks.filter(one => one.state === state)]));
  const open = [...by.running, ...by.parked, ...by.ready, ...by.blocked], alive = told.agents.filter(one => !['ended', 'dead'].includes(one.state));
  return [
    h('section', {class: 'card', key: 'tasks'}, h('h2', {}, `Tasks (${count(told.tasks.length)})`),
      h('div', {class: 'stack'}, STATES.filter(state => by[state].length).map(state => h('i', {key: state, class: `swatch task-${state}`, style: {width: `${by[state].length / told.tasks.length * 100}%`}}))),
      h('div', {class: 'legend'}, STATES.filter(state => by[state].length).map(state => h('span', {key: state}, h('i', {class: `swatch task-${state}`}), `${count(by[state].length)} ${state}`))),
      h('ul', {class: 'plainlist'}, open.slice(0, 200).map(one => h('li', {key: one.id}, h('i', {class: `swatch task-${one.state}`}), h('a', {href: link('tasks', one.id)}, `${one.id} ${cut(one.title, 70)}`), h('span', {class: 'dim'}, ` ${one.state}${one.agent ? `, agent ${one.agent}` : ''}`)))),
      open.length > 200 ? h('p', {class: 'dim'}, `200 of ${count(open.length)} open tasks are shown.`) : ''),
    h('section', {class: 'card', key: 'locks'}, h('h2', {}, `Locks held (${count(told.locks.length)})`), told.locks.length ? h('ul', {class: 'plainlist'}, told.locks.slice(0, 200).map(one => h('li', {key: one.name}, h('code', {}, one.name), ` by agent ${one.holder}, fence ${one.fence}, for ${duration(told.at - one.since_at)}`))) : h('p', {class: 'dim'}, 'None.')),
    h('section', {class: 'card', key: 'agents'}, h('h2', {}, `Agents alive (${count(alive.length)})`), h('p', {}, alive.slice(0, 100).map(one => [h('a', {key: one.id, href: link('agents', one.id)}, `${one.id} ${one.state}`), '  ']))),
    h('section', {class: 'card', key: 'keys'}, h('h2', {}, `Keys of maps (${count(told.keys_in_all)})`), told.keys_in_all ? '' : h('p', {class: 'dim'}, 'None was written yet.'), h('ul', {class: 'plainlist'}, told.keys.slice(0, 100).map(one => h('li', {key: `${one.map} ${one.key}`}, h('code', {}, `${one.map} ${one.key}`), h('span', {class: 'dim mono'}, ` ${was(one.value)}`)))), told.keys_in_all > 100 ? h('p', {class: 'dim'}, `100 of ${count(told.keys_in_all)} are shown.`) : ''),
  ];
}

export const past = {
  title: 'Past',
  keys: [[',', 'one event back'], ['.', 'one event on']],
  press(event) { if (event.key === ',') go((own.seq ?? store.seq) - 1); else if (event.key === '.') go((own.seq ?? store.seq) + 1); },
  view(where) {
    own.seq = Number(where.query.get('seq')) || store.seq;
    own.since = Number(where.query.get('since')) || null;
    const told = found.read() ?? own.told;
    if (told) own.told = told;
    if (!told) return h('div', {}, slider(own.seq), h('p', {class: 'empty'}, found.problem ?? 'Folding the log …'));
    return h('div', {}, slider(own.seq), h('p', {class: 'dim', role: 'status'}, `After event ${count(told.seq)}, at ${clockMs(told.at)}, ${duration(told.at - store.swarm.started_at)} into the run. `, h('a', {href: link('events', {from: told.seq})}, 'See the event')),
      h('div', {class: 'columns'}, h('div', {key: 'left'}, moment(told).slice(0, 1), told.changed ? changes(told.changed) : ''), h('div', {key: 'right'}, moment(told).slice(1))));
  },
};
