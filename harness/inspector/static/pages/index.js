// All pages by name.  A page has a `title`, a `view(where, {readOnly})` that describes what is seen, and where it has use
// for them `enter(where)`, `leave()`, `press(event)`, `keys` for the help, `badge()` for its tab; those with `tab` stand
// in the bar.  A page that lays itself out to the last pixel has `scrolls: false`.

import {agents} from './agents.js';
import {cost} from './cost.js';
import {events} from './events.js';
import {locks} from './locks.js';
import {merge} from './merge.js';
import {nowPage} from './now.js';
import {past} from './past.js';
import {state} from './state.js';
import {tasks} from './tasks.js';
import {timeline} from './timeline.js';

const tab = page => ({...page, tab: true});

export const PAGES = {
  now: tab(nowPage), timeline: tab(timeline), tasks: tab(tasks), agents: tab(agents), locks: tab(locks), state: tab(state), cost: tab(cost), events: tab(events), merge: tab(merge), past: tab(past),
};
