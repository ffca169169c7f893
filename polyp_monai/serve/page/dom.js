/** Elements, and the words and numbers that several parts of the page write. */

export const $ = (selector, root = document) => root.querySelector(selector);

/** An element: properties by name, `on...` as listeners, `data-`, `aria-` and such as attributes; then children. */
export function el(tag, given = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(given))
    if (name in element && !name.includes("-")) element[name] = value;
    else element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null));
  return element;
}

export function svg(tag, given = {}) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(given)) element.setAttribute(name, value);
  return element;
}

/** The SVG path of polygons [[[x, y], ...], ...]. */
export const path = (polygons) => polygons.map((points) => `M${points.map((p) => p.join(" ")).join("L")}Z`).join("");

const whole = new Intl.NumberFormat("en");
export const number = (value) => whole.format(Math.round(value));
export const counted = (count, word) => `${number(count)} ${word}${count === 1 ? "" : "s"}`;
export const percent = (share) => `${share >= 0.0995 ? (share * 100).toFixed(0) : (share * 100).toFixed(1)} %`;
export const clock = (seconds) => {
  const tenths = Math.floor(Math.max(0, seconds) * 10 + 1e-6);
  return `${Math.floor(tenths / 600)}:${String(Math.floor(tenths / 10) % 60).padStart(2, "0")}.${tenths % 10}`;
};

/** Says it to screen readers, once the user rests. */
export function say(words) {
  clearTimeout(say.timer);
  say.timer = setTimeout(() => ($("#status").textContent = words), 350);
}
