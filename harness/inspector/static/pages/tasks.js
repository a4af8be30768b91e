// All tasks as a tree or a list, and one of them: why it is where it is, what it needs, what came of it.

import {button, cancelHits} from '../act.js';
import {h} from '../dom.js';
import {clock, count, cut, duration, many, percent, short, usd} from '../format.js';
import {around, graph} from '../graph.js';
import {grid} from '../grid.js';
import {Live} from '../live.js';
import {TaskMap} from '../map.js';
import {go, link, note, route, takeAway} from '../route.js';
import {changed, counts, now, store} from '../store.js';

const FINAL = new Set(['done', 'failed', 'cancelled']);
const COLUMNS = [
  {name: 'id', title: 'task', width: '64px', kind: 'num'}, {name: 'state', title: 'state', width: '92px'}, {name: 'title', title: 'title', width: 'minmax(200px, 3fr)'},
  {name: 'role', title: 'role', width: '90px'}, {name: 'priority', title: 'priority', width: '70px', kind: 'num'}, {name: 'agent', title: 'agent', width: '60px', kind: 'num'},
  {name: 'took', title: 'took', width: '90px', kind: 'num'}, {name: 'input', title: 'input', width: '70px', kind: 'num'}, {name: 'cache', title: 'cache', width: '64px', kind: 'num'},
  {name: 'usd', title: 'cost', width: '80px', kind: 'num'},
];
const own = {map: null, say: '', rows: null, made: '', folded: new Set(), one: new Live(() => `tasks/${own.task}`, {every: 800}), task: null};

const took = row => { const t = store.tasks; return t.started_at[row] == null ? null : (t.ended_at[row] ?? now()) - t.started_at[row]; };
const prompt = row => (store.tasks.input[row] ?? 0) + (store.tasks.cache_read[row] ?? 0) + (store.tasks.cache_write[row] ?? 0);
const VALUE = {id: row => store.tasks.id[row], took, input: prompt, cache: row => store.tasks.cache_read[row] / prompt(row), title: row => store.tasks.title[row], state: row => store.tasks.state[row],
  role: row => store.tasks.role[row], priority: row => store.tasks.priority[row] ?? 0, agent: row => store.tasks.agent[row] ?? 0, usd: row => store.tasks.usd[row] ?? 0};

// The rows in sight of the filter, in the order of the tree or by a column: [row, depth].
function listed(query) {
  const made = `${store.version} ${JSON.stringify(query)} ${[...own.folded]}`;
  if (own.made === made) return own.rows;
  own.made = made;
  const t = store.tasks, text = query.text.toLowerCase();
  const fits = row => (!query.state || (query.state === 'open' ? !FINAL.has(t.state[row]) : t.state[row] === query.state))
    && (!query.role || t.role[row] === query.role) && (!text || t.title[row].toLowerCase().includes(text) || String(t.id[row]) === text);
  const rows = t.id.map((_, row) => row).filter(fits);
  if (query.sort) {
    const value = VALUE[query.sort] ?? VALUE.id, sign = query.down ? -1 : 1;
    own.rows = rows.sort((a, b) => { const x = value(a), y = value(b); return sign * ((x > y) - (x < y)) || a - b; }).map(row => [row, 0]);
  } else own.rows = tree(rows);
  return own.rows;
}

function tree(rows) {
  const t = store.tasks, inside = new Set(rows), children = new Map(), roots = [];
  for (const row of rows) {
    const parent = t.parent[row] == null ? undefined : t.row(t.parent[row]);
    if (parent !== undefined && inside.has(parent)) (children.get(parent) ?? children.set(parent, []).get(parent)).push(row);
    else roots.push(row);
  }
  const found = [], walk = (row, depth) => {
    found.push([row, depth, children.has(row)]);
    if (!own.folded.has(t.id[row])) for (const child of children.get(row) ?? []) walk(child, depth + 1);
  };
  for (const row of roots) walk(row, 0);
  return found;
}

