/** The panes: a frame, and over it what a bundle found, as outline, heat map or mask. */

import { el, path, svg } from "./dom.js";

const MOST = 2560; // pixels of a canvas' longer side; the outline is drawn over it at any size
const ANCHORS = ["#440154", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725"]; // viridis: even to every eye

/** Color of each level, with little probability clear and much opaque. */
const HEAT = Uint32Array.from({ length: 256 }, (_, level) => {
  const place = (level / 255) * (ANCHORS.length - 1),
    left = Math.min(Math.floor(place), ANCHORS.length - 2);
  const channel = (color, at) => parseInt(color.slice(1 + 2 * at, 3 + 2 * at), 16);
  const [r, g, b] = [0, 1, 2].map((at) => {
    const from = channel(ANCHORS[left], at);
    return Math.round(from + (channel(ANCHORS[left + 1], at) - from) * (place - left));
  });
  const alpha = Math.round(235 * Math.min(1, level / 90));
  return ((alpha << 24) | (b << 16) | (g << 8) | r) >>> 0; // little-endian RGBA
});

export function painted({ map, width, height }, color) {
  const pixels = new ImageData(width, height),
    words = new Uint32Array(pixels.data.buffer);
  for (let i = 0; i < words.length; i++) words[i] = color(map[i]);
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

export const asHeat = (level) => HEAT[level];

class Pane {
  constructor() {
    this.base = el("canvas", { className: "base", role: "img" });
    this.over = el("canvas", { className: "over" });
    this.lines = svg("svg", { "aria-hidden": "true" });
    this.over.setAttribute("aria-hidden", "true");
    this.picture = el("div", { className: "picture" }, this.base, this.over, this.lines);
    this.caption = el("figcaption");
    this.root = el("figure", { className: "pane" }, this.caption, el("div", { className: "box" }, this.picture));
    new ResizeObserver(() => this.#label()).observe(this.picture);
  }

  /** `kind`: original, contour, heat or mask; `found`: { map, level, polyps } or null. */
  show(image, { title, tone, kind, found, description }) {
    const scale = Math.min(1, MOST / Math.max(image.width, image.height));
    const size = [image.width, image.height].map((side) => Math.round(side * scale));
    this.root.className = `pane ${kind} ${tone}`;
    this.root.style.setProperty("--ratio", image.width / image.height);
    this.base.setAttribute("aria-label", description);
    if (this.image !== image) draw(this.base, size, image);
    this.image = image;
    const key = kind === "heat" ? found?.map : null;
    if (kind === "heat" && this.painted !== key) draw(this.over, size, painted(key, asHeat));
    if (kind === "mask")
      draw(
        this.over,
        size,
        painted(found.map, (level) => (level >= found.level ? ~0 : 0xff000000) >>> 0),
      );
    if (kind === "mask" || kind === "heat") this.painted = key;
    this.lines.setAttribute("viewBox", `0 0 ${image.width} ${image.height}`);
    this.width = image.width;
    this.polyps = kind === "original" || kind === "mask" ? [] : found.polyps;
    this.lines.replaceChildren(...this.polyps.flatMap((polyp) => outlined(polyp)));
    const scaleBar = kind === "heat" ? [el("span", { className: "scale" }, "0", el("i"), "1")] : [];
    this.caption.replaceChildren(el("span", { className: "key" }), el("b", {}, title), ...scaleBar);
    this.#label();
  }

  light(number) {
    for (const line of this.lines.children) line.classList.toggle("lit", line.dataset.number === String(number));
  }

  #label() {
    if (this.width) label(this.lines, this.width / this.picture.clientWidth);
  }
}

/** Numbers above the outlines, of one size on the screen: `unit` pixels of the frame are one of the screen. */
export function label(lines, unit) {
  if (!Number.isFinite(unit)) return; // nothing is shown now
  for (const tag of lines.querySelectorAll("text")) {
    tag.setAttribute("font-size", 13 * unit);
    tag.setAttribute("stroke-width", 3 * unit);
    tag.setAttribute("y", Math.max(Number(tag.dataset.y) - 6 * unit, 14 * unit));
  }
}

export function outlined(polyp, name = polyp.number) {
  const line = svg("path", { d: path(polyp.polygons), "data-number": name, class: "line" });
  const shade = svg("path", { d: path(polyp.polygons), "data-number": name, class: "shade" });
  const [x, y] = polyp.polygons.flat().reduce((top, point) => (point[1] < top[1] ? point : top)); // its highest point
  const tag = svg("text", { x, y, "data-y": y, "data-number": name });
  tag.textContent = name;
  if (polyp.color) {
    line.style.stroke = polyp.color;
    tag.style.fill = polyp.color;
  }
  return [shade, line, tag];
}

function draw(canvas, [width, height], image) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, width, height);
}

export class Stage {
  #panes = [];

  constructor(root) {
    this.root = root;
  }

  /** Draws `image` (ImageBitmap) in as many panes as `views` has. */
  show(image, views) {
    while (this.#panes.length < views.length) this.#panes.push(new Pane());
    views.forEach((view, at) => this.#panes[at].show(image, view));
    const shown = this.#panes.slice(0, views.length).map((pane) => pane.root);
    if (shown.length !== this.root.children.length || shown.some((root, at) => root !== this.root.children[at]))
      this.root.replaceChildren(...shown);
    this.root.dataset.count = views.length;
  }

  /** One line in place of the frame. */
  explain(words) {
    this.root.replaceChildren(el("p", { className: "explain" }, words));
    this.root.dataset.count = 1;
  }

  light(number, tone) {
    for (const pane of this.#panes) pane.light(pane.root.classList.contains(tone) ? number : null);
  }
}
