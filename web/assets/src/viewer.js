// "You are here": <div data-diagram data-src="…xml" data-events="id of JSON" [data-labels="id of JSON"] [data-near]>.
// Inside closed details it is drawn when they are opened. With data-near it is shown at a readable size around the step
// that is active or was last, as on narrow screens; otherwise as a whole.
import { Marks, embedded, fold, open } from './diagram.js';

const READABLE = 0.7, LEGIBLE = 0.2;

function near(canvas, element) {
  const { outer } = canvas.viewbox(), width = outer.width / READABLE, height = outer.height / READABLE;
  canvas.viewbox({ x: element.x + element.width / 2 - width / 2, y: element.y + element.height / 2 - height / 2, width, height });
}

async function draw(root) {
  const viewer = await open(root, root.dataset.labels ? embedded(root.dataset.labels) : {});
  const events = root.dataset.events ? embedded(root.dataset.events) : [], states = fold(events);
  new Marks(viewer).show(states);
  const registry = viewer.get('elementRegistry'), canvas = viewer.get('canvas');
  const active = [...states].filter(([, state]) => state.active).map(([id]) => registry.get(id)).filter(found => found?.width);
  active.sort((one, other) => one.width * one.height - other.width * other.height); // a step rather than the sub-process around it
  const last = events.map(event => registry.get(event.element)).filter(found => found && !found.waypoints).at(-1);
  const here = active[0] || last;
  if (here && ('near' in root.dataset || canvas.zoom() < LEGIBLE)) near(canvas, here); // on a phone the whole is too small
  else if (active[0]) canvas.scrollToElement(active[0], 80);
  root.dataset.ready = '1';
}

for (const root of document.querySelectorAll('[data-diagram]')) {
  const closed = root.closest('details:not([open])');
  if (closed) closed.addEventListener('toggle', () => draw(root), { once: true });
  else draw(root);
}
