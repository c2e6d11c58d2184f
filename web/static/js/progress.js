// Live progress of long jobs. The state is on the server: after a reload, or a cut connection, it simply goes on.
const number = new Intl.NumberFormat(document.documentElement.lang);

function bytes(size) {
  const units = ['B', 'KB', 'MB', 'GB'];
  let index = 0;
  while (size >= 1000 && index < 3) { size /= 1000; index += 1; }
  return `${index && size < 100 ? size.toFixed(1) : Math.round(size)} ${units[index]}`;
}

function duration(seconds) {
  const whole = Math.round(seconds), parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return (parts[0] ? parts : parts.slice(1)).map((part, index) => (index ? String(part).padStart(2, '0') : part)).join(':');
}

for (const root of document.querySelectorAll('[data-progress]')) {
  const texts = root.dataset, lines = new Map([...root.querySelectorAll('[data-job]')].map(line => [line.dataset.job, line]));

  const draw = job => {
    const line = lines.get(job.id);
    if (!line) return false;
    line.className = `progress-line ${job.state}`;
    const bar = line.querySelector('progress');
    if (job.fraction == null) bar.removeAttribute('value'); else bar.value = job.fraction;
    const chip = line.querySelector('.chip');
    if (chip && texts[job.state] && chip.lastChild.textContent !== texts[job.state]) chip.lastChild.textContent = texts[job.state];
    line.querySelector('[data-figures]').replaceChildren(...[
      job.recorder,
      job.bytes && bytes(job.bytes),
      job.media_seconds && texts.footage.replace('{}', duration(job.media_seconds)),
      job.speed && texts.speed.replace('{}', number.format(Math.round(job.speed))),
      job.remaining_seconds && texts.left.replace('{}', duration(job.remaining_seconds)),
      job.note
    ].filter(Boolean).map(text => Object.assign(document.createElement('span'), { textContent: text })));
    return true;
  };

  // Drawing the page anew would undo a click on a link whose page is on its way; a download leaves this page, though.
  let left = -Infinity;
  addEventListener('beforeunload', () => { left = performance.now(); });
  const busy = () => document.querySelector('[data-form]')?.contains(document.activeElement);
  const renew = () => {
    source.close();
    if (performance.now() - left < 5000) setTimeout(renew, 5000);
    else if (!busy()) location.reload();
  };
  const source = new EventSource(texts.events);
  const on = event => {
    const { jobs, seq } = JSON.parse(event.data);
    const known = jobs.every(draw);
    // The case has moved on, or other jobs run now: the server draws the new state of the whole page.
    if (event.type === 'end' || !known || (seq && Number(texts.seq) && seq > Number(texts.seq))) renew();
  };
  source.addEventListener('progress', on);
  source.addEventListener('end', on);
}
