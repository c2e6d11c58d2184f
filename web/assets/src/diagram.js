// A read-only diagram of a page, with the states of its elements drawn on it.
import Viewer from 'bpmn-js/lib/NavigatedViewer';
import 'bpmn-js/dist/assets/diagram-js.css';
import 'bpmn-js/dist/assets/bpmn-js.css';
import './diagram.css';

/** The JSON of the <script type="application/json"> that `id` names. */
export function embedded(id) {
  return JSON.parse(document.getElementById(id).textContent);
}

/** Fetch and show the diagram that `root` names in data-src, in the container `.canvas` inside it (or itself). */
export async function open(root, labels = {}) {
  const viewer = new Viewer({ container: root.querySelector('.canvas') || root });
  const response = await fetch(root.dataset.src, { headers: { Accept: 'application/xml' } });
  if (!response.ok) throw new Error(`${response.status} ${root.dataset.src}`);
  await viewer.importXML(await response.text());
  translate(viewer, labels);
  const canvas = viewer.get('canvas');
  canvas.zoom('fit-viewport', 'auto');
  new ResizeObserver(() => canvas.resized()).observe(root);
  return viewer;
}

const LABEL = 90;

/** Replace the labels of the drawing by those of the reader's language, for display only. */
function translate(viewer, labels) {
  const registry = viewer.get('elementRegistry'), factory = viewer.get('graphicsFactory');
  // An element and its label outside share one name: look all names up before the first is replaced.
  const named = registry.getAll().map(element => [element, labels[element.businessObject?.name]]).filter(([, name]) => name);
  for (const [element, name] of named) {
    element.businessObject.name = name;
    if (element.labelTarget && element.width < LABEL) {   // drawn for the fewer characters of Chinese
      element.x -= (LABEL - element.width) / 2;
      element.width = LABEL;
    }
    const graphics = registry.getGraphics(element);
    if (graphics) factory.update(element.waypoints ? 'connection' : 'shape', element, graphics);
  }
}

/** Marks and badges on a diagram that can all be taken off again. */
export class Marks {
  constructor(viewer) {
    this.canvas = viewer.get('canvas');
    this.overlays = viewer.get('overlays');
    this.registry = viewer.get('elementRegistry');
    this.set = [];
  }

  clear() {
    for (const [id, name] of this.set) this.canvas.removeMarker(id, name);
    this.set = [];
    this.overlays.remove({ type: 'state' });
  }

  mark(id, name) {
    if (!this.registry.get(id)) return;           // an older version of the diagram may lack it
    this.canvas.addMarker(id, name);
    this.set.push([id, name]);
  }

  badge(id, text, name, position) {
    const shape = this.registry.get(id);
    if (!shape || shape.waypoints) return;
    const element = document.createElement('div');
    element.className = `badge ${name}`;
    element.textContent = text;
    this.overlays.add(id, 'state', { position, html: element });
  }

  /** States: Map id -> {active, done, failed} as counts. */
  show(states) {
    this.clear();
    for (const [id, state] of states) {
      this.mark(id, state.failed ? 'is-failed' : state.active ? 'is-active' : 'is-done');
      if (state.active) this.badge(id, state.active > 1 ? `▶${state.active}` : '▶', 'badge-active', { top: -12, right: 12 });
      if (state.done) this.badge(id, state.done > 1 ? `✓${state.done}` : '✓', 'badge-done', { bottom: 12, right: 12 });
      if (state.failed) this.badge(id, '!', 'badge-failed', { top: -12, left: -4 });
    }
  }
}

/** State of every element after the first `count` events: a pure fold, so any step can be shown directly. */
export function fold(events, count = events.length) {
  const states = new Map();
  const at = id => states.get(id) || states.set(id, { active: 0, done: 0, failed: 0 }).get(id);
  for (const { element, type } of events.slice(0, count)) {
    const state = at(element);
    if (type === 'enter') { state.active += 1; state.failed = 0; continue; }
    if (type !== 'take') state.active = Math.max(0, state.active - 1);
    if (type === 'fail') state.failed += 1;
    else if (type !== 'cancel') state.done += 1;
  }
  for (const [id, state] of states) if (!state.active && !state.done && !state.failed) states.delete(id);
  return states;
}
