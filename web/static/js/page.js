// What every page has: copy buttons, print buttons, a menu that closes, focus on what went wrong.
for (const button of document.querySelectorAll('[data-copy]')) {
  button.addEventListener('click', async () => {
    await navigator.clipboard.writeText(button.dataset.copy);
    const before = button.getAttribute('aria-label');
    button.setAttribute('aria-label', button.dataset.done);
    button.title = button.dataset.done;
    setTimeout(() => { button.setAttribute('aria-label', before); button.removeAttribute('title'); }, 2000);
  });
}

for (const button of document.querySelectorAll('[data-print]')) {
  button.hidden = false;
  button.addEventListener('click', () => window.print());
}

for (const menu of document.querySelectorAll('[data-menu]')) {
  document.addEventListener('click', event => { if (!menu.contains(event.target)) menu.open = false; });
  menu.addEventListener('keydown', event => {
    if (event.key === 'Escape' && menu.open) { menu.open = false; menu.querySelector('summary').focus(); }
  });
}

document.querySelector('[data-focus]')?.focus();

// Tabs that do not all fit on a phone show the one that is open.
for (const tab of document.querySelectorAll('.tabs [aria-current]')) {
  const row = tab.parentElement;
  row.scrollLeft = tab.offsetLeft - row.offsetLeft - (row.clientWidth - tab.offsetWidth) / 2;
}

// A second click on a submit button while the first is under way does nothing; the server would refuse it anyway.
for (const form of document.querySelectorAll('form[method="post"]')) {
  let sent = false;
  form.addEventListener('submit', event => {
    if (event.defaultPrevented) return;
    if (sent) event.preventDefault();
    sent = true;
  });
  window.addEventListener('pageshow', () => { sent = false; });
}
