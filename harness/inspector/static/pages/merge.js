// The line of finished work: what waits, what was merged, and what was not.

import {button} from '../act.js';
import {h} from '../dom.js';
import {clock, count, cut, duration} from '../format.js';
import {Live} from '../live.js';
import {link} from '../route.js';
import {now} from '../store.js';

const found = new Live('merges', {every: 800});
const NUMBERS = new Set(['took', 'at', 'waits', 'since', 'seen']);
const GOOD = {merged: 'ok', dropped: 'dim'};

function row(one, readOnly) {
  const bad = !GOOD[one.state] && one.ended_at != null;
  return h('tr', {key: one.task}, h('td', {}, h('a', {href: link('tasks', one.task)}, `${one.task} ${cut(one.title, 60)}`)), h('td', {class: bad ? 'bad' : GOOD[one.state] ?? 'warn'}, one.state),
    h('td', {class: 'mono'}, (one.merged_commit ?? one.commit_id ?? '').slice(0, 10)), h('td', {class: 'num'}, one.ended_at ? duration(one.ended_at - one.queued_at) : duration(now() - one.queued_at)),
    h('td', {class: 'num'}, clock(one.ended_at ?? one.queued_at)), h('td', {}, one.kept_branch ? h('code', {}, one.kept_branch) : '', bad && one.detail ? h('details', {class: 'fold'}, h('summary', {}, cut(one.detail, 80)), h('pre', {class: 'value'}, one.detail)) : '',
      bad ? button({label: 'Try again', op: 'retry', target: {task: one.task}, readOnly}) : ''));
}

const table = (rows, titles, readOnly) => h('table', {}, h('thead', {}, h('tr', {}, titles.map(title => h(title ? 'th' : 'td', {key: title, class: NUMBERS.has(title) ? 'num' : ''}, title)))), h('tbody', {}, rows.map(one => row(one, readOnly))));

const who = (id, title, state) => [h('i', {class: `swatch task-${state}`}), h('a', {href: link('tasks', id)}, `${id} ${cut(title, 40)}`), h('span', {class: 'dim'}, ` ${state}`)];

// Two tasks that were seen to change the same lines before either was merged.
function foreseen(rows) {
  return h('section', {class: 'card', key: 'foreseen'}, h('h2', {}, `Conflicts foreseen (${count(rows.length)})`),
    h('table', {}, h('thead', {}, h('tr', {}, ['file', 'lines', 'one', 'other', 'seen'].map(title => h('th', {key: title, class: NUMBERS.has(title) ? 'num' : ''}, title)))),
      h('tbody', {}, rows.map(one => h('tr', {key: `${one.path} ${one.one} ${one.other}`}, h('td', {}, h('code', {}, one.path)), h('td', {}, one.lines), h('td', {}, who(one.one, one.one_title, one.one_state)), h('td', {}, who(one.other, one.other_title, one.other_state)), h('td', {class: 'num'}, clock(one.seen_at)))))));
}

export const merge = {
  title: 'Merge',
  view(_where, {readOnly}) {
    const told = found.read();
    if (!told) return h('p', {class: 'empty'}, found.problem ?? 'Reading …');
    if (!told.waiting.length && !told.merged.length && !told.foreseen.length) return h('p', {class: 'empty'}, 'Nothing was handed in yet. When a task ends, its change waits here until it is merged.');
    return h('div', {}, told.foreseen.length ? foreseen(told.foreseen) : '', h('section', {class: 'card'}, h('h2', {}, `Waiting (${count(told.waiting.length)})`), told.waiting.length ? table(told.waiting, ['task', 'state', 'commit', 'waits', 'since', ''], readOnly) : h('p', {class: 'dim'}, 'The line is empty.')),
      h('section', {class: 'card'}, h('h2', {}, `Decided (${count(told.decided)})`), table(told.merged, ['task', 'state', 'commit', 'took', 'at', ''], readOnly), told.decided > told.merged.length ? h('p', {class: 'dim'}, `${count(told.merged.length)} of ${count(told.decided)} are shown, the newest first.`) : ''));
  },
};
