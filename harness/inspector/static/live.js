// What a page reads by itself, again whenever the log has grown, at most as often as it says; what becomes so by time
// alone, such as a long wait, is read again every `idle` ms as long as the swarm runs.

import {get} from './api.js';
import {changed, store} from './store.js';

export class Live {
  constructor(path, {every = 1000, idle = Infinity, asked = () => ({})} = {}) {
    this.path = path;
    this.every = every;
    this.idle = idle;
    this.asked = asked;
    this.value = null;
    this.problem = null;
    this.seq = -1;
    this.at = -Infinity;
  }

  // The value as it was read last; null before the first.
  read() {
    const path = typeof this.path === 'function' ? this.path() : this.path;
    const asked = this.asked(), name = `${path} ${JSON.stringify(asked)}`;
    if (name !== this.name) { this.name = name; this.value = null; this.problem = null; this.seq = -1; this.at = -Infinity; }
    const age = performance.now() - this.at, stale = this.seq !== store.seq || (age >= this.idle && !store.swarm.ended_at);
    if (!this.busy && age >= this.every && stale) {
      this.busy = true;
      this.at = performance.now();
      const seq = store.seq;
      get(path, asked).then(value => { if (name === this.name) { this.value = value; this.problem = null; this.seq = seq; } })
        .catch(error => { if (name === this.name) { this.problem = error.message; this.seq = -1; } })
        .finally(() => { this.busy = false; changed(); });
    }
    return this.value;
  }
}
