// Steps through the history on the diagram: slider, buttons, arrow keys, event list, heat map of how long each step took.
import './replay.css';
import { Marks, embedded, fold, open } from './diagram.js';

const root = document.querySelector('[data-replay]');
const { events, labels, words } = embedded(root.dataset.replay);
const viewer = await open(root, labels);
const marks = new Marks(viewer);
const canvas = viewer.get('canvas'), registry = viewer.get('elementRegistry');
const range = root.querySelector('input[type=range]');
const output = root.querySelector('output');
const heat = root.querySelector('[data-heat]');
const list = root.querySelector('[data-events]');
const follow = root.querySelector('[data-follow]');
range.max = events.length;

const READABLE = 0.6;

const name = event => labels[event.label] || event.label || event.element;

/** Show an element in the middle, at a size that can be read; keep still while it is well inside the picture. */
function near(element) {
  if (!element) return;                                 // an element that the diagram does not draw
  const { x, y, width, height, outer } = canvas.viewbox();
  const at = element.waypoints ? element.waypoints[0] : { x: element.x + element.width / 2, y: element.y + element.height / 2 };
  const inside = Math.abs(at.x - x - width / 2) < width * 0.35 && Math.abs(at.y - y - height / 2) < height * 0.35;
  if (inside && Math.abs(outer.width / width - READABLE) < 0.2) return;
  const wide = outer.width / READABLE, high = outer.height / READABLE;
  canvas.viewbox({ x: at.x - wide / 2, y: at.y - high / 2, width: wide, height: high });
}

function show(step) {
  const count = Math.max(0, Math.min(events.length, step)), event = events[count - 1];
  range.value = count;
  marks.show(fold(events, count));
  if (heat.checked) durations(count);
  if (event) {
    marks.mark(event.element, 'is-now');
    if (follow.checked) near(registry.get(event.element));
  }
  output.textContent = event ? `${count}/${events.length} · ${event.at} · ${name(event)} · ${words[event.type]}` : `0/${events.length}`;
  range.setAttribute('aria-valuetext', output.textContent);
  root.querySelector('[data-step="-1"]').disabled = count === 0;
  root.querySelector('[data-step="1"]').disabled = count === events.length;
  [...list.children].forEach((item, index) => {
    if (index !== count - 1) { item.removeAttribute('aria-current'); return; }
    item.setAttribute('aria-current', 'step');
    const top = item.offsetTop - list.offsetTop;            // scrolls the list and never the page
    if (top < list.scrollTop || top + item.offsetHeight > list.scrollTop + list.clientHeight) list.scrollTop = top - list.clientHeight / 2;
  });
}

/** Colour every element by the time that was spent in it up to now, and say how long that was. */
function durations(count) {
  const since = {}, total = {};
  for (const { element, type, instant } of events.slice(0, count)) {
    if (type === 'enter') since[element] ??= Date.parse(instant);
    else if (element in since) { total[element] = (total[element] || 0) + Date.parse(instant) - since[element]; delete since[element]; }
  }
  const longest = Math.max(1, ...Object.values(total));
  for (const [id, ms] of Object.entries(total)) {
    marks.mark(id, `heat-${Math.round(4 * Math.sqrt(ms / longest))}`);
    if (ms >= 1000) marks.badge(id, duration(ms), 'badge-time', { bottom: -4, left: 0 });
  }
}

function duration(ms) {
  const [unit, length] = ms < 60e3 ? ['s', 1e3] : ms < 3.6e6 ? ['min', 60e3] : ms < 48 * 3.6e6 ? ['h', 3.6e6] : ['d', 86.4e6];
  return words[unit].replace('{}', (ms / length).toFixed(unit === 'h' || unit === 'd' ? 1 : 0));
}

function line(event, index) {
  const item = document.createElement('li'), button = document.createElement('button');
  button.type = 'button';
  button.dataset.kind = event.type;
  for (const [className, text] of [['what', name(event)], ['meta', `${event.at} · ${words[event.type]}${event.actor ? ` · ${event.actor}` : ''}`]]) {
    button.append(Object.assign(document.createElement('span'), { className, textContent: text }));
  }
  button.addEventListener('click', () => show(index + 1));
  item.append(button);
  return item;
}

list.append(...events.map(line));
range.addEventListener('input', () => show(Number(range.value)));
follow.addEventListener('change', () => { canvas.zoom('fit-viewport', 'auto'); show(Number(range.value)); });
heat.addEventListener('change', () => show(Number(range.value)));
for (const button of root.querySelectorAll('[data-step]')) {
  button.addEventListener('click', () => show(Number(range.value) + Number(button.dataset.step)));
}
document.addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches('input:not([type=range], [type=checkbox]), textarea, select')) return;
  const to = { ArrowRight: Number(range.value) + 1, ArrowLeft: Number(range.value) - 1, Home: 0, End: events.length }[event.key];
  if (to !== undefined) { event.preventDefault(); show(to); }
});
show(events.length);
root.dataset.ready = '1';