function cell([row, depth, parent], {name}) {
  const t = store.tasks;
  return {
    id: () => ({text: String(t.id[row]), href: link('tasks', t.id[row])}),
    state: () => ({text: `${t.paused[row] ? '‖ ' : ''}${t.held?.[row] ? `${t.held[row]}` : t.state[row]}`, class: `state-${t.state[row]}`}),
    title: () => ({text: `${'   '.repeat(depth)}${parent ? (own.folded.has(t.id[row]) ? '▸ ' : '▾ ') : depth ? '· ' : ''}${t.title[row]}`, title: t.error[row] ?? null}),
    role: () => t.role[row] ?? '', priority: () => t.raised?.[row] > t.priority[row] ? `${t.priority[row]} → ${t.raised[row]}` : String(t.priority[row] ?? 0),
    agent: () => t.agent[row] == null ? '' : {text: String(t.agent[row]), href: link('agents', t.agent[row])},
    took: () => duration(took(row)), input: () => prompt(row) ? short(prompt(row)) : '', cache: () => prompt(row) ? percent(t.cache_read[row] / prompt(row)) : '', usd: () => t.usd[row] == null ? '' : usd(t.usd[row]),
  }[name]();
}

function filters(query, total) {
  const states = counts(), roles = [...new Set(store.tasks.role.filter(Boolean))];
  const set = change => { note(change); changed(); };
  return h('div', {class: 'tools'},
    h('label', {}, 'state', h('select', {value: query.state, onchange: event => set({state: event.target.value})},
      h('option', {value: ''}, 'all'), h('option', {value: 'open'}, 'open'), Object.entries(states).map(([state, n]) => h('option', {value: state, key: state}, `${state} (${count(n)})`)))),
    roles.length ? h('label', {}, 'role', h('select', {value: query.role, onchange: event => set({role: event.target.value})}, h('option', {value: ''}, 'all'), roles.map(role => h('option', {value: role, key: role}, role)))) : '',
    h('label', {}, 'title', h('input', {value: query.text, oninput: event => set({text: event.target.value})})),
    query.sort ? h('button', {onclick: () => set({sort: '', down: ''})}, 'As a tree') : '',
    h('button', {onclick: () => set({view: query.view === 'map' ? '' : 'map'}), 'aria-keyshortcuts': 'm'}, query.view === 'map' ? 'As a table ' : 'As a map ', h('kbd', {}, 'm')),
    takeAway('tasks.csv', 'tasks.ndjson'), query.view === 'map' ? h('span', {class: 'legend'}, Object.entries(states).filter(([, n]) => n).map(([state]) => h('span', {key: state}, h('i', {class: `swatch task-${state}`}), state))) : '', h('span', {class: 'grow'}),
    h('span', {class: 'dim', role: 'status'}, total === store.tasks.size ? many(total, 'task') : `${count(total)} of ${many(store.tasks.size, 'task')}`));
}

function steering(id, row, readOnly) {
  const state = store.tasks.state[row], open = !FINAL.has(state), target = {task: id};
  const priority = store.tasks.priority[row] ?? 0;
  return h('div', {class: 'choices'},
    open ? [
      store.tasks.paused[row] ? button({label: 'Go on', op: 'resume', target, readOnly}) : button({label: 'Pause', op: 'pause', target, readOnly}),
      button({label: 'Priority +1', op: 'priority', target, args: {priority: priority + 1}, readOnly}), button({label: '−1', op: 'priority', target, args: {priority: priority - 1}, readOnly}),
      ['running', 'parked'].includes(state) && store.tasks.agent[row] != null ? button({label: 'Another agent', op: 'kill', target, danger: true, readOnly, confirm: 'The process of its agent ends at once; another agent goes on with the conversation.'}) : '',
      button({label: 'Cancel…', op: 'cancel', target, danger: true, readOnly, confirm: () => cancelHits(id)}),
    ] : state === 'done' ? '' : [
      button({label: 'Try again', op: 'retry', target, readOnly}),
      (store.needers.get(id) ?? []).length ? button({label: 'Try again with what needs it', op: 'retry', target, args: {with_dependants: true}, readOnly}) : '',
    ]);
}

