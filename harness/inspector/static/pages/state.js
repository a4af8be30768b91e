// Everything that agents share: maps key by key with who wrote what before, lists, queues, values, barriers.

import {button} from '../act.js';
import {get} from '../api.js';
import {h} from '../dom.js';
import {clockMs, count, cut, duration, many, middle} from '../format.js';
import {Live} from '../live.js';
import {link} from '../route.js';
import {changed, now, store} from '../store.js';

const all = new Live('objects', {every: 1000});
const own = {kind: null, name: null, prefix: '', rows: [], next: null, total: 0, key: null, at: -1, busy: false, editing: null,
  one: new Live(() => `objects/${encodeURIComponent(own.kind)}/${encodeURIComponent(own.name)}`, {every: 1000}),
  key_: new Live(() => `maps/${encodeURIComponent(own.name)}/history`, {every: 1000, asked: () => ({key: own.key})})};

async function read(after) {
  if (own.busy) return;
  own.busy = true;
  const name = own.name, prefix = own.prefix, seq = store.seq;
  try {
    const told = await get(`maps/${encodeURIComponent(name)}/entries`, {prefix, after});
    if (name === own.name && prefix === own.prefix) Object.assign(own, {rows: after ? [...own.rows, ...told.rows] : told.rows, next: told.next, total: told.total, at: seq});
  } catch { own.at = seq; }
  own.busy = false;
  changed();
}

function index(told) {
  const kinds = new Map();
  for (const one of told.objects) (kinds.get(one.kind) ?? kinds.set(one.kind, []).get(one.kind)).push(one);
  const size = one => ({map: one.statistics.keys, list: one.statistics.length, queue: one.statistics.queued}[one.kind]);
  return [...kinds].map(([kind, ones]) => h('section', {key: kind}, h('h2', {class: 'small'}, `${kind} (${count(ones.length)})`), h('ul', {class: 'plainlist'}, ones.slice(0, 500).map(one =>
    h('li', {key: one.name}, h('a', {class: own.kind === kind && own.name === one.name ? 'twig chosen' : 'twig', href: link('state', kind, one.name)}, h('code', {}, middle(one.name, 40)), size(one) == null ? '' : h('span', {class: 'dim'}, ` ${count(size(one))}`))))),
    ones.length > 500 ? h('p', {class: 'dim'}, `500 of ${count(ones.length)} are shown.`) : ''));
}

const pretty = text => { try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; } };

function entries() {
  if (own.at !== store.seq && performance.now() - (own.looked ?? 0) > 1000 && own.rows.length <= 500) { own.looked = performance.now(); read(null); }
  return h('div', {},
    h('div', {class: 'tools'}, h('label', {}, 'begins with', h('input', {value: own.prefix, oninput: event => { own.prefix = event.target.value; own.at = -1; own.rows = []; read(null); }})),
      h('span', {class: 'dim', role: 'status'}, own.rows.length < own.total ? `${count(own.rows.length)} of ${many(own.total, 'key')}` : many(own.total, 'key'))),
    h('table', {class: 'fixed'}, h('thead', {}, h('tr', {}, ['key', 'value', 'version', 'written'].map(title => h('th', {key: title}, title)))), h('tbody', {}, own.rows.map(one => h('tr', {key: one.key},
      h('td', {}, h('a', {href: link('state', 'map', own.name, {key: one.key})}, h('code', {}, middle(one.key, 60)))), h('td', {class: 'mono clip'}, cut(one.value, 120)), h('td', {class: 'num'}, String(one.version)), h('td', {class: 'num'}, clockMs(one.updated_at)))))),
    own.next != null ? h('button', {onclick: () => read(own.next), disabled: own.busy}, `More (${count(own.total - own.rows.length)} left)`) : '');
}

function editor(told, readOnly) {
  if (own.editing === null) return h('button', {disabled: readOnly, title: readOnly ? 'This inspector only shows.' : null, onclick: () => { own.editing = pretty(told.value); changed(); }}, 'Edit…');
  let value, wrong = null;
  try { value = JSON.parse(own.editing); } catch (error) { wrong = error.message; }
  return h('div', {class: 'editor'}, h('textarea', {'aria-label': 'The new value, as JSON', rows: 10, value: own.editing, oninput: event => { own.editing = event.target.value; changed(); }}),
    wrong ? h('p', {class: 'bad'}, wrong) : '', h('div', {class: 'choices'},
      button({label: `Write over version ${told.version}`, op: 'map_put', target: {map: own.name, key: own.key}, args: {value, if_version: told.version}, disabled: wrong, readOnly}), h('button', {onclick: () => { own.editing = null; changed(); }}, 'Leave it')));
}

