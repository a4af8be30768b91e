// Where one is: every object has an address, #/swarm/ID/page/more?query, that can be sent to somebody else.

import {currentSwarm, pathOf} from './api.js';
import {h} from './dom.js';

export function route() {
  const [path, query] = location.hash.slice(1).split('?');
  const [, kind, swarm, page, ...rest] = path.split('/').map(part => { try { return decodeURIComponent(part); } catch { return part; } });
  return {swarm: kind === 'swarm' && swarm ? swarm : 'newest', page: page || 'now', rest, query: new URLSearchParams(query ?? '')};
}

// The address of a page of this swarm, such as link('task', 12) or link('events', {kind: 'lock.*'}).
export function link(page, ...parts) {
  const query = typeof parts.at(-1) === 'object' ? parts.pop() : {};
  const asked = new URLSearchParams(Object.entries(query).filter(([, value]) => value != null && value !== ''));
  const path = [page, ...parts].map(part => encodeURIComponent(part)).join('/');
  return `#/swarm/${encodeURIComponent(currentSwarm())}/${path}${asked.size ? `?${asked}` : ''}`;
}

export const go = (...parts) => { location.hash = link(...parts); };

// Links that download tables and traces of the whole swarm.
export const takeAway = (...names) => names.map(name => h('a', {key: name, class: 'button', href: pathOf(`export/${name}`), download: ''}, name));

// Change the query of this address without a step in the history, as while one drags.
export function note(query) {
  const {page, rest, query: before} = route();
  history.replaceState(null, '', link(page, ...rest, {...Object.fromEntries(before), ...query}));
}
