// Layers for a graph of needs: every edge goes from left to right, few cross, and it takes milliseconds.
//
// `nodes` are ids, `edges` pairs [from, to].  Gives {place: id -> {layer, row}, layers, rows, cycles}; ids on a cycle are
// told, not dropped, and stand where they are reached first.

const SWEEPS = 8;

export function layout(nodes, edges) {
  const out = new Map(nodes.map(id => [id, []])), into = new Map(nodes.map(id => [id, []]));
  for (const [from, to] of edges) if (out.has(from) && out.has(to) && from !== to) { out.get(from).push(to); into.get(to).push(from); }
  const layer = new Map(), left = new Map(nodes.map(id => [id, into.get(id).length]));
  let ready = nodes.filter(id => left.get(id) === 0);
  for (const id of ready) layer.set(id, 0);
  while (ready.length) {
    const next = [];
    for (const id of ready) for (const to of out.get(id)) {
      layer.set(to, Math.max(layer.get(to) ?? 0, layer.get(id) + 1));
      left.set(to, left.get(to) - 1);
      if (left.get(to) === 0) next.push(to);
    }
    ready = next;
  }
  const cycles = nodes.filter(id => left.get(id) > 0);
  for (const id of cycles) if (!layer.has(id)) layer.set(id, 0);
  const layers = [];
  for (const id of nodes) (layers[layer.get(id)] ??= []).push(id);
  for (let i = 0; i < layers.length; i++) layers[i] ??= [];
  const row = new Map();
  const number = () => { for (const ids of layers) ids.forEach((id, at) => row.set(id, at - (ids.length - 1) / 2)); };
  number();
  // Each node moves to the middle of its neighbours, from the left, then from the right, until it is calm.
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    const near = sweep % 2 ? out : into, order = sweep % 2 ? [...layers.keys()].reverse() : [...layers.keys()];
    for (const at of order) {
      const wish = new Map(layers[at].map(id => { const of = near.get(id); return [id, of.length ? of.reduce((sum, one) => sum + row.get(one), 0) / of.length : row.get(id)]; }));
      layers[at].sort((a, b) => wish.get(a) - wish.get(b) || a - b);
      layers[at].forEach((id, place) => row.set(id, place - (layers[at].length - 1) / 2));
    }
  }
  const rows = Math.max(1, ...layers.map(ids => ids.length));
  return {place: new Map(nodes.map(id => [id, {layer: layer.get(id), row: row.get(id)}])), layers: layers.length, rows, cycles};
}