const named = (title, tasks) => tasks.length ? [h('h3', {key: `h ${title}`}, title), h('ul', {class: 'plainlist', key: `l ${title}`}, tasks.map(one =>
  h('li', {key: one.id}, h('i', {class: `swatch task-${one.state}`}), h('a', {href: link('tasks', one.id)}, `${one.id} ${cut(one.title, 60)}`), h('span', {class: 'dim'}, ` ${one.state}`))))] : '';

// What a person says is read at the task's next turn.
function say(id, readOnly) {
  const args = {text: own.say};
  return h('div', {class: 'choices'}, h('input', {class: 'wide', 'aria-label': `A message to task ${id}`, placeholder: 'Tell its agent something …', value: own.say, oninput: event => { own.say = event.target.value; changed(); }}),
    button({label: 'Send', op: 'message', target: {task: id}, args, disabled: !own.say.trim(), readOnly}));
}

function detail(id, {readOnly}) {
  const row = store.tasks.row(id);
  if (row === undefined) return h('aside', {class: 'side', key: 'side'}, h('p', {}, `There is no task ${id}; the last one is ${count(store.tasks.id.at(-1) ?? 0)}. It shows here when it is created.`));
  own.task = id;
  const told = own.one.read(), t = store.tasks, one = told?.task;
  return h('aside', {class: 'side wide', key: 'side', 'aria-label': `Task ${id}`},
    h('h2', {}, `${id} ${t.title[row]}`),
    h('p', {}, h('span', {class: `badge state-${t.state[row]}`}, t.state[row]), ' ', h('a', {href: link('agents', 'task', id)}, 'conversation'), ' · ', h('a', {href: link('events', {task: id})}, 'events'), ' · ',
      h('a', {href: link('tasks', id, {view: 'graph'})}, 'needs as a graph'), t.agent[row] != null ? [' · ', h('a', {href: link('timeline', {agent: t.agent[row]})}, 'timeline')] : ''),
    steering(id, row, readOnly),
    FINAL.has(t.state[row]) ? '' : say(id, readOnly),
    own.one.problem ? h('p', {class: 'bad', role: 'alert'}, own.one.problem) : '',
    told ? [
      h('h3', {key: 'why'}, FINAL.has(t.state[row]) ? 'How it ended' : 'Why it is there'),
      h('ul', {key: 'reasons', class: 'plainlist'}, (told.why.reasons ?? []).map((reason, n) => h('li', {key: n}, reason.detail))),
      h('dl', {key: 'facts'},
        one.parent ? [h('dt', {}, 'created by'), h('dd', {}, h('a', {href: link('tasks', one.parent)}, `${one.parent} ${cut(one.parent_title, 50)}`))] : '',
        h('dt', {}, 'context'), h('dd', {}, one.context), h('dt', {}, 'attempt'), h('dd', {}, `${one.attempt} (${one.failures} of ${one.attempts} failed)`),
        h('dt', {}, 'created'), h('dd', {}, clock(one.created_at)), h('dt', {}, 'took'), h('dd', {}, duration(took(row))),
        h('dt', {}, 'tokens'), h('dd', {}, `${short(prompt(row))} in, ${percent(t.cache_read[row] / prompt(row))} from the cache, ${short(t.output[row])} out`),
        one.merge_state ? [h('dt', {}, 'merge'), h('dd', {}, one.merge_state)] : '', one.kept_branch ? [h('dt', {}, 'kept as'), h('dd', {class: 'mono'}, one.kept_branch)] : ''),
      one.error ? [h('h3', {key: 'eh'}, 'Error'), h('pre', {key: 'e', class: 'value'}, one.error)] : '',
      one.result ? [h('h3', {key: 'rh'}, 'Result'), h('pre', {key: 'r', class: 'value'}, one.result)] : '',
      h('h3', {key: 'ph'}, 'What it was asked'), h('pre', {key: 'p', class: 'value'}, one.prompt),
      named('Needs', told.needs), named('Needed by', told.needed_by), named('Created', told.children),
      told.agents.length ? [h('h3', {key: 'ah'}, 'Agents'), h('ul', {key: 'a', class: 'plainlist'}, told.agents.map(agent => h('li', {key: agent.id}, h('a', {href: link('agents', agent.id)}, `agent ${agent.id}`),
        h('span', {class: 'dim'}, ` ${agent.state}${agent.reason ? `: ${cut(agent.reason, 80)}` : ''}, ${count(agent.calls)} calls`))))] : '',
    ] : h('p', {class: 'dim'}, 'Reading …'));
}

