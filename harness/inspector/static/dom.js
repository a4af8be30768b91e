// A tree of what shall be seen, and the smallest change that makes the page show it.
//
//   h('a', {href: '#/x', onclick: act}, 'text', [more])   describes; nothing is made yet
//   render(tree, element)                                 makes, moves and removes nodes until the element shows it
//
// Text is only ever a text node, and strings are made visible first (safe), so nothing that an agent wrote is obeyed.
// A child with a `key` keeps its node when its neighbours change.  `mount(node)` is called once a node is there and may
// return what undoes it; `update(node)` after every render.

import {safe} from './format.js';

const PROPERTIES = new Set(['value', 'checked', 'selected', 'disabled', 'open', 'indeterminate', 'scrollTop', 'tabIndex']);
const LINK = /^(#|\/(?!\/)|https?:\/\/)/;

export const h = (tag, props, ...children) => {
  const own = props ?? {};
  if (typeof tag === 'function') return tag({...own, children: flat(children)});
  return {tag, props: own, key: own.key, children: flat(children)};
};

const flat = children => children.flat(Infinity).filter(one => one != null && one !== false && one !== true);

export function render(tree, element) {
  patchChildren(element, flat([tree]));
}

const state = new WeakMap();  // node -> {tag, props, key, undo}

function make(one) {
  if (typeof one !== 'object') return document.createTextNode(safe(one));
  const svg = one.tag === 'svg' || one.props.svg;
  const node = svg ? document.createElementNS('http://www.w3.org/2000/svg', one.tag) : document.createElement(one.tag);
  const own = {tag: one.tag, props: {}, key: one.key, undo: null};
  state.set(node, own);
  patch(node, own, one);
  return node;
}

function patch(node, own, one) {
  setProps(node, own.props, one.props);
  own.props = one.props;
  own.key = one.key;
  if (!one.props.opaque) patchChildren(node, one.children);  // an opaque node fills itself, such as a canvas's box
  if (one.tag === 'select' && 'value' in one.props) node.value = one.props.value ?? '';  // only now are its options there
}

function patchChildren(parent, wanted) {
  const there = new Map();
  const loose = [];
  for (const node of [...parent.childNodes]) {
    const own = state.get(node);
    if (own?.key != null) there.set(own.key, node); else loose.push(node);
  }
  let at = parent.firstChild, next = 0;
  const kept = new Set(), born = [];
  for (const one of wanted) {
    let node = null;
    if (typeof one === 'object' && one.key != null) {
      node = there.get(one.key) ?? null;
      if (node && state.get(node).tag !== one.tag) node = null;
    } else {
      while (next < loose.length && kept.has(loose[next])) next++;
      if (next < loose.length && fits(loose[next], one)) node = loose[next++];
    }
    if (!node) { node = make(one); born.push([node, one]); }
    else if (typeof one !== 'object') { const text = safe(one); if (node.data !== text) node.data = text; }
    else patch(node, state.get(node), one);
    kept.add(node);
    if (node === at) at = at.nextSibling; else parent.insertBefore(node, at);
    if (typeof one === 'object') one.props.update?.(node);
  }
  while (at) { const gone = at; at = at.nextSibling; if (!kept.has(gone)) remove(gone); }
  for (const node of [...parent.childNodes]) if (!kept.has(node)) remove(node);
  for (const [node, one] of born) if (typeof one === 'object' && one.props.mount) state.get(node).undo = one.props.mount(node);
}

const fits = (node, one) => typeof one === 'object'
  ? state.get(node)?.tag === one.tag && state.get(node).key == null
  : node.nodeType === Node.TEXT_NODE;

function remove(node) {
  forget(node);
  node.remove();
}

function forget(node) {
  for (const child of node.childNodes) forget(child);
  const own = state.get(node);
  if (typeof own?.undo === 'function') own.undo();
}

function setProps(node, before, after) {
  for (const name in before) if (!(name in after)) setProp(node, name, before[name], undefined);
  for (const name in after) if (before[name] !== after[name] || PROPERTIES.has(name)) setProp(node, name, before[name], after[name]);
}

function setProp(node, name, before, value) {
  if (['key', 'mount', 'update', 'opaque', 'svg'].includes(name)) return;
  if (name.startsWith('on')) {
    if (before) node.removeEventListener(name.slice(2), before);
    if (typeof value === 'function') node.addEventListener(name.slice(2), value);
  } else if (name === 'style') {
    for (const key in before ?? {}) if (!(key in (value ?? {}))) node.style.removeProperty(key);
    for (const key in value ?? {}) node.style.setProperty(key, value[key]);
  } else if (PROPERTIES.has(name)) {
    if (value !== undefined && node[name] !== value) node[name] = value;
  } else if (value == null || value === false) {
    node.removeAttribute(name);
  } else if (name === 'href' && !LINK.test(String(value))) {
    node.removeAttribute(name);
  } else {
    node.setAttribute(name, value === true ? '' : safe(value));
  }
}
