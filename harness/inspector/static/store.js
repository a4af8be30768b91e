// One swarm as it is now: a snapshot, then every event behind it, applied once and in order.
//
//   snapshot at N -> spans -> events behind N by the feed ... -> a gap or a resync: fetch what is missing, or begin anew
//
// Pages read this and never keep copies; `subscribe` tells them once a frame that something has changed.

import {get} from './api.js';
import {Columns} from './columns.js';
import {Lanes} from './lanes.js';
import {follow} from './feed.js';

const RECENT = 400;

export const store = {
  ready: false, phases: false, error: null, seq: 0, at: 0, swarm: null, budget: null, agents: null, tasks: null,
  needs: [], needers: new Map(), needed: new Map(), lanes: new Lanes(), recent: [], live: 'connecting', heardAt: 0,
  rate: 0, version: 0, skew: 0, past: null,
};

const watchers = new Set();
let dirty = false;

export const subscribe = watch => { watchers.add(watch); return () => watchers.delete(watch); };

export function changed() {
  store.version++;
  if (dirty) return;
  dirty = true;
  requestAnimationFrame(() => { dirty = false; for (const watch of watchers) watch(); });
}

// The time by the swarm's machine; of a swarm that has ended, when it did, and of one whose process died, when it was
// heard of last.
export const now = () => store.swarm?.ended_at ?? (store.swarm?.state === 'interrupted' ? store.at : Date.now() / 1000 + store.skew);

export async function load() {
  const told = await get('snapshot');
  const {agents, tasks, needs} = told;
  Object.assign(store, {
    seq: told.seq, at: told.at, swarm: told.swarm, budget: told.budget, skew: told.now - Date.now() / 1000,
    agents: new Columns(agents), tasks: new Columns(tasks), lanes: new Lanes(), recent: [], ready: true, error: null,
    needs, needers: new Map(), needed: new Map(), phases: false, past: null,
  });
  for (const [need, task] of needs) link(need, task);
  changed();
  performance.mark('shown');
  const spans = await get('spans');
  store.lanes.load(spans);
  store.phases = true;
  store.spansSeq = spans.seq;
  performance.mark('phases');
  changed();
}

export async function start() {
  await load();
  follow({
    after: () => store.seq,
    take,
    state: live => { store.live = live; if (live === 'live') store.heardAt = Date.now(); changed(); },
    restart: load,
  });
  let counted = store.seq, since = performance.now();
  setInterval(() => {
    const at = performance.now();
    store.rate = (store.seq - counted) / (at - since) * 1000;
    counted = store.seq; since = at;
    changed();
  }, 1000);
}

function link(need, task) {
  (store.needers.get(need) ?? store.needers.set(need, []).get(need)).push(task);
  (store.needed.get(task) ?? store.needed.set(task, []).get(task)).push(need);
}

// Apply events; those that are known already are left out.
export function take(rows) {
  store.heardAt = Date.now();
  for (const row of rows) {
    if (row[0] <= store.seq) continue;
    store.seq = row[0];
    if (row[1] > store.at) store.at = row[1];
    taken(row);
    apply(row);
    if (!(row[0] <= store.spansSeq)) store.lanes.take(row);
  }
  store.recent = [...store.recent, ...rows.slice(-RECENT)].slice(-RECENT);
  changed();
}

// For whoever measures how old what arrives is: the console may set `prong.lags` to an array.
function taken(row) {
  const {prong} = window;
  prong.taken = (prong.taken ?? 0) + 1;
  if (prong.lags && row[6].written_at) prong.lags.push(Date.now() - row[6].written_at * 1000);
}

const FINAL = {'task.done': 'done', 'task.failed': 'failed', 'task.cancelled': 'cancelled'};

function apply(row) {
  const [, at, agent, task, kind, object, data] = row;
  const [family] = kind.split('.', 1);
  if (family === 'task') applyTask(at, kind, +object, data);
  else if (family === 'agent') applyAgent(at, kind, object, data, task);
  else if (family === 'swarm') applySwarm(at, kind);
  else if (kind === 'model.answered') applyUsage(agent, task, data);
  else if (kind === 'budget.raised' && object === '0') Object.assign(store.budget, {tokens: data.tokens ?? store.budget.tokens, usd: data.usd ?? store.budget.usd});
  else if (kind === 'command.pause' || kind === 'command.resume') for (const one of data.tasks ?? []) if (one) store.tasks.put(one, {paused: kind === 'command.pause' ? 1 : 0}); else store.swarm.paused = kind === 'command.pause' ? 1 : 0;
}

