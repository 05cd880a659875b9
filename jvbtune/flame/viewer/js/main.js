// Starts the page: decodes the data, then hands over to the viewer.

import { decodeProfile } from './decode.js';
import { svgOf, pngOf } from './export.js';
import { Viewer } from './viewer.js';

async function start() {
  const began = performance.now();
  const data = /** @type {HTMLElement} */ (document.getElementById('data'));
  const meta = JSON.parse(document.getElementById('meta')?.textContent ?? '');
  const profile = await decodeProfile(meta, (data.textContent ?? '').trim());
  data.remove();
  const decoded = performance.now();
  const viewer = new Viewer(profile);
  // For tests and for the curious in the console; nothing of the page reads it.
  /** @type {any} */ (window).jvbtune = { viewer, drawn: () => viewer.panes.drawn(), svg: () => svgOf(viewer), png: () => pngOf(viewer), timing: { began, decoded, ready: performance.now() } };
  requestAnimationFrame(() => setTimeout(() => {  // the first frame has been painted
    /** @type {any} */ (window).jvbtune.timing.painted = performance.now();
    document.documentElement.dataset.ready = 'true';
  }));
}

start().catch((error) => {
  const main = /** @type {HTMLElement} */ (document.getElementById('main'));
  const text = document.createElement('p');
  text.className = 'failure';
  text.setAttribute('role', 'alert');
  text.textContent = `This flamegraph cannot be shown: ${error.message} A browser of 2023 or later is needed; the file may also be damaged.`;
  main.replaceChildren(text);
  document.documentElement.dataset.ready = 'failed';
  throw error;
});
