// Commands as buttons: asked for once, confirmed where something is lost, and followed until their effect is seen.
//
//   Cancel… --confirm--> requested --> acknowledged --> done | refused, with the reason

import {command, get} from './api.js';
import {h} from './dom.js';
import {changed} from './store.js';

const running = new Map();  // what was asked for -> the command as it stands
const SHOWN_MS = 8000;

const nameOf = (op, target, args) => `${op} ${JSON.stringify(target)} ${JSON.stringify(args)}`;

export async function act(op, target, args = {}) {
  const name = nameOf(op, target, args);
  if (['requested', 'acknowledged'].includes(running.get(name)?.state)) return;
  running.set(name, {state: 'requested'});
  changed();
  try {
    await command(op, target, args, now => { running.set(name, now); changed(); });
  } catch (error) {
    running.set(name, {state: 'failed', error: error.message});
  }
  changed();
  setTimeout(() => { running.delete(name); changed(); }, SHOWN_MS);
}

export const standing = (op, target, args = {}) => running.get(nameOf(op, target, args));

const WORDS = {requested: 'requested …', acknowledged: 'under way …', done: '✔ done', failed: '✖ refused'};

// A button for one command.  `confirm` is a sentence that says what it will hit, or an async function that gives it.
export function button({label, op, target, args = {}, confirm, danger, disabled, readOnly}) {
  const now = standing(op, target, args);
  const press = async () => {
    const sentence = typeof confirm === 'function' ? await confirm() : confirm;
    if (sentence && !(await ask(sentence, label))) return;
    act(op, target, args);
  };
  return h('span', {class: 'act', key: nameOf(op, target, args)},
    h('button', {class: danger ? 'danger' : '', disabled: Boolean(disabled || readOnly || now && now.state !== 'failed' && now.state !== 'done'), title: readOnly ? 'This inspector only shows.' : null, onclick: press}, label),
    now ? h('span', {class: now.state === 'failed' ? 'bad' : now.state === 'done' ? 'ok' : 'dim', role: 'status'}, `${WORDS[now.state]}${now.error ? `: ${now.error}` : ''}`) : '');
}

// What a cancel will hit, counted by the server just now.
export async function cancelHits(task) {
  const {open, agents} = await get(`tasks/${task}/below`);
  const below = open.length - 1;
  return `This cancels task ${task}${below > 0 ? ` and ${below} below it` : ''}, and ends ${agents.length} agent${agents.length === 1 ? '' : 's'}. What they did is kept, but not merged.`;
}

// Ask before something is lost; resolves to whether it shall be.
export function ask(sentence, label) {
  return new Promise(resolve => {
    const dialog = document.createElement('dialog');
    const text = document.createElement('p');
    text.textContent = sentence;
    const yes = document.createElement('button'), no = document.createElement('button');
    yes.textContent = label.replace(/…$/, ''); yes.className = 'danger';
    no.textContent = 'Leave it';
    const row = document.createElement('div');
    row.className = 'choices';
    row.append(no, yes);
    dialog.append(text, row);
    const end = answer => { dialog.close(); dialog.remove(); resolve(answer); };
    yes.addEventListener('click', () => end(true));
    no.addEventListener('click', () => end(false));
    dialog.addEventListener('cancel', () => end(false));
    document.body.append(dialog);
    dialog.showModal();
    no.focus();
  });
}
