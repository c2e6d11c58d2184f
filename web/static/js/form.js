// A form that asks only what the answers so far call for, and keeps what is typed. Works without this file too.
const form = document.querySelector('[data-form]');

/** The values as the server sees them: one text, a list for several boxes, true or nothing for a single box. */
function values() {
  const found = {};
  for (const field of form.querySelectorAll('[data-key]')) {
    const key = field.dataset.key, inputs = [...field.querySelectorAll(`[name="${CSS.escape(key)}"]`)];
    if (!inputs.length) continue;
    const boxes = inputs.filter(input => input.type === 'checkbox');
    if (boxes.length && field.querySelector('fieldset')) found[key] = boxes.filter(box => box.checked).map(box => box.value);
    else if (boxes.length) found[key] = boxes[0].checked ? 'true' : 'false';
    else if (inputs[0].type === 'radio') found[key] = inputs.find(input => input.checked)?.value ?? '';
    else found[key] = inputs[0].value;
  }
  return found;
}

const holds = (condition, data) =>
  condition.some(group => group.every(([key, equal, literal]) => (!Array.isArray(data[key]) && (data[key] ?? '') === literal) === equal));

/** Hide and show; a hidden field counts as empty for the others, so repeat until nothing changes. */
function arrange() {
  const parts = [...form.querySelectorAll('[data-hide]')];
  for (let round = 0; round <= parts.length; round += 1) {
    const data = values();
    for (const hidden of form.querySelectorAll('[data-component][hidden]')) {
      for (const field of [hidden, ...hidden.querySelectorAll('[data-key]')]) delete data[field.dataset.key];
    }
    let changed = false;
    for (const part of parts) {
      const hide = holds(JSON.parse(part.dataset.hide), data);
      if (part.hidden !== hide) { part.hidden = hide; changed = true; }
    }
    if (!changed) break;
  }
}

// ---- drafts ----
const state = form?.querySelector('[data-draft-state]');
let timer = null, sending = false, dirty = false;

async function save() {
  if (sending) { timer = setTimeout(save, 1000); return; }
  sending = true;
  dirty = false;
  state.textContent = state.dataset.saving;
  const body = new URLSearchParams(new FormData(form));
  body.set('_intent', 'draft');
  try {
    const response = await fetch(form.action, { method: 'POST', body, headers: { Accept: 'application/json' }, redirect: 'error' });
    if (!response.ok) throw new Error(response.status);
    state.textContent = state.dataset.saved.replace('{}', (await response.json()).saved_at.slice(11));
  } catch {
    state.textContent = state.dataset.failed;
    dirty = true;
    timer = setTimeout(save, 10000);
  } finally {
    sending = false;
  }
}

// ---- cameras ----
function prepare(picker) {
  const filter = picker.querySelector('[data-filter]'), chosen = picker.querySelector('[data-chosen]');
  const cameras = [...picker.querySelectorAll('.camera')];
  if (cameras.length > 6) picker.querySelector('.search').hidden = false;
  filter.addEventListener('input', () => {
    const wanted = filter.value.trim().toLowerCase();
    for (const camera of cameras) {
      const words = `${camera.dataset.name} ${camera.closest('[data-place]').dataset.place}`.toLowerCase();
      camera.hidden = wanted !== '' && !words.includes(wanted);
    }
    for (const place of picker.querySelectorAll('[data-place]')) place.hidden = !place.querySelector('.camera:not([hidden])');
  });
  filter.addEventListener('keydown', event => { if (event.key === 'Enter') event.preventDefault(); });
  const count = () => {
    const some = cameras.filter(camera => camera.querySelector('input').checked).map(camera => camera.dataset.name);
    chosen.textContent = some.length ? `${chosen.dataset.some.replace('{}', some.length)}: ${some.join(' · ')}` : chosen.dataset.none;
  };
  chosen.hidden = false;
  picker.addEventListener('change', count);
  count();
}

// ---- when the recorder overwrites ----
const DAY = 86400000;
function countdown() {
  const box = document.querySelector('[data-overwriting]'), start = form.querySelector('[name="start_at"]');
  if (!box || !start) return;
  const days = [...form.querySelectorAll('[data-retention]:checked')].map(camera => Number(camera.dataset.retention)).filter(Boolean);
  const from = start.value ? Date.parse(`${start.value}+08:00`) : NaN;
  box.hidden = !days.length || Number.isNaN(from);
  if (box.hidden) return;
  const until = from + Math.min(...days) * DAY, left = until - Date.now();
  const date = new Date(until + 8 * 3600000).toISOString().slice(0, 10);
  const text = box.querySelector('[data-overwriting-text]');
  text.textContent = left < 0 ? box.dataset.gone : box.dataset.text.replace('{}', date) + (left < 5 * DAY ? ` ${box.dataset.soon}` : '');
  text.classList.toggle('soon', left < 5 * DAY);
}

if (form) {
  arrange();
  form.querySelectorAll('[data-picker]').forEach(prepare);
  countdown();
  form.addEventListener('input', () => { arrange(); countdown(); });
  // The end of a span is mostly close to its beginning: offer the same hour.
  for (const end of form.querySelectorAll('[data-after]')) {
    const start = form.querySelector(`[name="${CSS.escape(end.dataset.after)}"]`);
    start?.addEventListener('change', () => { if (start.value && !end.value) { end.value = start.value; form.dispatchEvent(new Event('input')); } });
  }
  if ('drafts' in form.dataset) {
    form.addEventListener('input', () => { dirty = true; clearTimeout(timer); timer = setTimeout(save, 1200); });
    form.addEventListener('submit', () => { clearTimeout(timer); dirty = false; });
    window.addEventListener('pagehide', () => {
      if (!dirty) return;
      const body = new URLSearchParams(new FormData(form));
      body.set('_intent', 'draft');
      navigator.sendBeacon(form.action, body);
    });
  }
}
