// The studio: edit a process, see the server's lint on its elements, deploy a new version with a note.
import Modeler from 'bpmn-js/lib/Modeler';
import { BpmnPropertiesPanelModule, BpmnPropertiesProviderModule } from 'bpmn-js-properties-panel';
import minimap from 'diagram-js-minimap';
import 'bpmn-js/dist/assets/diagram-js.css';
import 'bpmn-js/dist/assets/bpmn-js.css';
import 'bpmn-js/dist/assets/bpmn-font/css/bpmn.css';
import '@bpmn-io/properties-panel/assets/properties-panel.css';
import 'diagram-js-minimap/assets/diagram-js-minimap.css';
import './diagram.css';
import './modeler.css';
import { Marks, embedded } from './diagram.js';
import translation from './i18n.js';
import moddle from './moddle.json';
import properties from './properties.js';

const root = document.querySelector('[data-modeler]');
const { catalogue, words, base } = embedded(root.dataset.modeler);
const problems = document.querySelector('[data-problems]');
const status = document.querySelector('[data-status]');
const deploy = document.querySelector('form[data-deploy]');
const refusal = document.querySelector('[data-refusal]');
const button = deploy.querySelector('button');
const token = document.querySelector('meta[name=csrf-token]').content;

root.untranslated = new Set();                      // for the tests: what the editor said that no table translates
const modeler = new Modeler({
  container: root.querySelector('.canvas'),
  propertiesPanel: { parent: root.querySelector('.properties') },
  additionalModules: [
    BpmnPropertiesPanelModule, BpmnPropertiesProviderModule, minimap, properties(catalogue),
    translation(document.documentElement.lang, root.untranslated)
  ],
  moddleExtensions: { spiffworkflow: moddle }
});
root.modeler = modeler;
const marks = new Marks(modeler);

/** Post the diagram as it is now. `message` says what went wrong when the server could not answer as it should. */
async function post(url, fields) {
  const form = new FormData();
  const { xml } = await modeler.saveXML({ format: true });
  form.set('xml', xml);
  for (const [name, value] of Object.entries(fields)) form.set(name, value);
  try {
    const response = await fetch(url, { method: 'POST', body: form, headers: { 'X-CSRFToken': token, Accept: 'application/json' } });
    const answer = await response.json();
    const message = response.status === 413 ? words.large : answer.message || answer.detail || answer.title;
    return { ...answer, message, ok: response.ok };
  } catch {
    return { message: words.unreachable, ok: false };
  }
}

// ---- findings ----

/** Put every problem on its element and into the list; a click in the list goes to the element. */
function show(found) {
  const registry = modeler.get('elementRegistry');
  marks.clear();
  const worst = new Map();
  for (const { element, severity } of found) {
    if (registry.get(element) && worst.get(element) !== 'error') worst.set(element, severity);
  }
  for (const [element, severity] of worst) {
    marks.mark(element, `is-${severity === 'error' ? 'problem' : 'doubtful'}`);
    marks.badge(element, severity === 'error' ? '!' : '?', severity === 'error' ? 'badge-failed' : 'badge-doubtful', { top: -12, left: -4 });
  }
  problems.replaceChildren(...found.map(problem => line(problem, registry.get(problem.element))));
  const errors = found.filter(problem => problem.severity === 'error').length;
  status.textContent = !found.length ? words.clean
    : (errors ? words.errors : words.warnings).replace('{errors}', errors).replace('{count}', found.length);
  status.className = `chip ${errors ? 'bad' : found.length ? 'warn' : 'good'}`;
  button.disabled = errors > 0;
}

function line(problem, element) {
  const item = document.createElement('li');
  item.className = `problem ${problem.severity}`;
  const add = (parent, name, className, text) => {
    const made = Object.assign(document.createElement(name), { className, textContent: text });
    parent.append(made);
    return made;
  };
  add(item, 'span', `chip ${problem.severity === 'error' ? 'bad' : 'warn'}`, words[problem.severity]);
  const text = add(item, 'div', '', '');
  const head = add(text, 'p', 'head', '');
  add(head, 'strong', '', problem.title);
  if (element) {
    const go = add(head, 'button', 'link-button', element.businessObject.name || problem.element);
    go.type = 'button';
    go.addEventListener('click', () => select(element));
  }
  add(text, 'p', 'meta', `${problem.message} · ${problem.file}:${problem.line}${problem.element ? ` · ${problem.element}` : ''} · ${problem.rule}`);
  return item;
}

function select(element) {
  modeler.get('canvas').scrollToElement(element, 80);
  modeler.get('selection').select(element);
  root.scrollIntoView({ block: 'nearest' });
}

let pending, running = 0;
async function lint() {
  const mine = ++running;
  const answer = await post(root.dataset.lint, {});
  if (mine !== running) return;                     // a newer change is being checked
  if (answer.problems) show(answer.problems);
  else { status.textContent = answer.message; status.className = 'chip bad'; }
  root.dataset.linted = String(mine);
}

// ---- deploying ----

deploy.addEventListener('submit', async event => {
  event.preventDefault();
  clearTimeout(pending);
  running += 1;                                     // what a check under way finds is about an older diagram
  button.disabled = true;
  refusal.hidden = true;
  const answer = await post(root.dataset.deploy, { note: deploy.elements.note.value, base });
  if (answer.ok) {
    delete root.dataset.changed;
    window.location.assign(answer.location);
    return;
  }
  button.disabled = false;
  if (answer.problems) show(answer.problems);
  refusal.querySelector('[data-message]').textContent = answer.message;
  refusal.hidden = false;
  refusal.scrollIntoView({ block: 'nearest' });
});

// ---- the canvas ----

const READABLE = 0.6, PALETTE = 120;

const ACTIONS = {
  undo: () => modeler.get('commandStack').undo(),
  redo: () => modeler.get('commandStack').redo(),
  in: () => modeler.get('zoomScroll').stepZoom(1),
  out: () => modeler.get('zoomScroll').stepZoom(-1),
  fit: () => modeler.get('canvas').zoom('fit-viewport', 'auto')
};

function tools() {
  const stack = modeler.get('commandStack');
  root.querySelector('[data-action=undo]').disabled = !stack.canUndo();
  root.querySelector('[data-action=redo]').disabled = !stack.canRedo();
}

/** Begin where the process begins, at a size that can be read; the minimap shows the whole. */
function begin() {
  const canvas = modeler.get('canvas'), { inner, outer } = canvas.viewbox();
  const width = outer.width / READABLE, height = outer.height / READABLE;
  if (inner.width + PALETTE / READABLE <= width && inner.height <= height) return ACTIONS.fit();
  canvas.viewbox({ x: inner.x - PALETTE / READABLE, y: inner.y - 40, width, height });
  if (outer.width > 700) modeler.get('minimap').open();
}

for (const tool of root.querySelectorAll('[data-action]')) tool.addEventListener('click', ACTIONS[tool.dataset.action]);

const response = await fetch(root.dataset.src, { headers: { Accept: 'application/xml' } });
await modeler.importXML(await response.text());
begin();
tools();
modeler.on('commandStack.changed', () => {
  clearTimeout(pending);
  pending = setTimeout(lint, 600);
  root.dataset.changed = '1';
  tools();
});
window.addEventListener('beforeunload', event => {
  if (root.dataset.changed) event.preventDefault();
});
await lint();
root.dataset.ready = '1';