function key(readOnly) {
  const told = own.key_.read();
  if (!told) return h('aside', {class: 'side wide', key: 'side'}, h('p', {class: 'dim'}, own.key_.problem ?? 'Reading …'));
  return h('aside', {class: 'side wide', key: 'side', 'aria-label': 'The chosen key'}, h('h2', {class: 'mono'}, told.key), h('p', {class: 'dim'}, `version ${told.version}`), h('pre', {class: 'value'}, pretty(told.value)), editor(told, readOnly),
    h('h3', {}, `Writes (${count(told.writes.length)} newest first)`), h('ol', {class: 'plainlist'}, told.writes.map((one, n) => h('li', {key: one.seq}, h('b', {}, `version ${one.version ?? '–'}`), ` ${clockMs(one.at)} `, one.task ? h('a', {href: link('tasks', one.task)}, `task ${one.task}`) : one.agent ? h('a', {href: link('agents', one.agent)}, `agent ${one.agent}`) : 'a person',
      h('pre', {class: n && JSON.stringify(one.value) === JSON.stringify(told.writes[n - 1]?.value) ? 'value dim' : 'value'}, one.value === undefined ? one.kind : JSON.stringify(one.value, null, 1))))));
}

function one(readOnly) {
  const told = own.one.read();
  if (!told) return h('p', {class: 'empty'}, own.one.problem ?? 'Reading …');
  return h('div', {}, h('h2', {}, `${told.kind} `, h('code', {}, told.name)),
    h('dl', {class: 'pairs'}, Object.entries(told.statistics).filter(([, value]) => value != null && value !== '' && !(Array.isArray(value) && !value.length)).map(([name, value]) => [h('dt', {key: `t${name}`}, name.replaceAll('_', ' ')), h('dd', {key: `d${name}`}, /_at$/.test(name) ? clockMs(value) : String(value))])),
    told.waiting.length ? [h('h3', {key: 'wh'}, `Waiting (${told.waiting.length})`), h('ul', {key: 'w', class: 'plainlist'}, told.waiting.map((wait, n) => h('li', {key: n}, `${wait.who}, ${duration(now() - wait.since_at)}`)))] : '',
    told.kind === 'map' ? entries() : told.contents.length ? [h('h3', {key: 'ch'}, `Contents (the first ${told.contents.length})`), h('ol', {key: 'c', class: 'plainlist'}, told.contents.map((item, n) => h('li', {key: n}, h('pre', {class: 'value'}, JSON.stringify(item, null, 1)),
      item?.['dead letter'] ? button({label: 'Put it back into the queue', op: 'requeue', target: {queue: told.name, message: item['dead letter'].id}, readOnly}) : '')))] : '',
    told.last.length ? [h('h3', {key: 'lh'}, 'What happened to it last'), h('ul', {key: 'l', class: 'plainlist'}, told.last.map(event => h('li', {key: event.seq}, h('a', {href: link('events', {object: told.name})}, clockMs(event.at)), ` ${event.kind} ${event.who ?? ''} `, h('span', {class: 'mono dim'}, cut(JSON.stringify(event.data), 160)))))] : '');
}

export const state = {
  title: 'State', scrolls: false,
  view(where, {readOnly}) {
    const [kind = null, name = null] = where.rest, chosen = where.query.get('key');
    if (kind !== own.kind || name !== own.name) Object.assign(own, {kind, name, prefix: '', rows: [], next: null, total: 0, at: -1, looked: 0});
    if (chosen !== own.key) Object.assign(own, {key: chosen, editing: null});
    const told = all.read();
    return h('div', {class: chosen != null ? 'split three' : 'split half', key: 'state'},
      h('div', {class: 'scroll', key: 'index'}, told ? (told.objects.length ? index(told) : h('p', {class: 'empty'}, 'Nothing is shared yet. What agents put into maps, queues, lists and locks shows here.')) : h('p', {class: 'dim'}, all.problem ?? 'Reading …')),
      h('div', {class: 'scroll inner', key: 'one'}, name != null ? one(readOnly) : h('p', {class: 'empty'}, 'Choose what to look into.')),
      chosen != null ? key(readOnly) : '');
  },
};
