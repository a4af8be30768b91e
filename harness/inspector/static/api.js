// Everything that is asked of the server, and the commands with what becomes of them.

const HEADERS = {'x-prong': '1'};
let swarm = 'newest';

export const setSwarm = name => { swarm = name; };
export const currentSwarm = () => swarm;
export const pathOf = path => `/api/v1/swarms/${encodeURIComponent(swarm)}/${path}`;

export async function get(path, asked = {}, signal) {
  const query = new URLSearchParams(Object.entries(asked).filter(([, value]) => value != null && value !== ''));
  return answer(await fetch(`${pathOf(path)}${query.size ? `?${query}` : ''}`, {headers: HEADERS, signal}));
}

export async function swarms() {
  return answer(await fetch('/api/v1/swarms', {headers: HEADERS}));
}

async function answer(response) {
  const text = await response.text();
  let told;
  try { told = JSON.parse(text); } catch { told = {error: text.trim()}; }
  if (!response.ok) throw Object.assign(new Error(told.error ?? `HTTP ${response.status}`), {status: response.status});
  return told;
}

// Ask for something to be done.  `told` is called with the command each time its state changes:
// requested, acknowledged, then done or failed.
export async function command(op, target, args = {}, told = () => {}) {
  const key = crypto.randomUUID();
  const response = await fetch(pathOf('commands'), {
    method: 'POST', headers: {...HEADERS, 'content-type': 'application/json'}, body: JSON.stringify({op, target, args, key}),
  });
  let now = await answer(response);
  told(now);
  while (now.state === 'requested' || now.state === 'acknowledged') {
    await new Promise(resolve => setTimeout(resolve, 120));
    const before = now.state;
    now = await get(`commands/${now.id}`);
    if (now.state !== before) told(now);
  }
  return now;
}

// Server-sent events by `fetch`, so that the header goes along where a browser tells no origin.  Ends with an error.
export async function* stream(after, signal) {
  const response = await fetch(`${pathOf('stream')}?after=${after}`, {headers: {...HEADERS, accept: 'text/event-stream'}, signal});
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const {done, value} = await reader.read();
    if (done) throw new Error('the stream has ended');
    rest += value;
    let end;
    while ((end = rest.indexOf('\n\n')) >= 0) {
      const block = rest.slice(0, end);
      rest = rest.slice(end + 2);
      const kind = field(block, 'event');
      yield kind ? {kind, data: JSON.parse(field(block, 'data'))} : {kind: 'ping'};
    }
  }
}

// One field of a message.  No regular expression: to one of those a text of an agent may end a line with U+2028.
const field = (block, name) => block.split('\n').find(line => line.startsWith(`${name}: `))?.slice(name.length + 2);
