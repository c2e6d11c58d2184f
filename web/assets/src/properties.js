// The properties of the spiffworkflow: extension elements, declared row by row; every change goes through the command stack.
import { h } from '@bpmn-io/properties-panel/preact';
import {
  SelectEntry, TextAreaEntry, TextFieldEntry, isSelectEntryEdited, isTextAreaEntryEdited, isTextFieldEntryEdited
} from '@bpmn-io/properties-panel';
import { useService } from 'bpmn-js-properties-panel';

const is = (element, type) => element.businessObject?.$instanceOf(type);
const KINDS = {
  text: [TextFieldEntry, isTextFieldEntryEdited],
  area: [TextAreaEntry, isTextAreaEntryEdited],
  select: [SelectEntry, isSelectEntryEdited]
};
const OPERATOR = 'spiffworkflow:ServiceTaskOperator';
const PROPERTIES = 'spiffworkflow:Properties';

const extension = (element, type) => (element.businessObject.extensionElements?.values || []).find(value => value.$type === type);

function ensure({ bpmnFactory, modeling }, element, type, attributes = {}) {
  const owner = element.businessObject;
  let root = owner.extensionElements;
  if (!root) {
    root = bpmnFactory.create('bpmn:ExtensionElements', { values: [] });
    root.$parent = owner;
    modeling.updateModdleProperties(element, owner, { extensionElements: root });
  }
  let found = extension(element, type);
  if (!found) {
    found = bpmnFactory.create(type, attributes);
    found.$parent = root;
    modeling.updateModdleProperties(element, root, { values: [...root.values, found] });
  }
  return found;
}

function drop({ modeling }, element, type) {
  const root = element.businessObject.extensionElements;
  if (root) modeling.updateModdleProperties(element, root, { values: root.values.filter(value => value.$type !== type) });
}

/** A row kept as the text of an extension element. */
const body = type => ({
  get: element => extension(element, type)?.value || '',
  set: (context, element, value) => value
    ? context.modeling.updateModdleProperties(element, ensure(context, element, type), { value })
    : drop(context, element, type)
});

/** A row kept as a <spiffworkflow:property name value>. */
const property = name => ({
  get: element => extension(element, PROPERTIES)?.properties?.find(item => item.name === name)?.value || '',
  set(context, element, value) {
    const list = ensure(context, element, PROPERTIES);
    const rest = (list.properties || []).filter(item => item.name !== name);
    const mine = value ? [context.bpmnFactory.create('spiffworkflow:Property', { name, value })] : [];
    mine.forEach(item => { item.$parent = list; });
    if (rest.length + mine.length) context.modeling.updateModdleProperties(element, list, { properties: [...rest, ...mine] });
    else drop(context, element, PROPERTIES);
  }
});

const operatorId = catalogue => ({
  get: element => extension(element, OPERATOR)?.id || '',
  set(context, element, id) {
    drop(context, element, OPERATOR);
    const chosen = catalogue.operators.find(item => item.id === id);
    if (!chosen) return;
    const create = (type, attributes) => context.bpmnFactory.create(type, attributes);
    const parameters = chosen.parameters.filter(item => item.required)
      .map(({ id: name, type }) => create('spiffworkflow:Parameter', { id: name, type, value: name }));
    const parameterList = create('spiffworkflow:Parameters', { parameters });
    const operator = ensure(context, element, OPERATOR, { id, resultVariable: 'result', parameterList });
    parameterList.$parent = operator;
    parameters.forEach(item => { item.$parent = parameterList; });
  }
});

/** One row per parameter that the chosen operator knows; an emptied optional parameter is removed. */
function parameterRows(element, catalogue) {
  const operator = extension(element, OPERATOR);
  const known = catalogue.operators.find(item => item.id === operator.id)?.parameters || [];
  const written = operator.parameterList?.parameters || [];
  const names = [...new Set([...known.map(item => item.id), ...written.map(item => item.id)])];
  return names.map(name => {
    const type = known.find(item => item.id === name)?.type || written.find(item => item.id === name)?.type || 'any';
    return {
      id: `parameter-${name}`, label: `${name} (${type})`, plain: true, kind: 'text', mono: true,
      get: () => (operator.parameterList?.parameters || []).find(item => item.id === name)?.value || '',
      set(context, changed, value) {
        const list = operator.parameterList || context.bpmnFactory.create('spiffworkflow:Parameters', { parameters: [] });
        if (!operator.parameterList) {
          list.$parent = operator;
          context.modeling.updateModdleProperties(changed, operator, { parameterList: list });
        }
        const present = (list.parameters || []).find(item => item.id === name);
        if (present && value) return context.modeling.updateModdleProperties(changed, present, { value });
        const rest = (list.parameters || []).filter(item => item.id !== name);
        const mine = value ? [context.bpmnFactory.create('spiffworkflow:Parameter', { id: name, type, value })] : [];
        mine.forEach(item => { item.$parent = list; });
        return context.modeling.updateModdleProperties(changed, list, { parameters: [...rest, ...mine] });
      }
    };
  });
}

