// One stream of events per browser, not per tab: a browser opens six connections to a server at most.
//
//   the tab that holds the lock reads the stream and hands each batch to the others;
//   when it closes, the next takes the lock and reads on from its own last event

import {currentSwarm, get, stream} from './api.js';

export function follow({after, take, state, restart}) {
  const name = `prong ${currentSwarm()}`;
  const channel = new BroadcastChannel(name);
  let filling = Promise.resolve();

  // Batches come in order; where some were missed they are fetched first.
  const pass = rows => { filling = filling.then(() => fill(rows)).catch(() => state('reconnecting')); return filling; };
  const fill = async rows => {
    if (rows.length && rows[0][0] > after() + 1) await catchUp(rows[0][0] - 1);
    take(rows);
  };
  const catchUp = async until => {
    while (after() < until) {
      const {rows} = await get('events', {from: after() + 1, limit: 1000});
      if (!rows.length) return;
      take(rows);
    }
  };
  // What somebody else heard before this tab listened, or while it slept.
  const hasHeard = seq => { if (seq > after()) filling = filling.then(() => catchUp(seq)).catch(() => state('reconnecting')); };

  channel.onmessage = ({data}) => {
    if (data.kind === 'events') { state('live'); pass(data.rows); }
    else if (data.kind === 'resync') restart();
    else if (data.kind === 'hello') tell('live');
    else { state(data.kind); if (data.kind === 'live') hasHeard(data.seq); }
  };

  const tell = (kind, rows) => channel.postMessage({kind, rows, seq: after()});

  const read = async () => {
    for (let pause = 250; ; pause = Math.min(pause * 2, 5000)) {
      try {
        for await (const message of stream(after())) {
          pause = 250;
          if (message.kind === 'events') { tell('events', message.data); await pass(message.data); }
          else if (message.kind === 'resync') { tell('resync'); await restart(); }
          else tell('live');
          state('live');
        }
      } catch {
        tell('reconnecting');
        state('reconnecting');
      }
      await new Promise(resolve => setTimeout(resolve, pause));
    }
  };

  state('live');
  tell('hello');
  navigator.locks.request(name, read);  // held until this tab closes
}
