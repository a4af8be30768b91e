// Who holds what, who waits for whom, circles, and which locks were waited for most.

import {button} from '../act.js';
import {h} from '../dom.js';
import {clock, count, duration} from '../format.js';
import {Live} from '../live.js';
import {link, note} from '../route.js';
import {changed, now, store} from '../store.js';

const found = new Live('locks', {every: 500, idle: 2000});
const own = {range: null, find: ''};
const HELD = 300, WAITS = 500;  // so many rows are shown; the rest is counted
const past = new Live('locks/episodes', {every: 10_000, asked: () => own.range});
const RANGES = [['', 'the whole run'], ['60', 'the last minute'], ['600', 'the last 10 minutes'], ['3600', 'the last hour']];

const name = (agent, task) => task ? h('a', {href: link('tasks', task)}, `task ${task}`) : h('a', {href: link('agents', agent)}, `agent ${agent}`);
const thing = (kind, object) => h('a', {href: link('state', kind, object)}, `${kind} `, h('code', {}, object));

const FINAL = new Set(['done', 'failed', 'cancelled']);
const open = wait => (wait.tasks ?? []).filter(task => !FINAL.has(store.tasks.state[store.tasks.row(task)]));

// Which agents hold up a wait: who holds the thing, or works on the one task that is left.
function holders(wait, held) {
  if (wait.kind === 'tasks') { const left = open(wait); return left.length === 1 ? [store.tasks.agent[store.tasks.row(left[0])]].filter(agent => agent != null) : []; }
  return held.filter(one => one.kind === wait.kind && one.name === wait.object && one.agent !== wait.agent).map(one => one.agent);
}

const tasksOf = wait => { const left = open(wait); return [`${count(left.length)} of ${count(wait.tasks.length)} tasks: `, left.slice(0, 12).map((task, n) => [n ? ', ' : '', h('a', {href: link('tasks', task)}, String(task))]), left.length > 12 ? ' …' : '']; };

function waiter(wait, byHolder, seen, left) {
  if (left.n-- <= 0) return '';
  const below = !byHolder || seen.has(wait.agent) ? [] : byHolder.get(wait.agent) ?? [];
  return h('li', {key: wait.id}, name(wait.agent, wait.task), ` waits ${duration(now() - wait.since_at)} for `, wait.kind === 'tasks' ? tasksOf(wait) : thing(wait.kind, wait.object),
    below.length ? h('ul', {class: 'tree'}, below.map(one => waiter(one, byHolder, new Set([...seen, wait.agent]), left))) : '');
}

function blocking({held, waiting}) {
  const byHolder = new Map(), waits = new Set(waiting.map(one => one.agent)), loose = [], left = {n: WAITS};
  for (const wait of waiting) {
    const of = [...new Set(holders(wait, held))];
    if (!of.length) loose.push(wait);
    for (const agent of of) (byHolder.get(agent) ?? byHolder.set(agent, []).get(agent)).push(wait);
  }
  const roots = [...byHolder.keys()].filter(agent => !waits.has(agent)).sort((a, b) => byHolder.get(b).length - byHolder.get(a).length);
  return h('section', {class: 'card'}, h('h2', {}, `Who blocks whom (${count(waiting.length)} wait)`),
    roots.map(agent => left.n <= 0 ? '' : h('div', {key: agent, class: 'block'}, h('b', {}, name(agent, store.agents.get(agent)?.task)), ` holds up ${byHolder.get(agent).length}`, h('ul', {class: 'tree'}, byHolder.get(agent).map(one => waiter(one, byHolder, new Set([agent]), left))))),
    loose.length ? [h('h3', {key: 'loose'}, 'Waiting for what nobody holds alone'), h('ul', {class: 'plainlist', key: 'list'}, loose.map(one => waiter(one, null, new Set(), left)))] : '',
    left.n < 0 ? h('p', {class: 'dim'}, `${count(WAITS)} of them are shown.`) : '', waiting.length ? '' : h('p', {class: 'dim'}, 'Nobody waits.'));
}

