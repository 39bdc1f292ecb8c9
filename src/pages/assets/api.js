/* Opens the operation that an address names, and sends what a person has filled in. */
'use strict';
(() => {
  const token = document.getElementById('token');
  for (const part of document.querySelectorAll('[data-with-script]')) part.hidden = false;
  for (const part of document.querySelectorAll('[data-without-script]')) part.hidden = true;

  const open = () => {
    const target = document.getElementById(location.hash.slice(1));
    const details = target && target.closest('details');
    if (!details) return;
    details.open = true;
    target.focus({ preventScroll: true });
    target.scrollIntoView();
  };
  addEventListener('hashchange', open);
  open();

  /* The request that a form describes. A comma separates the values of a parameter, so it stays. */
  const requestOf = (form) => {
    const encode = (text) => encodeURIComponent(text).replaceAll('%2C', ',');
    const headers = new Headers({ accept: 'application/json, */*;q=0.5' });
    const query = [];
    let target = form.dataset.path;
    for (const { name, value, dataset } of form.querySelectorAll('[data-place]')) {
      if (dataset.place === 'path') target = target.replace('{' + name + '}', encode(value));
      else if (value === '') continue;
      else if (dataset.place === 'query') query.push(encode(name) + '=' + encode(value));
      else headers.set(name, value);
    }
    if (query.length) target += '?' + query.join('&');
    if (token.value.trim()) headers.set('authorization', 'Bearer ' + token.value.trim());
    const body = form.querySelector('[data-body]');
    if (body) headers.set('content-type', body.dataset.body);
    const { method } = form.dataset;
    return [target, { method, headers, body: body && body.value, redirect: 'manual', cache: 'no-store' }];
  };

  const readable = (text) => {
    try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; }
  };

  for (const form of document.querySelectorAll('form[data-method]')) {
    const status = form.querySelector('[role=status]');
    const place = form.querySelector('.answer');
    const [body, headers] = place.querySelectorAll('pre');
    let running = false;
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      if (running) return;
      running = true;
      place.hidden = true;
      status.textContent = 'Sent, no answer yet';
      const begun = performance.now();
      try {
        const answer = await fetch(...requestOf(form));
        body.textContent = readable(await answer.text()).slice(0, 200000) || '(no body)';
        headers.textContent = [...answer.headers].map((header) => header.join(': ')).join('\n');
        place.hidden = false;
        const told = answer.type === 'opaqueredirect' ? 'The broker leads on to another page' : 'Status ' + answer.status;
        status.textContent = told + ', ' + Math.round(performance.now() - begun) + ' ms';
      } catch (error) {
        status.textContent = 'Not answered: ' + error.message;
      }
      running = false;
    });
  }
})();
