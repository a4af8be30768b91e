// How values are shown: short, the same everywhere, and never obeyed.

// Control, bidirectional and zero-width characters are shown as what they are: a text node does not stop them.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;
export const safe = text => String(text).replace(UNSEEN, one => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`);

export const count = number => number == null ? '–' : Math.round(number).toLocaleString('en');

// So many of something, such as 1 task or 2 tasks.
export const many = (number, one) => `${count(number)} ${one}${number === 1 ? '' : 's'}`;

export function short(number) {
  if (number == null) return '–';
  for (const [size, unit] of [[1e9, 'G'], [1e6, 'M'], [1e3, 'k']])
    if (Math.abs(number) >= size) return `${(number / size).toFixed(number >= 10 * size ? 0 : 1)}${unit}`;
  return String(Math.round(number));
}

export const usd = amount => amount == null ? '–' : `$${amount >= 100 ? amount.toFixed(0) : amount >= 1 ? amount.toFixed(2) : amount.toFixed(4)}`;

export const percent = share => share == null || !isFinite(share) ? '–' : `${(share * 100).toFixed(share > .995 || share < .005 ? 1 : 0)} %`;

export function duration(seconds) {
  if (seconds == null || !isFinite(seconds)) return '–';
  const s = Math.max(0, seconds);
  if (s === 0) return '0 s';
  if (s < 1) return `${Math.round(s * 1000)} ms`;
  if (s < 60) return `${s.toFixed(s < 10 ? 1 : 0)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} m ${String(Math.floor(s % 60)).padStart(2, '0')} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${String(Math.floor(s % 3600 / 60)).padStart(2, '0')} m`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s % 86400 / 3600)} h`;
}

export const clock = at => at == null ? '–' : new Date(at * 1000).toLocaleTimeString('en-GB');
export const clockMs = at => at == null ? '–' : `${clock(at)}.${String(Math.floor(at * 1000) % 1000).padStart(3, '0')}`;

// The middle is left out, because paths and keys differ at their ends.
export const middle = (text, most) => {
  const all = String(text);
  return all.length <= most ? all : `${all.slice(0, Math.ceil(most / 2) - 1)}…${all.slice(all.length - Math.floor(most / 2))}`;
};

export const cut = (text, most) => { const all = String(text ?? ''); return all.length <= most ? all : `${all.slice(0, most - 1)}…`; };
