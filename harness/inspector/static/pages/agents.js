// Who was forked from whom, and what each has read and said.

import {button} from '../act.js';
import {h} from '../dom.js';
import {count, cut, duration, many, percent, short, usd} from '../format.js';
import {Live} from '../live.js';
import {link, note} from '../route.js';
import {changed, now, store} from '../store.js';

const own = {task: null, before: null, search: '', all: false,
  talk: new Live(() => `tasks/${own.task}/conversation`, {every: 1000, asked: () => ({before: own.before})}),
  fork: new Live(() => `tasks/${own.task}/fork`, {every: 2000})};

// The agents of each task, and the tasks in the order of the tree.
function forest() {
  const t = store.tasks, a = store.agents, of = new Map(), children = new Map(), roots = [];
  a.id.forEach((id, row) => { if (a.task[row] != null) (of.get(a.task[row]) ?? of.set(a.task[row], []).get(a.task[row])).push(id); });
  t.id.forEach((id, row) => { if (t.parent[row] == null) roots.push(id); else (children.get(t.parent[row]) ?? children.set(t.parent[row], []).get(t.parent[row])).push(id); });
  return {of, children, roots};
}

function branch(task, {of, children}, depth, shown) {
  if (shown.left <= 0) return '';
  const row = store.tasks.row(task), t = store.tasks, agents = of.get(task) ?? [], kids = children.get(task) ?? [];
  shown.left--;
  const prompt = t.input[row] + t.cache_read[row] + t.cache_write[row];
  return h('li', {key: task},
    h('a', {class: own.task === task ? 'twig chosen' : 'twig', href: link('agents', 'task', task), 'aria-current': own.task === task ? 'true' : null},
      h('i', {class: `swatch task-${t.state[row]}`}), h('b', {}, agents.length ? `agent ${agents.join(', ')}` : `task ${task}`), ' ', cut(t.title[row], 48),
      h('span', {class: 'dim'}, prompt ? ` ${t.context[row] ?? ''} · ${short(prompt)} in · ${percent(t.cache_read[row] / prompt)} cached` : ` ${t.state[row]}`)),
    kids.length ? h('ul', {class: 'tree'}, kids.map(one => branch(one, {of, children}, depth + 1, shown))) : '');
}

const ROLES = {user: 'told', assistant: 'said', system: 'operator'};

function block(one, n) {
  if (one.type === 'text') return h('p', {key: n, class: 'said'}, one.text);
  if (one.type === 'thinking') return h('details', {key: n, class: 'fold'}, h('summary', {}, 'thought'), h('p', {class: 'said dim'}, one.text || '(not shown by the model)'));
  if (one.type === 'tool_use') return h('details', {key: n, class: 'fold'}, h('summary', {}, h('b', {}, one.name), ' ', h('span', {class: 'mono dim'}, cut(one.input.replace(/\s+/g, ' '), 110))), h('pre', {class: 'value'}, one.input));
  if (one.type === 'tool_result') return h('details', {key: n, class: one.is_error ? 'fold bad' : 'fold', open: one.is_error}, h('summary', {}, one.is_error ? 'refused ' : 'result ', h('span', {class: 'mono dim'}, cut(one.text.replace(/\s+/g, ' '), 110))), h('pre', {class: 'value'}, one.text));
  return h('details', {key: n, class: 'fold'}, h('summary', {}, one.type), h('pre', {class: 'value'}, one.text));
}

const messageOf = (one, inherited) => h('li', {key: one.id, class: `message ${one.role} ${inherited ? 'inherited' : ''}`},
  h('div', {class: 'who'}, h('b', {}, ROLES[one.role]), h('span', {class: 'dim'}, `#${one.place + 1}`),
    one.model ? h('span', {class: 'dim'}, `${short(one.input_tokens + one.cache_read_tokens + one.cache_write_tokens)} in, ${percent(one.cache_read_tokens / (one.input_tokens + one.cache_read_tokens + one.cache_write_tokens))} cached, ${short(one.output_tokens)} out · ${duration(one.seconds)}${one.usd ? ` · ${usd(one.usd)}` : ''}${['tool_use', 'end_turn'].includes(one.stop_reason) ? '' : ` · ${one.stop_reason}`}`) : ''),
  one.content.map(block));

// What a task and the one it was forked from have each done since the fork.
function sides(task) {
  const told = own.fork.read();
  if (!told) return h('p', {class: 'empty'}, own.fork.problem ?? 'Reading both conversations …');
  const side = (one, title) => h('div', {key: title}, h('h2', {}, title, ' ', one.task == null ? '' : h('a', {href: link('agents', 'task', one.task)}, `task ${one.task}`)),
    one.messages.length ? h('ol', {class: 'messages'}, one.messages.map(each => messageOf(each, false))) : h('p', {class: 'dim'}, 'Nothing.'),
    one.in_all > one.messages.length ? h('p', {class: 'dim'}, `The first ${count(one.messages.length)} of ${count(one.in_all)}.`) : '');
  return h('div', {class: 'talk'},
    h('div', {class: 'tools'}, h('b', {}, `Since the fork of task ${task}`), h('span', {class: 'dim'}, `${many(told.shared, 'message')} shared`), h('a', {href: link('agents', 'task', task)}, 'the whole conversation')),
    told.fork_point == null ? h('p', {class: 'empty'}, 'This task was not forked: it shares no message with another.')
      : h('div', {class: 'columns inset'}, side(told.parent, 'What its parent went on to do:'), side(told.child, 'What it did itself:')));
}

