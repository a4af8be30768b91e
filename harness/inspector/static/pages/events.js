// Everything that happened, in order: a million rows, of which those in sight are fetched.

import {get} from '../api.js';
import {h} from '../dom.js';
import {clockMs, count, cut} from '../format.js';
import {grid} from '../grid.js';
import {link, note, takeAway} from '../route.js';
import {changed, store} from '../store.js';

const PAGE = 200, KEPT = 80;
const COLUMNS = [
  {name: 'seq', title: 'event', width: '90px', kind: 'num'}, {name: 'at', title: 'time', width: '110px', kind: 'num'},
  {name: 'agent', title: 'agent', width: '70px', kind: 'num'}, {name: 'task', title: 'task', width: '70px', kind: 'num'},
  {name: 'kind', title: 'what', width: '170px'}, {name: 'object', title: 'of', width: 'minmax(120px, 1fr)', kind: 'mono'},
  {name: 'data', title: 'data', width: 'minmax(200px, 3fr)', kind: 'mono'},
];
const own = {pages: new Map(), asked: new Set(), filter: '', rows: null, next: null, follow: false, selected: null, busy: false, problem: null};

// Without a filter a row's number is its place, so any page of the log is fetched by itself.
function row(index) {
  const page = Math.floor(index / PAGE);
  const rows = own.pages.get(page);
  if (rows) return rows[index - page * PAGE];
  if (!own.asked.has(page)) {
    own.asked.add(page);
    get('events', {from: page * PAGE + 1, limit: PAGE}).then(told => {
      own.pages.set(page, told.rows);
      if (told.rows.length < PAGE) setTimeout(() => own.pages.delete(page), 400);  // more comes
      if (own.pages.size > KEPT) own.pages.delete(own.pages.keys().next().value);
      changed();
    }).catch(() => {}).finally(() => own.asked.delete(page));
  }
  return undefined;
}

async function more(query) {
  if (own.busy) return;
  own.busy = true;
  try {
    const told = await get('events', {...query, from: own.next ?? undefined, limit: 500});
    own.rows = [...(own.rows ?? []), ...told.rows];
    own.next = told.next;
    own.problem = null;
  } catch (error) { own.problem = error.message; }
  own.busy = false;
  changed();
}

function cell(event, column) {
  if (!event) return undefined;
  const [seq, at, agent, task, kind, object, data] = event;
  return {
    seq: () => count(seq), at: () => clockMs(at), kind: () => ({text: kind, class: /dead|lost|failed|broken|conflict|refuses/.test(kind) ? 'bad' : ''}),
    agent: () => agent == null ? '' : {text: String(agent), href: link('agents', agent)},
    task: () => task == null ? '' : {text: String(task), href: link('tasks', task)},
    object: () => cut(object ?? '', 200), data: () => cut(JSON.stringify(data), 400),
  }[column.name]();
}

export const events = {
  title: 'Events', scrolls: false,
  keys: [['f', 'follow the end']],
  press(event) { if (event.key === 'f') { own.follow = !own.follow; changed(); } },
  view(where) {
    const query = Object.fromEntries(['kind', 'task', 'agent', 'object'].map(name => [name, where.query.get(name) ?? '']));
    const filter = JSON.stringify(query);
    const filtered = Object.values(query).some(Boolean);
    if (filter !== own.filter) Object.assign(own, {filter, rows: null, next: null, selected: null});
    if (filtered && own.rows === null) more(query);
    const rows = own.rows ?? [];
    const at = index => filtered ? rows[index] : row(index);
    const total = filtered ? rows.length : store.seq;
    const from = Number(where.query.get('from'));
    const chosen = own.selected === null ? null : at(own.selected);
    const field = (name, hint) => h('label', {}, name, h('input', {
      value: query[name], placeholder: hint, size: 12, onchange: event => { note({[name]: event.target.value.trim()}); changed(); },
    }));
    return h('div', {class: 'column'},
      h('div', {class: 'tools'},
        field('kind', 'lock.*'), field('task', '12'), field('agent', '3'), field('object', 'name'),
        h('label', {class: 'check'}, h('input', {type: 'checkbox', checked: own.follow, onchange: event => { own.follow = event.target.checked; changed(); }}), 'follow'),
        h('span', {class: 'dim', role: 'status'}, filtered ? `${count(rows.length)} found${own.next == null ? '' : ` up to event ${count(own.next)} of ${count(store.seq)}`}` : `${count(store.seq)} events`),
        filtered && own.next != null ? h('button', {onclick: () => more(query), disabled: own.busy}, 'Look further') : '',
        h('span', {class: 'grow'}), takeAway('events.csv', 'events.ndjson'),
        own.problem ? h('span', {class: 'bad', role: 'alert'}, own.problem) : ''),
      total ? h('div', {class: chosen ? 'split' : 'one', key: 'body'},
        grid({key: 'events', label: 'Events', columns: COLUMNS, total, cell: (index, column) => cell(at(index), column), selected: own.selected ?? (from ? from - 1 : null), choose: index => { own.selected = index; own.follow = false; changed(); }, follow: own.follow}),
        chosen ? h('aside', {class: 'side', 'aria-label': 'The chosen event', key: 'side'},
          h('h2', {}, chosen[4]),
          h('p', {class: 'dim'}, `event ${count(chosen[0])} · ${clockMs(chosen[1])}`),
          h('p', {}, h('a', {href: link('past', {seq: chosen[0]})}, 'The swarm as it was then')),
          h('pre', {class: 'value'}, JSON.stringify(chosen[6], null, 2))) : '')
      : h('p', {class: 'empty'}, filtered ? 'No event is of that kind. Kinds may end in .*, such as lock.*' : 'Nothing has happened yet.'));
  },
};
