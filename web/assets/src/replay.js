// Steps through the history on the diagram: slider, arrow keys, event list, heat map of how long each step took.
import { Marks, embedded, fold, open } from './diagram.js';

const root = document.querySelector('[data-replay]');
const { events, labels, words } = embedded(root.dataset.replay);
const marks = new Marks(await open(root, labels));
const range = root.querySelector('input[type=range]');
const output = root.querySelector('output');
const heat = root.querySelector('[data-heat]');
const list = root.querySelector('ol');
range.max = events.length;

function describe(event) {
  return `${event.at.slice(0, 19).replace('T', ' ')} · ${labels[event.label] || event.label || event.element} · ${words[event.type] || event.type}${event.actor ? ` · ${event.actor}` : ''}`;
}

function show(step) {
  const count = Math.max(0, Math.min(events.length, step));
  range.value = count;
  marks.show(fold(events, count));
  if (heat.checked) durations(count);
  const event = events[count - 1];
  if (event) marks.mark(event.element, 'is-now');
  output.textContent = `${count}/${events.length}${event ? ` · ${describe(event)}` : ''}`;
  range.setAttribute('aria-valuetext', output.textContent);
  [...list.children].forEach((item, index) => {
    if (index === count - 1) { item.setAttribute('aria-current', 'step'); item.scrollIntoView({ block: 'nearest' }); }
    else item.removeAttribute('aria-current');
  });
}

function durations(count) {
  const since = {}, total = {};
  for (const { element, type, at } of events.slice(0, count)) {
    if (type === 'enter') since[element] = Date.parse(at);
    else if (element in since) { total[element] = (total[element] || 0) + Date.parse(at) - since[element]; delete since[element]; }
  }
  const longest = Math.max(1, ...Object.values(total));
  for (const [id, ms] of Object.entries(total)) {
    marks.mark(id, `heat-${Math.round(4 * Math.sqrt(ms / longest))}`);
    if (ms >= 1000) marks.badge(id, duration(ms), 'badge-time', { bottom: -4, left: 0 });
  }
}

function duration(ms) {
  if (ms < 60e3) return `${Math.round(ms / 1e3)} s`;
  if (ms < 3.6e6) return `${Math.round(ms / 60e3)} min`;
  return ms < 48 * 3.6e6 ? `${(ms / 3.6e6).toFixed(1)} h` : `${(ms / 86.4e6).toFixed(1)} d`;
}

list.append(...events.map((event, index) => {
  const item = document.createElement('li'), button = document.createElement('button');
  button.type = 'button';
  button.textContent = describe(event);
  button.addEventListener('click', () => show(index + 1));
  item.append(button);
  return item;
}));
range.addEventListener('input', () => show(Number(range.value)));
heat.addEventListener('change', () => show(Number(range.value)));
document.addEventListener('keydown', event => {
  if (event.target.matches('input:not([type=range]), textarea, select')) return;
  const to = { ArrowRight: Number(range.value) + 1, ArrowLeft: Number(range.value) - 1, Home: 0, End: events.length }[event.key];
  if (to !== undefined) { event.preventDefault(); show(to); }
});
show(events.length);
root.dataset.ready = '1';
