// Small words for building and changing the page. Text only, never markup.

export const find = (selector, within = document) => within.querySelector(selector);
export const all = (selector, within = document) => [...within.querySelectorAll(selector)];

/** A new element: `make("td", "number up", "1.00")`, then attributes and children. */
export function make(name, className = "", text = null, attributes = {}, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text != null) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Changes the text only when it differs, so that nothing is laid out in vain. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Exactly one of the classes, or none. */
export function pick(element, classes, chosen) {
  for (const name of classes) element.classList.toggle(name, name === chosen);
}

/** Lets a CSS animation start anew. */
export function flash(element, name) {
  element.classList.remove(name);
  void element.offsetWidth;
  element.classList.add(name);
}

/** Many calls, one run with the next picture. */
export function perFrame(draw) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; draw(); });
  };
}

/** A colour of the style sheet as the browser sees it now; for canvases. */
export function colour(name) {
  const probe = make("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

/** A row of buttons of which one is pressed. Calls `chosen(value)`. */
export function choice(container, chosen) {
  const buttons = all("button", container);
  const choose = button => {
    for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
    chosen(button.value);
  };
  for (const button of buttons) button.addEventListener("click", () => choose(button));
  return value => choose(buttons.find(button => button.value === value));
}
