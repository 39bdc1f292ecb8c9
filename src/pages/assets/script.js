/* Filter, copy, live state. Every page can be read and used without it. */
'use strict';
(() => {
  const say = (id, text) => {
    const place = document.getElementById(id);
    if (place && place.textContent !== text) place.textContent = text;
  };

  /* Filters the rows that are on this page. Where there are more, the form asks the broker. */
  for (const form of document.querySelectorAll('form[data-rows]')) {
    const input = form.querySelector('input[type=search]');
    const rows = [...document.querySelectorAll('#' + form.dataset.rows + ' tbody tr')];
    const texts = rows.map((row) => (row.dataset.text || row.textContent).toLowerCase());
    const { count, unit } = form.dataset;
    const filter = () => {
      const wanted = input.value.trim().toLowerCase();
      let shown = 0;
      rows.forEach((row, at) => {
        row.hidden = !texts[at].includes(wanted);
        if (!row.hidden) shown += 1;
      });
      say(count, shown + ' of ' + rows.length + ' ' + unit);
    };
    input.addEventListener('input', filter);
    form.addEventListener('submit', (event) => { event.preventDefault(); filter(); });
    form.hidden = false;
    form.querySelector('button').hidden = true;
    if (input.value) filter();
  }

  /* Copies a text; the words for screen readers are in the page's own place for them. */
  for (const button of document.querySelectorAll('button[data-copy]')) {
    if (!navigator.clipboard) break;
    button.hidden = false;
    button.addEventListener('click', async () => {
      let text = 'Copied';
      try { await navigator.clipboard.writeText(button.dataset.copy); } catch { text = 'Not copied'; }
      const before = button.dataset.label || button.textContent;
      button.dataset.label = before;
      button.textContent = text;
      say('said', text + ' ' + button.dataset.copy);
      setTimeout(() => { button.textContent = before; }, 2000);
    });
  }

  /* Replaces the parts that change by those of a fresh page. This keeps no login alive. */
  for (const part of document.querySelectorAll('[data-live]')) {
    const refresh = async () => {
      if (document.hidden || part.contains(document.activeElement)) return;
      let note = '';
      try {
        const answer = await fetch(part.dataset.live, { headers: { accept: 'text/html' }, cache: 'no-store' });
        const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
        const fresh = page.getElementById(part.id);
        if (fresh) {
          const state = () => part.querySelector('.state')?.textContent;
          const before = state();
          part.replaceChildren(...fresh.childNodes);
          if (state() !== before) note = 'The state has changed: ' + state() + '.';
        } else if (answer.status === 401) {
          note = 'Your login has ended. Reload the page to log in again.';
          clearInterval(timer);
        } else note = 'The state is not current: the broker answered with ' + answer.status + '.';
      } catch { note = 'The state is not current: the broker cannot be reached.'; }
      say('news', note);
    };
    const timer = setInterval(refresh, 20000);
    document.addEventListener('visibilitychange', refresh);
  }
})();
