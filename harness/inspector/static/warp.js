// Time with the idle stretches folded: where nobody asked a model or ran a tool, such as a night between two runs, the
// timeline goes on after a small gap.
//
//   fold(t)    seconds of the folded time          unfold(s)   back again

import {KIND} from './lanes.js';

const LEAST_S = 2, SHARE = .01;  // a gap is folded from so long on, and from such a share of the run on

export class Warp {
  constructor(gaps, keep) {
    this.gaps = gaps;      // [from, to] of each gap, in order
    this.keep = keep;      // how long each looks
    let cut = 0;
    this.cuts = gaps.map(([from, to]) => { const before = cut; cut += to - from - keep; return before; });  // what was cut before each
    this.cut = cut;
  }

  fold(t) {
    const {gaps} = this;
    if (!gaps.length || t <= gaps[0][0]) return t;
    let low = 0, high = gaps.length - 1;  // the last gap that began before t
    while (low < high) { const mid = (low + high + 1) >> 1; if (gaps[mid][0] < t) low = mid; else high = mid - 1; }
    const [from, to] = gaps[low];
    if (t >= to) return t - this.cuts[low] - (to - from - this.keep);
    return from - this.cuts[low] + (t - from) / (to - from) * this.keep;
  }

  unfold(s) {
    const {gaps} = this;
    if (!gaps.length || s <= gaps[0][0]) return s;
    let low = 0, high = gaps.length - 1;
    while (low < high) { const mid = (low + high + 1) >> 1; if (gaps[mid][0] - this.cuts[mid] < s) low = mid; else high = mid - 1; }
    const [from, to] = gaps[low], into = s - (from - this.cuts[low]);
    if (into >= this.keep) return s + this.cuts[low] + (to - from - this.keep);
    return from + into / this.keep * (to - from);
  }
}

export const STRAIGHT = new Warp([], 0);

// The stretches between the first and the last span in which no model was asked and no tool ran.
export function idle(lanes, began, ended) {
  const spans = [];
  for (const lane of lanes.values())
    for (let i = 0; i < lane.n; i++) if (lane.kind[i] === KIND.model || lane.kind[i] === KIND.tool) spans.push(lane.began[i], Math.min(lane.ended[i], ended));
  const order = new Float64Array(spans.length / 2).map((_, i) => i).sort((a, b) => spans[2 * a] - spans[2 * b]);
  const least = Math.max(LEAST_S, (ended - began) * SHARE), found = [];
  let until = null;
  for (const i of order) {
    const from = spans[2 * i], to = spans[2 * i + 1];
    if (until !== null && from - until >= least) found.push([until, from]);
    until = until === null ? to : Math.max(until, to);
  }
  const busy = ended - began - found.reduce((sum, [from, to]) => sum + to - from, 0);
  return new Warp(found, Math.min(least, Math.max(.05, busy * .02)));
}
