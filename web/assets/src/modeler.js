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
const { catalogue, words } = embedded(root.dataset.modeler);
const problems = document.querySelector('[data-problems]');
const status = document.querySelector('[data-status]');
const deploy = document.querySelector('form[data-deploy]');
const token = document.querySelector('meta[name=csrf-token]').content;

const modeler = new Modeler({
  container: root.querySelector('.canvas'),
  propertiesPanel: { parent: root.querySelector('.properties') },
  additionalModules: [
    BpmnPropertiesPanelModule, BpmnPropertiesProviderModule, minimap, properties(catalogue), translation(document.documentElement.lang)
  ],
  moddleExtensions: { spiffworkflow: moddle }
});
root.modeler = modeler;
const marks = new Marks(modeler);

async function post(url, fields) {
  const form = new FormData();
  const { xml } = await modeler.saveXML({ format: true });
  form.set('xml', xml);
  for (const [name, value] of Object.entries(fields)) form.set(name, value);
  const response = await fetch(url, { method: 'POST', body: form, headers: { 'X-CSRFToken': token, Accept: 'application/json' } });
  const answer = await response.json().catch(() => ({ message: `${response.status} ${response.statusText}` }));
  return { ok: response.ok, ...answer };
}

/** Put every problem on its element and into the list; a click in the list goes to the element. */
function show(found) {
  marks.clear();
  for (const { element, severity } of found) {
    if (!element) continue;
    marks.mark(element, 'is-problem');
    marks.badge(element, severity === 'error' ? '!' : '?', 'badge-failed', { top: -12, left: -4 });
  }
  problems.replaceChildren(...found.map(problem => {
    const item = document.createElement('li'), button = document.createElement('button');
    item.className = `problem problem-${problem.severity}`;
    button.type = 'button';
    button.textContent = `${words[problem.severity] || problem.severity} · ${problem.file}:${problem.line} · ${problem.element} · ${problem.rule}: ${problem.message}`;
    button.addEventListener('click', () => select(problem.element));
    item.append(button);
    return item;
  }));
  const errors = found.filter(problem => problem.severity === 'error').length;
  status.textContent = found.length ? words.problems.replace('{count}', found.length) : words.clean;
  deploy.querySelector('button').disabled = errors > 0;
}

function select(id) {
  const element = modeler.get('elementRegistry').get(id);
  if (!element) return;
  modeler.get('canvas').scrollToElement(element, 80);
  modeler.get('selection').select(element);
}

let pending, running = 0;
async function lint() {
  const mine = ++running;
  const answer = await post(root.dataset.lint, {});
  if (mine !== running) return;                     // a newer change is being checked
  if (answer.problems) show(answer.problems);
  else status.textContent = answer.message;
  root.dataset.linted = String(mine);
}

deploy.addEventListener('submit', async event => {
  event.preventDefault();
  status.textContent = words.deploying;
  const answer = await post(root.dataset.deploy, { note: deploy.elements.note.value });
  if (answer.problems) show(answer.problems);
  status.textContent = answer.message;
  if (!answer.ok) return;
  delete root.dataset.changed;
  window.location.assign(answer.location);
});

const response = await fetch(root.dataset.src, { headers: { Accept: 'application/xml' } });
await modeler.importXML(await response.text());
modeler.get('canvas').zoom('fit-viewport', 'auto');
modeler.on('commandStack.changed', () => {
  clearTimeout(pending);
  pending = setTimeout(lint, 600);
  root.dataset.changed = '1';
});
window.addEventListener('beforeunload', event => {
  if (root.dataset.changed) event.preventDefault();
});
await lint();
root.dataset.ready = '1';
