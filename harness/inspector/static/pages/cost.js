// What it has cost, where it went, what forking saved, and when the budget will be spent.

import {button} from '../act.js';
import {h} from '../dom.js';
import {count, cut, duration, percent, short, usd} from '../format.js';
import {Live} from '../live.js';
import {link, note} from '../route.js';
import {changed, now, store, totals} from '../store.js';

const found = new Live('cost', {every: 1500});
const own = {raise: ''};

function budget(readOnly) {
  const b = store.budget, all = totals(), run = Math.max(1, now() - store.swarm.started_at);
  const row = (unit, bound, settled, show) => {
    if (bound == null) return '';
    const rate = settled / run * 3600, left = Math.max(0, bound - settled);
    return h('div', {key: unit}, h('div', {class: 'meter', role: 'meter', 'aria-valuemin': 0, 'aria-valuemax': bound, 'aria-valuenow': settled, 'aria-label': `budget in ${unit}`}, h('i', {style: {width: `${Math.min(100, settled / bound * 100)}%`}, class: settled > bound * .8 ? 'swatch task-failed' : 'swatch task-running'})),
      h('p', {}, `${show(settled)} of ${show(bound)} spent, ${show(rate)} an hour${store.swarm.ended_at || !rate ? '' : `; at this rate it lasts ${duration(left / rate * 3600)}`}`));
  };
  const spent = b.tokens != null ? Math.max(b.settled_tokens, all.prompt + all.output) : b.settled_tokens;
  const has = b.tokens != null || b.usd != null;
  return h('section', {class: 'card'}, h('h2', {}, 'Budget'), row('tokens', b.tokens, spent, short), row('dollars', b.usd, all.usd ?? b.settled_usd, usd),
    has ? h('div', {class: 'choices'}, h('label', {}, b.usd != null ? 'new bound in dollars' : 'new bound in tokens', h('input', {inputmode: 'decimal', size: 10, value: own.raise, oninput: event => { own.raise = event.target.value; changed(); }})),
      button({label: 'Set it', op: 'budget', target: {}, args: b.usd != null ? {usd: Number(own.raise)} : {tokens: Math.round(Number(own.raise))}, disabled: !(Number(own.raise) > 0), readOnly})) : h('p', {class: 'dim'}, 'This swarm was started without a budget.'));
}

const input = one => (one.input ?? 0) + (one.cache_read ?? 0) + (one.cache_write ?? 0);

function over(told) {
  const most = Math.max(1, ...told.over_time.map(input)), steps = 60;
  const parts = [['cache_read', 'task-done'], ['cache_write', 'wait'], ['input', 'task-failed']];
  return h('section', {class: 'card'}, h('h2', {}, 'Input over time'),
    h('svg', {svg: true, viewBox: `0 0 ${steps * 10} 100`, class: 'chart', preserveAspectRatio: 'none', role: 'img', 'aria-label': 'Input tokens over time: read from the cache, written to it, and neither'},
      told.over_time.map(one => { let y = 100; return parts.map(([name, colour]) => { const high = (one[name] ?? 0) / most * 96; y -= high; return h('rect', {svg: true, key: `${one.stretch} ${name}`, x: one.stretch * 10, y, width: 9, height: high, class: `fill ${colour}`}); }); })),
    h('div', {class: 'legend'}, [['task-done', 'read from the cache'], ['wait', 'written to the cache'], ['task-failed', 'neither']].map(([colour, text]) => h('span', {key: colour}, h('i', {class: `swatch ${colour}`}), text)),
      h('span', {}, `${duration(told.step_s)} a bar, at most ${short(most)}`)));
}

function forks(told) {
  const rows = told.forks.filter(one => one.children);
  return h('section', {class: 'card'}, h('h2', {}, `Fork points (${count(rows.length)})`), rows.length ? h('table', {}, h('thead', {}, h('tr', {}, ['at message', 'of task', 'children', 'inherited', 'read from the cache', 'least', 'cache'].map((title, n) => h('th', {key: title, class: n > 1 && n < 6 ? 'num' : ''}, title)))),
    h('tbody', {}, rows.slice(0, 200).map(one => h('tr', {key: one.id}, h('td', {}, String(one.id)), h('td', {}, one.parent ? h('a', {href: link('tasks', one.parent)}, String(one.parent)) : ''), h('td', {class: 'num'}, count(one.children)), h('td', {class: 'num'}, short(one.inherited)),
      h('td', {class: 'num'}, one.inherited ? percent(one.read / one.inherited) : '–'), h('td', {class: one.least != null && one.least < .95 ? 'num bad' : 'num'}, percent(one.least)), h('td', {}, one.state))))) : h('p', {class: 'dim'}, 'Nobody was forked yet.'),
    rows.length > 200 ? h('p', {class: 'dim'}, `200 of ${count(rows.length)} are shown.`) : '');
}

function by(told, where) {
  const what = where.query.get('by') ?? 'task', rows = told[`by_${what}`] ?? [];
  const name = one => what === 'task' ? h('a', {href: link('tasks', one.id)}, `${one.id} ${cut(store.tasks.title[store.tasks.row(one.id)] ?? '', 50)}`) : what === 'agent' ? h('a', {href: link('agents', one.id)}, `agent ${one.id}`) : one.id || '(no role)';
  return h('section', {class: 'card'}, h('div', {class: 'choices'}, h('h2', {}, 'By'), ['task', 'agent', 'model', 'role'].map(one => h('button', {key: one, 'aria-pressed': String(one === what), class: one === what ? 'primary' : '', onclick: () => { note({by: one}); changed(); }}, one))),
    h('table', {}, h('thead', {}, h('tr', {}, [what, 'calls', 'input', 'cache', 'written', 'output', 'cost', 'model time'].map((title, n) => h('th', {key: title, class: n ? 'num' : ''}, title)))), h('tbody', {}, rows.slice(0, 200).map(one =>
      h('tr', {key: one.id}, h('td', {}, name(one)), h('td', {class: 'num'}, count(one.calls)), h('td', {class: 'num'}, short(input(one))), h('td', {class: 'num'}, percent(one.cache_read / input(one))), h('td', {class: 'num'}, short(one.cache_write)), h('td', {class: 'num'}, short(one.output)), h('td', {class: 'num'}, usd(one.usd)), h('td', {class: 'num'}, duration(one.seconds)))))),
    rows.length > 200 ? h('p', {class: 'dim'}, `200 of ${count(rows.length)} are shown, the dearest first.`) : '');
}

export const cost = {
  title: 'Cost',
  view(where, {readOnly}) {
    const told = found.read();
    if (!told) return h('p', {class: 'empty'}, found.problem ?? 'Reading …');
    if (!told.over_time.length) return h('div', {class: 'columns'}, h('div', {}, budget(readOnly)), h('p', {class: 'empty'}, 'No model was asked yet.'));
    return h('div', {class: 'columns'}, h('div', {key: 'left'}, budget(readOnly), over(told), forks(told),
      told.waits.length ? h('section', {class: 'card'}, h('h2', {}, 'Waiting for the provider'), h('ul', {class: 'plainlist'}, told.waits.map(one => h('li', {key: one.problem}, `${cut(one.problem ?? '', 160)}: ${count(one.times)} times, ${duration(one.seconds)}`)))) : ''), h('div', {key: 'right'}, by(told, where)));
  },
};
