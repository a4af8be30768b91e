// The frame around all pages: where one is, how the swarm stands, and the keys that work everywhere.

import {setSwarm, swarms} from './api.js';
import {h, render} from './dom.js';
import {count, duration, percent, usd} from './format.js';
import {go, link, route} from './route.js';
import {changed, counts, now, start, store, subscribe, totals} from './store.js';
import {PAGES} from './pages/index.js';

const root = document.getElementById('root');  // beside it stand the dialogs that ask before something is lost
const shell = {known: [], readOnly: false, jump: false, help: false, problem: null};

const theme = {
  get: () => document.documentElement.dataset.theme ?? (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light'),
  flip() {
    document.documentElement.dataset.theme = theme.get() === 'dark' ? 'light' : 'dark';
    try { localStorage.setItem('prong theme', document.documentElement.dataset.theme); } catch { /* a private window keeps nothing */ }
    dispatchEvent(new Event('themechange'));
    draw();
  },
};

function bar(where) {
  const found = counts(), all = totals(), s = store.swarm, budget = store.budget;
  const tasks = Object.values(found).reduce((sum, one) => sum + one, 0);
  return h('header', {class: 'bar'},
    h('a', {class: 'brand', href: link('now'), 'aria-label': 'Prong, to the first page'}, 'prong'),
    shell.known.length > 1
      ? h('select', {'aria-label': 'Swarm', value: s.id, onchange: event => { location.hash = `#/swarm/${event.target.value}/now`; location.reload(); }},
        [...shell.known].reverse().map(one => h('option', {value: one.id, selected: one.id === s.id, key: one.id}, one.id)))
      : h('span', {class: 'dim mono'}, s.id),
    h('span', {class: `badge state-${s.state}`}, s.paused ? 'paused' : s.state),
    h('span', {class: 'facts'},
      h('span', {title: 'tasks running, done, failed'}, `${count(found.running)} running · ${count(found.done)} of ${count(tasks)} done`,
        found.failed ? h('b', {class: 'bad'}, ` · ${count(found.failed)} failed`) : ''),
      h('span', {title: 'spent, and the budget'}, all.usd == null ? `${count(all.prompt + all.output)} tokens` : usd(all.usd),
        budget?.usd != null ? ` of ${usd(budget.usd)}` : budget?.tokens != null ? ` · ${percent(budget.settled_tokens / budget.tokens)} of budget` : ''),
      h('span', {title: 'share of all input read from the prompt cache'}, `cache ${percent(all.read / all.prompt)}`),
      h('span', {title: 'how long it has run'}, duration(now() - s.started_at))),
    h('span', {class: 'grow'}),
    h('button', {class: 'plain', onclick: () => { shell.jump = true; draw(); }, 'aria-keyshortcuts': '/'}, 'Jump ', h('kbd', {}, '/')),
    h('button', {class: 'plain', onclick: theme.flip, 'aria-label': `Switch to the ${theme.get() === 'dark' ? 'light' : 'dark'} theme`}, theme.get() === 'dark' ? '☀' : '☾'),
    h('button', {class: 'plain', onclick: () => { shell.help = true; draw(); }, 'aria-label': 'Keys', 'aria-keyshortcuts': '?'}, '?'),
    h('nav', {'aria-label': 'Pages'}, Object.entries(PAGES).filter(([, page]) => page.tab).map(([name, page], place) =>
      h('a', {key: name, href: link(name), 'aria-current': name === (PAGES[where.page]?.under ?? where.page) ? 'page' : null, 'aria-keyshortcuts': place + 1},
        page.title, page.badge?.() ? h('span', {class: 'count'}, page.badge()) : ''))));
}

function foot() {
  const age = (Date.now() - store.heardAt) / 1000;
  const stale = store.live !== 'live';
  return h('footer', {class: 'foot'},
    h('span', {class: stale ? 'bad' : 'ok', role: 'status'}, stale ? `${store.live}: what you see is ${duration(age)} old` : store.swarm?.ended_at ? 'ended' : 'live'),
    h('span', {}, `event ${count(store.seq)}`),
    h('span', {}, `${store.rate.toFixed(0)} a second`),
    shell.readOnly ? h('span', {class: 'badge'}, 'read only') : '',
    h('span', {class: 'grow'}),
    h('span', {class: 'dim'}, store.swarm ? `${store.swarm.model} · ${store.swarm.branch}` : ''));
}

// Jump to anything by its number or name.
function jump() {
  const found = text => {
    const [, kind, number] = /^(task|agent|event|#|t|a|e)?\s*#?(\d+)$/.exec(text.trim()) ?? [];
    if (number) return {a: ['agents', number], agent: ['agents', number], e: ['events', {from: number}], event: ['events', {from: number}]}[kind] ?? ['tasks', number];
    const page = Object.keys(PAGES).find(name => PAGES[name].tab && name.startsWith(text.trim().toLowerCase()));
    if (page && text.trim()) return [page];
    const row = store.tasks.title.findIndex(title => title.toLowerCase().includes(text.trim().toLowerCase()));
    return text.trim() && row >= 0 ? ['tasks', store.tasks.id[row]] : null;
  };
  const close = () => { shell.jump = false; draw(); };
  return h('dialog', {class: 'jump', key: 'jump', mount: node => node.showModal(), onclose: close, oncancel: close},
    h('form', {method: 'dialog', onsubmit: event => {
      event.preventDefault();
      const to = found(event.target.elements.to.value);
      if (to) { close(); go(...to); }
      else { event.target.elements.to.setCustomValidity('Nothing here is called so.'); event.target.reportValidity(); }
    }},
    h('label', {}, 'Jump to', h('input', {name: 'to', autocomplete: 'off', placeholder: '12, agent 3, event 400, a title, a page', oninput: event => event.target.setCustomValidity('')}))));
}

const KEYS = [['1 … 9', 'the pages'], ['/', 'jump to a task, an agent, an event'], ['d', 'dark or light'], ['?', 'these keys'], ['Esc', 'close']];

function help(where) {
  const close = () => { shell.help = false; draw(); };
  const own = PAGES[where.page]?.keys ?? [];
  return h('dialog', {class: 'help', key: 'help', mount: node => node.showModal(), onclose: close, oncancel: close},
    h('h2', {}, 'Keys'),
    h('dl', {}, [...KEYS, ...own].map(([key, what]) => [h('dt', {}, h('kbd', {}, key)), h('dd', {}, what)])),
    h('button', {onclick: close}, 'Close'));
}

let shown = null;

function draw() {
  const where = route();
  const page = PAGES[where.page] ?? PAGES.now;
  document.title = store.swarm ? `${page.title} · ${store.swarm.id} · prong` : 'prong';
  if (shell.problem) { render(problem(), root); return; }
  if (!store.ready) { render(h('main', {class: 'pad'}, h('p', {class: 'dim', role: 'status'}, 'Reading the swarm …')), root); return; }
  if (shown !== page) { shown?.leave?.(); shown = page; page.enter?.(where); }
  render(h('div', {class: 'app'},
    bar(where),
    h('main', {id: 'main', key: `page ${where.page}`, class: page.scrolls === false ? 'whole' : ''}, h('h1', {class: 'unseen'}, page.title), page.view(where, {readOnly: shell.readOnly})),
    foot(),
    shell.jump ? jump() : '',
    shell.help ? help(where) : ''), root);
}

function problem() {
  return h('main', {class: 'pad'},
    h('h1', {}, 'The swarm cannot be shown'),
    h('p', {}, shell.problem),
    h('p', {class: 'dim'}, 'Where this page has lost its right to look, open the link that prong ui prints. Else reload it.'));
}

addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.('input, textarea, select, dialog')) return;
  const tabs = Object.keys(PAGES).filter(name => PAGES[name].tab);
  if (/^[1-9]$/.test(event.key) && tabs[event.key - 1]) go(tabs[event.key - 1]);
  else if (event.key === '/') { event.preventDefault(); shell.jump = true; draw(); }
  else if (event.key === '?') { shell.help = true; draw(); }
  else if (event.key === 'd') theme.flip();
  else shown?.press?.(event);
});
addEventListener('hashchange', () => {
  if (route().swarm !== 'newest' && store.swarm && route().swarm !== store.swarm.id) location.reload();
  else draw();
});

async function main() {
  try { document.documentElement.dataset.theme = localStorage.getItem('prong theme') ?? theme.get(); } catch { /* as above */ }
  subscribe(draw);
  draw();
  try {
    const told = await swarms();
    shell.known = told.swarms;
    shell.readOnly = told.read_only;
    const wanted = route().swarm;
    setSwarm(wanted === 'newest' ? (told.swarms.at(-1)?.id ?? 'newest') : wanted);
    await start();
    performance.mark('interactive');
  } catch (error) {
    shell.problem = error.message;
    draw();
  }
}

main();
window.prong = {store, changed};  // for whoever looks from the console