function groups(element, catalogue, t) {
  const choose = options => [{ value: '', label: t('(none)') }, ...options];
  const found = [];
  if (is(element, 'bpmn:UserTask')) {
    found.push(['form', 'Form and people', [
      { id: 'form', label: 'Form', kind: 'select', options: choose(catalogue.forms), ...property('formJsonSchemaFilename') },
      { id: 'variable', label: 'Result variable', kind: 'text', ...body('spiffworkflow:VariableName') },
      { id: 'candidateGroup', label: 'Group', kind: 'select', options: choose(catalogue.groups), ...property('candidateGroup') },
      { id: 'assignee', label: 'Assignee (expression)', kind: 'text', mono: true, ...property('assignee') },
      { id: 'excluded', label: 'Never these people (expression)', kind: 'text', mono: true, ...property('excluded') },
      { id: 'signature', label: 'Signature', kind: 'select', options: choose([{ value: 'required', label: t('required') }]), ...property('signature') },
      { id: 'qualification', label: 'Training record', kind: 'text', ...property('qualification') },
      { id: 'dueIn', label: 'Due after (ISO 8601, e.g. P2D)', kind: 'text', ...property('dueIn') }]]);
  }
  if (['bpmn:UserTask', 'bpmn:ManualTask', 'bpmn:EndEvent'].some(type => is(element, type))) {
    found.push(['instructions', 'Instructions', [
      { id: 'instructions', label: 'Instructions (Markdown)', kind: 'area', ...body('spiffworkflow:InstructionsForEndUser') }]]);
  }
  if (is(element, 'bpmn:ServiceTask')) {
    const rows = [{
      id: 'operator', label: 'Operator', kind: 'select', ...operatorId(catalogue),
      options: choose(catalogue.operators.map(({ id, label }) => ({ value: id, label: `${label} · ${id}` })))
    }];
    if (extension(element, OPERATOR)) {
      rows.push({
        id: 'resultVariable', label: 'Result variable', kind: 'text',
        get: changed => extension(changed, OPERATOR)?.resultVariable || '',
        set: (context, changed, value) => context.modeling.updateModdleProperties(changed, extension(changed, OPERATOR), { resultVariable: value })
      }, ...parameterRows(element, catalogue));
    }
    found.push(['operator', 'Operator', rows]);
  }
  if (is(element, 'bpmn:BusinessRuleTask')) {
    found.push(['decision', 'Decision table', [
      { id: 'decision', label: 'Decision', kind: 'select', options: choose(catalogue.decisions), ...body('spiffworkflow:CalledDecisionId') }]]);
  }
  if (is(element, 'bpmn:ScriptTask')) {
    found.push(['script', 'Script', [{
      id: 'script', label: 'Script', kind: 'area', mono: true, get: changed => changed.businessObject.script || '',
      set: (context, changed, value) => context.modeling.updateProperties(changed, { script: value, scriptFormat: 'text/x-diaoqu' })
    }]]);
  }
  if (is(element, 'bpmn:SequenceFlow') && /Exclusive|Inclusive|Task|SubProcess/.test(element.source?.type)) {
    found.push(['condition', 'Condition', [{
      id: 'condition', label: 'Condition (expression)', kind: 'area', mono: true,
      get: changed => changed.businessObject.conditionExpression?.body || '',
      set: (context, changed, value) => context.modeling.updateProperties(changed, {
        conditionExpression: value ? context.bpmnFactory.create('bpmn:FormalExpression', { body: value }) : undefined
      })
    }]]);
  }
  if (is(element, 'bpmn:Activity')) {
    found.push(['scripts', 'Scripts before and after', [
      { id: 'preScript', label: 'Before', kind: 'area', mono: true, ...body('spiffworkflow:PreScript') },
      { id: 'postScript', label: 'After', kind: 'area', mono: true, ...body('spiffworkflow:PostScript') }]]);
  }
  return found.map(([id, label, rows]) => ({
    id: `diaoqu-${id}`, label: t(label), shouldOpen: id !== 'scripts',
    entries: rows.map(row => ({ ...row, element, component: Field, isEdited: KINDS[row.kind][1] }))
  }));
}

function Field(row) {
  const t = useService('translate');
  const context = { modeling: useService('modeling'), bpmnFactory: useService('bpmnFactory') };
  return h(KINDS[row.kind][0], {
    id: row.id, element: row.element, label: row.plain ? row.label : t(row.label), debounce: useService('debounceInput'), monospace: row.mono, autoResize: true,
    getValue: () => row.get(row.element), setValue: value => row.set(context, row.element, value ?? ''), getOptions: () => row.options
  });
}

export default function properties(catalogue) {
  function Provider(propertiesPanel, translate) {
    this.getGroups = element => present =>
      [...present, ...groups(element, catalogue, translate)].map(group => ({ translate, ...group }));
    propertiesPanel.registerProvider(500, this);
  }
  Provider.$inject = ['propertiesPanel', 'translate'];
  return { __init__: ['diaoquProperties'], diaoquProperties: ['type', Provider] };
}
