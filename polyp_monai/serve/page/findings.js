/** What one bundle found in the frame on the stage: how many polyps, the threshold, and the table. */

import { counted, el, number, path, percent, svg } from "./dom.js";
import { levelOf, reached, thresholdOf } from "./regions.js";

const HEADS = ["No.", "Area", "Share", "Confidence", "Size"];
const HEADS_OF_CLASSES = ["No.", "Area", "Confidence", "Size", "Class"]; // as many as fit

export function table(caption, heads, rows) {
  return el(
    "table",
    {},
    el("caption", { className: "unseen" }, caption),
    el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", {}, ...rows),
  );
}

/** A polyp's class in its color, and how likely it is. */
export function classCell(polyp) {
  const name = el("b", {}, polyp.class);
  name.style.borderBottom = `2px solid ${polyp.color}`;
  return el("td", { className: "told" }, name, " ", el("small", {}, percent(polyp.class_probability)));
}

export class Findings {
  /** `bundle`: as /v1/bundles tells it; `tone`: "a" or "b"; `moved(level)`, `pointed(number | null)`. */
  constructor(bundle, tone, { moved, pointed }) {
    Object.assign(this, { bundle, tone, moved, pointed, level: levelOf(bundle.threshold) });
    const id = `level-${tone}`;
    this.slider = el("input", {
      type: "range",
      id,
      min: 1,
      max: 255,
      value: this.level,
      oninput: () => this.#set(Number(this.slider.value)),
    });
    this.output = el("output", { htmlFor: id });
    this.curve = svg("svg", {
      viewBox: "0 0 254 40",
      preserveAspectRatio: "none",
      "aria-hidden": "true",
      class: "curve",
    });
    this.marks = this.#marks();
    this.headline = el("p", { className: "headline" });
    this.body = el("div", { className: "found" });
    const title = el("h2", {}, el("span", { className: "key" }), bundle.name, el("small", {}, bundle.version));
    this.root = el(
      "section",
      { className: `reading ${tone}`, "aria-label": `Found by ${bundle.name}` },
      title,
      this.headline,
      el(
        "div",
        { className: "threshold" },
        el("label", { htmlFor: id }, "Threshold"),
        this.output,
        el(
          "div",
          { className: "track" },
          this.curve,
          el("div", { className: "ticks", "aria-hidden": "true" }, ...this.marks.map((mark) => mark.tick)),
          this.slider,
        ),
        el("div", { className: "marks" }, ...this.marks.map((mark) => mark.button)),
      ),
      this.body,
    );
    this.#told();
  }

  #marks() {
    const all = [{ name: "bundle's own", threshold: this.bundle.threshold }, ...this.bundle.calibrated];
    return all.map(({ name, threshold }, at) => {
      const level = levelOf(threshold),
        tick = el("i", { className: at ? "calibrated" : "" });
      tick.style.setProperty("--at", (level - 1) / 254);
      const button = el(
        "button",
        { type: "button", onclick: () => this.#set(level) },
        el("span", {}, name),
        el("b", {}, threshold.toFixed(3)),
      );
      return { level, tick, button };
    });
  }

  #set(level) {
    this.level = Math.min(255, Math.max(1, level));
    this.slider.value = this.level;
    this.#told();
    this.moved(this.level);
  }

  step(by) {
    this.#set(this.level + by);
  }

  nextMark() {
    const levels = this.marks.map((mark) => mark.level).sort((a, b) => a - b);
    this.#set(levels.find((level) => level > this.level) ?? levels[0]);
  }

  #told() {
    const threshold = thresholdOf(this.level).toFixed(3);
    this.output.value = threshold;
    this.slider.setAttribute("aria-valuetext", threshold);
    this.root.style.setProperty("--level", (this.level - 1) / 254);
    for (const mark of this.marks) mark.button.setAttribute("aria-pressed", mark.level === this.level);
  }

  /** `words` in place of polyps: while they are being looked for, or why there are none. */
  waiting(words) {
    this.root.classList.add("idle");
    this.headline.replaceChildren(words);
    this.body.replaceChildren();
    this.curve.replaceChildren();
    this.map = null;
  }

  show({ polyps }, map) {
    this.root.classList.remove("idle");
    const share = polyps.reduce((sum, polyp) => sum + polyp.share, 0);
    const count = polyps.length ? String(polyps.length) : "No";
    this.headline.replaceChildren(
      el("b", {}, count),
      ` polyp${polyps.length === 1 ? "" : "s"}`,
      el("small", {}, polyps.length ? `${percent(share)} of the frame` : "at this threshold"),
    );
    this.body.replaceChildren(
      ...(polyps.length
        ? [
            table(
              "Polyps, largest first",
              polyps[0].class ? HEADS_OF_CLASSES : HEADS,
              polyps.map((p) => this.#row(p)),
            ),
          ]
        : []),
    );
    this.body.append(el("p", { className: "small" }, this.bundle.runtime));
    if (map && this.map !== map) this.#plot(map);
  }

  #row(polyp) {
    const meter = el("i", { className: "meter" });
    meter.style.setProperty("--value", polyp.confidence);
    const point = () => this.pointed(polyp.number);
    return el(
      "tr",
      {
        tabIndex: 0,
        onmouseenter: point,
        onfocus: point,
        onmouseleave: () => this.pointed(null),
        onblur: () => this.pointed(null),
      },
      el("th", { scope: "row" }, String(polyp.number)),
      el("td", {}, number(polyp.area), el("small", {}, " px")),
      ...(polyp.class ? [] : [el("td", {}, percent(polyp.share))]),
      el("td", { className: "sure" }, percent(polyp.confidence), meter),
      el("td", {}, polyp.size),
      ...(polyp.class ? [classCell(polyp)] : []),
    );
  }

  /** The share of the frame that each threshold would outline, as a curve that falls; its root, so that little shows. */
  #plot(map) {
    this.map = map;
    const counts = reached(map),
      top = Math.max(counts[1], 1);
    const points = Array.from({ length: 255 }, (_, at) => [
      at,
      Math.round(400 - 380 * Math.sqrt(counts[at + 1] / top)) / 10,
    ]);
    this.curve.replaceChildren(svg("path", { d: `${path([[[0, 40], ...points, [254, 40]]])}` }));
  }
}

export const summary = (polyps) => (polyps.length ? counted(polyps.length, "polyp") : "no polyp");
