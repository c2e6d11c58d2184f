// "You are here": <div data-diagram data-src="…xml" data-events="id of JSON" [data-labels="id of JSON"]>.
import { Marks, embedded, fold, open } from './diagram.js';

for (const root of document.querySelectorAll('[data-diagram]')) {
  const viewer = await open(root, root.dataset.labels ? embedded(root.dataset.labels) : {});
  const states = fold(root.dataset.events ? embedded(root.dataset.events) : []);
  new Marks(viewer).show(states);
  const active = [...states].find(([, state]) => state.active)?.[0];
  if (active && viewer.get('elementRegistry').get(active)) viewer.get('canvas').scrollToElement(active, 80);
  root.dataset.ready = '1';
}