const hit = (message, text) => !text || JSON.stringify(message.content).toLowerCase().includes(text);

function talk(task) {
  own.task = task;
  const told = own.talk.read(), row = store.tasks.row(task);
  if (row === undefined) return h('p', {class: 'empty'}, `There is no task ${task}.`);
  if (!told) return h('p', {class: 'empty'}, own.talk.problem ?? 'Reading the conversation …');
  const text = own.search.toLowerCase();
  const messages = told.messages.filter(one => (own.all || one.place >= told.inherited) && hit(one, text));
  return h('div', {class: 'talk'},
    h('div', {class: 'tools'},
      h('b', {}, `Conversation of task ${task}`), h('span', {class: 'dim'}, `${many(told.total, 'message')}, ${count(told.inherited)} of them inherited`),
      told.inherited ? h('label', {class: 'check'}, h('input', {type: 'checkbox', checked: own.all, onchange: event => { own.all = event.target.checked; changed(); }}), 'with what was inherited') : '',
      h('label', {}, 'find', h('input', {value: own.search, oninput: event => { own.search = event.target.value; changed(); }})),
      told.from > 0 ? h('button', {onclick: () => { own.before = told.from; changed(); }}, `Earlier (${count(told.from)} more)`) : '', own.before != null ? h('button', {onclick: () => { own.before = null; changed(); }}, 'The end') : '',
      told.inherited ? h('a', {href: link('agents', 'task', task, {view: 'fork'})}, 'beside its parent') : '', h('a', {href: link('tasks', task)}, 'the task')),
    messages.length ? h('ol', {class: 'messages'}, messages.map(one => messageOf(one, one.place < told.inherited))) : h('p', {class: 'empty'}, text ? 'Nothing here says so.' : 'It has not said anything of its own yet.'));
}

function of(id, readOnly) {
  const agent = store.agents.get(id);
  if (!agent) return h('section', {class: 'card'}, h('p', {}, `There is no agent ${id}.`));
  const prompt = agent.input + agent.cache_read + agent.cache_write;
  return h('section', {class: 'card', key: 'agent'}, h('h2', {}, `Agent ${id}`),
    h('dl', {class: 'pairs'}, h('dt', {}, 'state'), h('dd', {}, `${agent.state}${agent.reason ? `: ${agent.reason}` : ''}`), h('dt', {}, 'process'), h('dd', {}, agent.pid == null ? 'none' : String(agent.pid)),
      h('dt', {}, 'lived'), h('dd', {}, duration((agent.ended_at ?? now()) - agent.started_at)), h('dt', {}, 'read'), h('dd', {}, `${short(prompt)}, ${percent(agent.cache_read / prompt)} from the cache`)),
    agent.ended_at == null && agent.task != null ? h('div', {class: 'choices'}, button({label: 'Kill…', op: 'kill', target: {agent: id}, danger: true, readOnly, confirm: 'Its process ends at once; its task goes on with another agent, from the conversation’s last message.'})) : '');
}

export const agents = {
  title: 'Agents', scrolls: false,
  view(where, {readOnly}) {
    const byTask = where.rest[0] === 'task', id = byTask ? null : Number(where.rest[0]) || null;
    const task = byTask ? Number(where.rest[1]) : id ? store.agents.get(id)?.task ?? null : null;
    if (task !== own.task) { own.task = task; own.before = null; own.all = false; }
    const {of: agentsOf, children, roots} = forest(), shown = {left: 1500};
    return h('div', {class: 'split half', key: 'agents'},
      h('div', {class: 'scroll', key: 'tree'}, id ? of(id, readOnly) : '', roots.length ? h('ul', {class: 'tree top', 'aria-label': 'Agents by who created whose task'}, roots.map(one => branch(one, {of: agentsOf, children}, 0, shown))) : h('p', {class: 'empty'}, 'There is no agent yet.'),
        shown.left <= 0 ? h('p', {class: 'dim'}, 'Only the first 1,500 are shown; choose the others from the table of tasks.') : ''),
      h('div', {class: 'scroll', key: 'talk'}, task ? (where.query.get('view') === 'fork' ? sides(task) : talk(task)) : h('p', {class: 'empty'}, 'Choose an agent to read its conversation: what it inherited, what it was told, and what it did.')));
  },
};
