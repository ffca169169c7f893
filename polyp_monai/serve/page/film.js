/** The strip of frames: a thumbnail each, what was found in it, and how far the reading has come. */

import { $, counted, el, number } from "./dom.js";
import { summary } from "./findings.js";
import { thresholdOf } from "./regions.js";

export class Film {
  #cells = new Map(); // frame -> its button
  #timer = 0;

  /** `chosen(frame)`: by the user; `changed()`: after the counts. */
  constructor(root, reader, { chosen, changed }) {
    Object.assign(this, { root, reader, chosen, changed });
    this.list = $("ol", root);
  }

  add(frames) {
    this.list.append(...frames.map((frame) => this.#cell(frame)));
    frames.forEach((frame) => this.tell(frame));
  }

  #cell(frame) {
    const button = el(
      "button",
      { type: "button", tabIndex: -1, onclick: () => this.chosen(frame) },
      el("img", { alt: "", width: 84, height: 63 }),
      el("span", { className: "badge" }),
      el("span", { className: "unseen" }),
    );
    this.#cells.set(frame, button);
    return el("li", {}, button);
  }

  #reading(frame) {
    return frame.readings.get(this.reader.bundle());
  }

  positive(frame) {
    return Boolean(this.#reading(frame)?.polyps.length);
  }

  /** A frame's cell says what is known of it; without a frame, all have been read. */
  tell(frame) {
    if (frame) {
      const button = this.#cells.get(frame);
      const [image, badge, name] = button.children;
      const reading = this.#reading(frame);
      if (frame.thumb && image.src !== frame.thumb) image.src = frame.thumb;
      button.className = frame.state;
      button.classList.toggle("positive", this.positive(frame));
      badge.textContent = { failed: "!", read: reading?.polyps.length }[frame.state] ?? "";
      button.title = `${frame.name}${frame.error ? `: ${frame.error}` : ""}`;
      name.textContent = `${frame.name}, ${frame.error ?? (reading ? summary(reading.polyps) : "not read yet")}`;
    }
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#count(), 60);
  }

  #count() {
    const { frames, running, waiting } = this.reader;
    const level = this.reader.level(this.reader.bundle());
    const all = frames.length;
    const read = frames.filter((frame) => frame.state === "read");
    const bad = frames.filter((frame) => frame.state === "failed").length;
    const stale = read.filter((frame) => this.#reading(frame)?.level !== level).length;
    const done = read.length + bad;
    this.root.hidden = $("#reading").hidden = all < 2;
    $("#bar").value = done / Math.max(1, all);
    $("#bar").hidden = $("#cancel").hidden = !running;
    $("#reread").hidden = running || !(stale || waiting);
    $("#reread").textContent = waiting
      ? `Read the other ${number(all - done)}`
      : `Read all at ${thresholdOf(level).toFixed(3)}`;
    const parts = [running ? `${number(done)} of ${number(all)} read` : counted(all, "frame")];
    parts.push(`${number(read.filter((frame) => this.positive(frame)).length)} with a polyp`);
    if (bad) parts.push(`${number(bad)} not readable`);
    if (stale && !running) parts.push(`${number(stale)} at another threshold`);
    $("#count").textContent = parts.join(" · ");
    this.changed();
  }

  /** Moves the mark. Only the marked cell is a stop of the tab key; the arrows go to the others. */
  mark(frame, before) {
    const last = this.#cells.get(before);
    if (last) Object.assign(last, { tabIndex: -1, ariaCurrent: null });
    const button = this.#cells.get(frame);
    Object.assign(button, { tabIndex: 0, ariaCurrent: "true" });
    const place = button.parentElement.offsetLeft + button.offsetWidth / 2;
    this.list.scrollTo({ left: place - this.list.clientWidth / 2, behavior: "instant" });
    if (this.list.contains(document.activeElement)) button.focus({ preventScroll: true });
  }
}