function holding({held: all}, readOnly) {
  const fit = own.find ? all.filter(one => one.name.includes(own.find)) : all, held = fit.slice(0, HELD);
  return h('section', {class: 'card'}, h('h2', {}, `Held (${count(all.length)})`),
    all.length > 20 ? h('div', {class: 'choices'}, h('label', {}, 'name has', h('input', {value: own.find, oninput: event => { own.find = event.target.value; changed(); }})), fit.length > HELD ? h('span', {class: 'dim', role: 'status'}, `${count(HELD)} of ${count(fit.length)} are shown`) : '') : '',
    held.length ? h('table', {}, h('thead', {}, h('tr', {}, ['what', 'by', 'since', 'lease ends', 'fence', ''].map(title => h(title ? 'th' : 'td', {key: title}, title)))),
      h('tbody', {}, held.map(one => h('tr', {key: `${one.kind} ${one.name} ${one.agent} ${one.fence ?? one.number}`}, h('td', {}, thing(one.kind, one.name), one.shared ? ' (shared)' : ''), h('td', {}, one.agent == null ? `kept for task ${one.task}` : name(one.agent, one.task)),
        h('td', {}, duration(now() - one.acquired_at)), h('td', {}, one.expires_at == null ? '–' : one.expires_at > now() ? `in ${duration(one.expires_at - now())}` : 'now'), h('td', {class: 'num'}, one.fence == null ? '' : String(one.fence)),
        h('td', {}, one.kind === 'lock' && !one.shared ? button({label: 'Release…', op: 'release', target: {lock: one.name, fence: one.fence}, danger: true, readOnly, confirm: `Whoever waits for ${one.name} gets it now. What its holder writes under fence ${one.fence} is refused from then on.`}) : ''))))) : h('p', {class: 'dim'}, all.length ? 'Nothing that is held is called so.' : 'Nothing is held.'));
}

// Who waited for which lock in a stretch of time: the present alone says nothing of what was five minutes ago.
function episodes(where) {
  const length = where.query.get('last') ?? '', t0 = where.query.get('t0'), t1 = where.query.get('t1');
  // The beginning of the last minutes moves in steps, or each look would be another question.
  own.range = t0 ? {t0, t1} : length ? {t0: Math.floor((store.at - Number(length)) / 5) * 5} : {};
  const told = past.read() ?? own.told;
  if (told) own.told = told;
  const most = Math.max(1e-9, ...(told?.rows ?? []).flatMap(one => one.bars));
  return h('section', {class: 'card', key: 'episodes'}, h('div', {class: 'choices'}, h('h2', {}, 'Waited for most'),
    h('label', {}, 'in', h('select', {value: t0 ? 'range' : length, onchange: event => { note({last: event.target.value, t0: '', t1: ''}); changed(); }}, RANGES.map(([value, text]) => h('option', {value, key: value}, text)), t0 ? h('option', {value: 'range', key: 'range'}, 'the stretch of the timeline') : '')),
    told ? h('span', {class: 'dim'}, `${clock(told.from_at)} to ${clock(told.until_at)}`) : ''),
    !told ? h('p', {class: 'dim'}, past.problem ?? 'Reading …') : told.rows.length ? h('table', {}, h('thead', {}, h('tr', {}, ['lock', 'when', 'waits', 'together', 'longest'].map((title, n) => h('th', {key: title, class: n > 1 ? 'num' : ''}, title)))),
      h('tbody', {}, told.rows.map(one => h('tr', {key: one.object}, h('td', {}, thing('lock', one.object)),
        h('td', {}, h('svg', {svg: true, class: 'bars', viewBox: '0 0 160 20', preserveAspectRatio: 'none', role: 'img', 'aria-label': `waits for ${one.object} over time`}, one.bars.map((bar, n) => bar ? h('rect', {svg: true, key: n, x: n * 4, y: 20 - Math.max(1, bar / most * 20), width: 3.4, height: Math.max(1, bar / most * 20)}) : ''))),
        h('td', {class: 'num'}, count(one.waits)), h('td', {class: 'num'}, duration(one.waited_s)), h('td', {class: 'num'}, h('a', {href: link('events', {from: one.longest})}, duration(one.longest_s))))))) : h('p', {class: 'dim'}, 'No lock was waited for then.'),
    told && told.locks > told.rows.length ? h('p', {class: 'dim'}, `${count(told.rows.length)} of ${count(told.locks)} locks are shown.`) : '');
}

export const locks = {
  title: 'Locks',
  view(where, {readOnly}) {
    const told = found.read();
    if (!told) return h('p', {class: 'empty'}, found.problem ?? 'Reading …');
    return h('div', {class: 'columns'},
      h('div', {key: 'left'}, told.circles.map((one, n) => h('section', {class: 'card alert', key: `circle ${n}`, role: 'alert'}, h('h2', {}, `Deadlock of ${one.waiters.length} waits`), h('p', {}, one.story))), blocking(told)),
      h('div', {key: 'right'}, holding(told, readOnly),
        episodes(where)));
  },
};
