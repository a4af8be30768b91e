// What each agent did, as spans in arrays of numbers: a million of them are drawn without one object each.

export const KIND = {task: 0, model: 1, tool: 2, wait: 3, merge: 4};
export const KINDS = Object.keys(KIND);
const FAILED = 2;
const OUTCOMES = ['', 'done', 'failed', 'cancelled', 'returned', 'dead', 'ended', 'stopped'];

export class Lane {
  constructor() {
    this.n = 0;
    this.began = new Float64Array(16);
    this.ended = new Float64Array(16);   // Infinity while it lasts
    this.kind = new Uint8Array(16);
    this.outcome = new Uint8Array(16);
    this.task = new Int32Array(16);
    this.name = new Int32Array(16);
    this.changes = 0;
    this.known = new Map();
  }

  push(began, ended, kind, outcome, task, name) {
    if (this.n === this.began.length)
      for (const key of ['began', 'ended', 'kind', 'outcome', 'task', 'name']) {
        const larger = new this[key].constructor(this.n * 2);
        larger.set(this[key]);
        this[key] = larger;
      }
    const at = this.n++;
    this.changes++;
    this.began[at] = began; this.ended[at] = ended; this.kind[at] = kind;
    this.outcome[at] = outcome; this.task[at] = task; this.name[at] = name;
    return at;
  }

  // The spans as they look from afar: those that stand closer than `2 ** level` seconds and look alike are one run, and
  // within such a stretch a failure hides what is not one.  Of phases only the waits, since nothing else is seen from
  // there.  They are kept until the lane changes, so that a frame costs as many runs as there are pixels, and not spans.
  runs(level, {waits}) {
    const kept = this.known.get(waits);
    if (kept?.level === level && kept.changes === this.changes) return kept;
    const gap = 2 ** level, began = [], ended = [], look = [];
    for (let i = 0, last = -1; i < this.n; i++) {
      const shade = waits ? this.kind[i] : this.ended[i] === Infinity ? 0 : this.outcome[i];
      if (waits && shade !== KIND.wait && shade !== KIND.merge) continue;
      if (last >= 0 && look[last] === shade && this.began[i] - ended[last] < gap) ended[last] = Math.max(ended[last], this.ended[i]);
      else if (last >= 0 && this.began[i] - began[last] < gap) { ended[last] = Math.max(ended[last], this.ended[i]); if (!waits && shade === FAILED) look[last] = FAILED; }
      else { began.push(this.began[i]); ended.push(this.ended[i]); look.push(shade); last++; }
    }
    const made = {level, changes: this.changes, n: began.length, began, ended, look, after: this.after};
    this.known.set(waits, made);
    return made;
  }

  // The first span that ends after a time; spans of one lane end in nearly the order in which they begin.
  after(time) {
    let low = 0, high = this.n;
    while (low < high) { const mid = (low + high) >> 1; if (this.ended[mid] > time) high = mid; else low = mid + 1; }
    return low;
  }
}

// The same fold as spans.py, so that what is shown goes on from the server's by the events alone.
export class Lanes {
  constructor() {
    this.tasks = new Map();   // agent -> Lane of the tasks that it worked on
    this.phases = new Map();  // agent -> Lane of calls and waits
    this.names = [];
    this.open = new Map();    // what lasts -> [lane, place]
    this.numbers = new Map();
    this.version = 0;
  }

  load(columns) {
    const {agent, task, kind, zero_at: zero, began_ms: began, ended_ms: ended, outcome, name, names, calls} = columns, called = new Map(calls);
    for (const one of names) this.nameOf(one);
    const order = agent.map((_, i) => i).sort((a, b) => began[a] - began[b]);
    for (const i of order) {
      const lane = this.lane(agent[i], kind[i]);
      const place = lane.push(zero + began[i] / 1000, ended[i] == null ? Infinity : zero + ended[i] / 1000, kind[i], OUTCOMES.indexOf(outcome[i]), task[i] ?? 0, name[i]);
      if (ended[i] == null) this.open.set(this.key(kind[i], agent[i], task[i], called.get(i)), [lane, place]);
    }
    this.version++;
  }

  lane(agent, kind) {
    const lanes = kind === KIND.task ? this.tasks : this.phases;
    let lane = lanes.get(agent);
    if (!lane) lanes.set(agent, lane = new Lane());
    return lane;
  }

  nameOf(text) {
    let number = this.numbers.get(text);
    if (number === undefined) { this.numbers.set(text, number = this.names.length); this.names.push(text); }
    return number;
  }

  key(kind, agent, task, call) {
    if (kind === KIND.task) return `task ${task}`;
    if (kind === KIND.wait || kind === KIND.merge) return `wait ${task}`;
    return `call ${agent} ${call}`;
  }

  begin(key, agent, kind, at, task, name) {
    this.end(key, at, '');
    const lane = this.lane(agent, kind);
    this.open.set(key, [lane, lane.push(at, Infinity, kind, 0, task ?? 0, this.nameOf(name))]);
  }

  end(key, at, outcome) {
    const found = this.open.get(key);
    if (!found) return;
    const [lane, place] = found;
    lane.ended[place] = at;
    lane.changes++;
    lane.outcome[place] = Math.max(0, OUTCOMES.indexOf(outcome));
    this.open.delete(key);
  }

  take([, at, agent, task, kind, object, data]) {
    if (kind === 'model.answered' && agent != null)
      this.lane(agent, KIND.model).push(at - data.seconds, at, KIND.model, 0, task ?? 0, this.nameOf(`${object} ${data.stop_reason ?? ''}`.trim()));
    else if (kind === 'tool.began' && agent != null) this.begin(`call ${agent} ${data.call}`, agent, KIND.tool, at, task, object ?? '');
    else if (kind === 'tool.ended' && agent != null) this.end(`call ${agent} ${data.call}`, at, data.is_error ? 'failed' : '');
    else if (kind === 'task.claimed') {
      this.end(`task ${object}`, at, 'returned');
      this.begin(`task ${object}`, data.holder, KIND.task, at, +object, `attempt ${data.attempt}`);
    } else if (kind === 'task.parked' && agent != null)
      this.begin(`wait ${object}`, agent, data.waits_for === 'merge' ? KIND.merge : KIND.wait, at, +object, `${data.waits_for} ${data.which}`);
    else if (kind === 'task.unparked') this.end(`wait ${object}`, at, '');
    else if (/^task\.(done|failed|cancelled|returned|backs_off)$/.test(kind)) {
      this.end(`wait ${object}`, at, '');
      this.end(`task ${object}`, at, kind === 'task.backs_off' ? 'failed' : kind.slice(5));
    } else return;
    this.version++;
  }
}
