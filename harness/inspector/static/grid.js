// A table of any number of rows, of which only those in sight exist.
//
// Browsers end a page at some million pixels; beyond that the scroll bar is scaled, so a million rows can be reached.

import {h} from './dom.js';

const ROW = 26, TALLEST = 6e6;
const states = new WeakMap();

// `columns` are {name, title, width, kind}; `total` rows; `cell(row, column)` gives what stands there (undefined: not
// loaded yet); `selected` the chosen row; `follow` keeps the end in sight.  `key` names the grid among others.
export function grid({key, label, columns, total, cell, selected, choose, follow, sort, onsort}) {
  const template = columns.map(one => one.width ?? '1fr').join(' ');
  return h('div', {class: 'grid', role: 'grid', 'aria-label': label, 'aria-rowcount': total + 1, 'aria-colcount': columns.length, key},
    h('div', {class: 'grid-head', role: 'row', 'aria-rowindex': 1, style: {'grid-template-columns': template}},
      columns.map(one => h('span', {
        role: 'columnheader', class: one.kind ?? '', 'aria-sort': sort?.name === one.name ? (sort.down ? 'descending' : 'ascending') : null,
      }, onsort && one.sortable !== false
        ? h('button', {class: 'plain', onclick: () => onsort(one.name)}, one.title, sort?.name === one.name ? (sort.down ? ' ↓' : ' ↑') : '')
        : one.title))),
    h('div', {
      class: 'grid-body', role: 'rowgroup', tabindex: 0, 'aria-label': `${label}, rows`, opaque: true,
      mount: body => mount(body),
      update: body => draw(body, {columns, total, cell, selected, choose, follow, template}),
      onkeydown: event => keys(event, {total, selected, choose}),
    }));
}

function mount(body) {
  const own = {rows: new Map(), tall: document.createElement('div'), given: null};
  own.tall.setAttribute('role', 'presentation');
  body.append(own.tall);
  states.set(body, own);
  const again = () => own.given && draw(body, own.given);
  body.addEventListener('scroll', again, {passive: true});
  const watch = new ResizeObserver(again);
  watch.observe(body);
  return () => watch.disconnect();
}

function scaleOf(body, total) {
  const all = total * ROW, shown = Math.min(all, TALLEST);
  return {shown, scale: all > shown ? (all - body.clientHeight) / (shown - body.clientHeight) : 1};
}

function draw(body, given) {
  const own = states.get(body);
  if (!own) { queueMicrotask(() => states.get(body) && draw(body, given)); return; }
  own.given = given;
  const {columns, total, cell, selected, follow, template} = given;
  const {shown, scale} = scaleOf(body, total);
  own.tall.style.height = `${shown}px`;
  if (follow) body.scrollTop = shown;
  const top = body.scrollTop * scale;
  const first = Math.max(0, Math.floor(top / ROW) - 2);
  const last = Math.min(total, Math.ceil((top + body.clientHeight) / ROW) + 2);
  for (const [index, node] of own.rows) if (index < first || index >= last) { node.remove(); own.rows.delete(index); }
  for (let index = first; index < last; index++) {
    let node = own.rows.get(index);
    if (!node) {
      node = document.createElement('div');
      node.className = 'grid-row';
      node.setAttribute('role', 'row');
      node.addEventListener('click', () => own.given.choose?.(index));
      own.rows.set(index, node);
      body.append(node);
    }
    node.style.transform = `translateY(${body.scrollTop + (index * ROW - top)}px)`;
    node.style.gridTemplateColumns = template;
    node.setAttribute('aria-rowindex', index + 2);
    node.setAttribute('aria-selected', index === selected);
    fill(node, columns, column => cell(index, column));
  }
}

function fill(node, columns, value) {
  while (node.childElementCount < columns.length) {
    const span = document.createElement('span');
    span.setAttribute('role', 'gridcell');
    node.append(span);
  }
  while (node.childElementCount > columns.length) node.lastElementChild.remove();
  columns.forEach((column, place) => {
    const span = node.children[place];
    const told = value(column);
    span.className = `${column.kind ?? ''} ${told?.class ?? ''}`.trim();
    drawCell(span, told);
  });
}

// A cell is text, or {text, href, class, title}.
function drawCell(span, told) {
  const own = typeof told === 'object' && told !== null ? told : {text: told ?? (told === undefined ? '…' : '')};
  if (own.title) span.title = own.title; else span.removeAttribute('title');
  if (own.href) {
    let link = span.firstElementChild;
    if (!link) { link = document.createElement('a'); span.replaceChildren(link); }
    if (link.getAttribute('href') !== own.href) link.setAttribute('href', own.href);
    if (link.textContent !== own.text) link.textContent = own.text;
  } else if (span.textContent !== String(own.text) || span.firstElementChild) span.textContent = own.text;
}

function keys(event, {total, selected, choose}) {
  const page = Math.floor(event.currentTarget.clientHeight / ROW) - 1;
  const at = selected ?? -1;
  const to = {ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: total - 1}[event.key];
  if (to === undefined || !choose || !total) return;
  event.preventDefault();
  const row = Math.max(0, Math.min(total - 1, to));
  choose(row);
  reveal(event.currentTarget, row, total);
}

export function reveal(body, row, total) {
  const {scale} = scaleOf(body, total);
  const top = body.scrollTop * scale;
  if (row * ROW < top) body.scrollTop = row * ROW / scale;
  else if ((row + 1) * ROW > top + body.clientHeight) body.scrollTop = ((row + 1) * ROW - body.clientHeight) / scale;
}