export const tasks = {
  title: 'Tasks', scrolls: false,
  keys: [['m', 'all tasks as a map'], ['+ − 0', 'on the map: nearer, farther, all of it'], ['↑ ↓', 'the task above or below'], ['← →', 'fold, unfold']],
  press(event) {
    const id = Number(route().rest[0]), map = route().query.get('view') === 'map';
    if (event.key === 'm') { note({view: map ? '' : 'map'}); changed(); return; }
    if (map && own.map?.key(event)) return;
    if (event.key === 'ArrowLeft' && id) { own.folded.add(id); own.made = ''; changed(); }
    if (event.key === 'ArrowRight' && id) { own.folded.delete(id); own.made = ''; changed(); }
  },
  view(where, shell) {
    const query = Object.fromEntries(['state', 'role', 'text', 'sort', 'down', 'view'].map(name => [name, where.query.get(name) ?? '']));
    const id = Number(where.rest[0]) || null, rows = listed(query), selected = id ? rows.findIndex(([row]) => store.tasks.id[row] === id) : null;
    const choose = index => go('tasks', store.tasks.id[rows[index][0]], {...Object.fromEntries(where.query), view: ''});
    const onsort = name => { note(query.sort === name && query.down ? {sort: '', down: ''} : {sort: name, down: query.sort === name ? '1' : ''}); changed(); };
    const inGraph = query.view === 'graph' && id, inMap = query.view === 'map';
    own.chosen = id;
    if (own.map) own.map.wanted = true;
    const map = box => {
      own.map = new TaskMap(box, {choose: one => go('tasks', one, {...Object.fromEntries(route().query), view: 'map'}), chosen: () => own.chosen});
      return () => { own.map.destroy(); own.map = null; };
    };
    return h('div', {class: 'column'},
      inGraph ? h('div', {class: 'tools'}, h('a', {class: 'button', href: link('tasks', id)}, 'As a table'), h('span', {class: 'dim'}, `what task ${id} needs, and what needs it`)) : filters(query, rows.length),
      h('div', {class: id ? 'split broad' : 'one', key: 'body'},
        inGraph ? h('div', {class: 'scroll', key: 'graph'}, graph(around(id), {chosen: id}))
          : inMap ? h('div', {class: 'canvas', key: 'map', tabindex: 0, opaque: true, role: 'application', 'aria-roledescription': 'map', 'aria-label': `Map of ${count(store.tasks.size)} tasks and their needs. m shows a table of the same.`, mount: map})
          : rows.length ? grid({key: 'tasks', label: 'Tasks', columns: id ? COLUMNS.filter(one => !['role', 'priority'].includes(one.name)) : COLUMNS, total: rows.length, cell: (index, column) => cell(rows[index], column), selected, choose, sort: query.sort ? {name: query.sort, down: Boolean(query.down)} : null, onsort})
            : h('p', {class: 'empty', key: 'none'}, store.tasks.size ? 'No task is like that.' : 'There is no task yet.'),
        id ? detail(id, shell) : ''));
  },
};