function applyTask(at, kind, id, data) {
  const tasks = store.tasks;
  if (kind === 'task.created') {
    tasks.put(id, {
      title: data.title, state: data.state, priority: data.priority, parent: data.parent, role: data.role, context: data.context,
      created_at: at, ready_at: data.state === 'ready' ? at : null, attempt: 0, failures: 0, paused: 0, input: 0, cache_read: 0,
      cache_write: 0, output: 0, depth: data.parent == null ? 0 : (tasks.depth[tasks.row(data.parent)] ?? 0) + 1, path_s: 0,
    });
    for (const need of data.needs ?? []) { store.needs.push([need, id]); link(need, id); }
    return;
  }
  if (!tasks.at.has(id)) return;
  if (kind === 'task.ready') tasks.put(id, {state: 'ready', ready_at: at, ended_at: null});
  else if (kind === 'task.claimed') tasks.put(id, {state: 'running', agent: data.holder, attempt: data.attempt, started_at: tasks.started_at[tasks.row(id)] ?? at});
  else if (kind === 'task.parked') tasks.put(id, {state: 'parked'});
  else if (kind === 'task.unparked') tasks.put(id, {state: 'running', held: null});
  else if (kind === 'task.returned') tasks.put(id, {state: 'ready', agent: null});
  else if (kind === 'task.backs_off') tasks.put(id, {state: 'ready', agent: null, failures: data.failures, error: data.error});
  else if (kind === 'task.retried') tasks.put(id, {state: data.state ?? 'ready', ended_at: null, error: null});
  else if (kind === 'task.held') tasks.put(id, {state: 'parked', held: data.held ?? 'budget'});
  else if (kind === 'task.prioritised') tasks.put(id, {priority: data.priority});
  else if (FINAL[kind]) tasks.put(id, {state: FINAL[kind], ended_at: at, error: data.error ?? null, agent: tasks.agent[tasks.row(id)]});
}

function applyAgent(at, kind, object, data, task) {
  if (kind === 'agent.joined') { store.agents.put(data.agent_id, {name: object, task, state: 'starting', started_at: at, input: 0, cache_read: 0, cache_write: 0, output: 0}); return; }
  const id = +object;
  if (!store.agents.at.has(id)) return;
  if (kind === 'agent.forked') store.agents.put(id, {pid: data.pid});
  else if (kind === 'agent.running') store.agents.put(id, {state: 'running'});
  else if (kind === 'agent.asleep') store.agents.put(id, {state: 'asleep'});
  else if (kind === 'agent.ended' || kind === 'agent.dead') store.agents.put(id, {state: kind.slice(6), ended_at: at, reason: data.reason});
}

function applySwarm(at, kind) {
  const state = kind.slice(6);
  if (state === 'created') return;
  Object.assign(store.swarm, {state, ended_at: state === 'running' ? null : at});
}

function applyUsage(agent, task, data) {
  store.budget.settled_tokens += ['input', 'cache_read', 'cache_write', 'output'].reduce((sum, name) => sum + (data[name] ?? 0), 0);
  store.budget.settled_usd += data.usd ?? 0;
  for (const [columns, id] of [[store.agents, agent], [store.tasks, task]]) {
    const row = columns.row(id);
    if (row === undefined) continue;
    for (const name of ['input', 'cache_read', 'cache_write', 'output']) columns[name][row] += data[name] ?? 0;
    if (data.usd != null) columns.usd[row] = (columns.usd[row] ?? 0) + data.usd;
  }
}

// How many tasks are in each state.
export function counts() {
  const found = {blocked: 0, ready: 0, running: 0, parked: 0, done: 0, failed: 0, cancelled: 0};
  for (const state of store.tasks?.state ?? []) found[state]++;
  return found;
}

export function totals() {
  const sum = name => store.tasks[name].reduce((all, one) => all + (one ?? 0), 0);
  const [input, read, write, output] = ['input', 'cache_read', 'cache_write', 'output'].map(sum);
  const spent = store.tasks.usd.some(one => one != null) ? sum('usd') : null;
  return {input, read, write, output, usd: spent, prompt: input + read + write};
}
