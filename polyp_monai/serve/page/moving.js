/** Pictures that move: a clip, read whole or while it plays, a camera, and the source that the service follows. */

import { $, clock, counted, el, percent, say } from "./dom.js";
import { classCell, table } from "./findings.js";
import { areaOf } from "./regions.js";
import * as save from "./save.js";
import * as service from "./service.js";
import { label, outlined } from "./stage.js";

const SENT = 1280; // pixels of the longer side of a frame that is sent live
const GAP = 0.5; // seconds without a polyp that end its bar on the timeline

export class Moving {
  #stop = null; // of what is going on now
  #frames = []; // of a whole clip, those with a polyp: { frame, seconds, polyps }
  #tracks = new Map();

  /** `bundle()`: name; `kept(file)`: a frame the user wants; `failed(error)`; `closed()`. */
  constructor(root, findings, { bundle, kept, failed, closed }) {
    Object.assign(this, { root, findings, bundle, kept, failed, closed });
    this.video = $("video", root);
    this.mjpeg = $("img", root);
    this.lines = $("svg", root);
    this.screen = $("#screen", root);
    this.seek = el("input", {
      type: "range",
      className: "seek",
      min: 0,
      step: 0.01,
      value: 0,
      ariaLabel: "Position in the clip",
    });
    this.seek.oninput = () => (this.video.currentTime = Number(this.seek.value));
    this.lanes = el("div", { className: "lanes" });
    $("#timeline", root).append(this.seek, this.lanes);
    $("#play", root).onclick = () => this.toggle();
    $("#keep", root).onclick = () => this.#keep();
    $("#leave", root).onclick = () => this.closed();
    for (const choice of root.querySelectorAll("[name=how]")) choice.onchange = () => this.#read();
    this.video.onloadedmetadata = () => this.#fit(this.video.videoWidth, this.video.videoHeight);
    this.video.onplay = this.video.onpause = () => root.classList.toggle("playing", !this.video.paused);
    this.video.onseeked = () => this.#follow();
    this.video.onerror = () => {
      if (this.clip)
        $("#clock", this.root).textContent = "the browser cannot show this clip; its polyps are in the table";
    };
  }

  async open(clip) {
    this.close();
    this.clip = clip;
    this.#mode("clip");
    this.video.loop = true;
    this.video.src = this.url = URL.createObjectURL(clip.file);
    this.video.play().catch(() => {});
    $("[value=whole]", this.root).checked = true;
    this.#read();
  }

  async camera() {
    this.close();
    if (!navigator.mediaDevices)
      throw new service.ServiceError(
        "A browser lends its camera only to HTTPS and to localhost: open this page there.",
      );
    const wish = { video: { width: { ideal: 1280 }, facingMode: "environment" } };
    this.video.srcObject = await navigator.mediaDevices.getUserMedia(wish).catch((error) => {
      throw new service.ServiceError(
        error.name === "NotAllowedError" ? "The browser was not allowed to use a camera." : "No camera was found.",
      );
    });
    this.#mode("camera");
    await this.video.play();
    this.#live();
  }

  /** What `polyp serve --source` follows: its picture as the service draws it, its polyps as events. */
  async source() {
    this.close();
    this.#mode("source");
    const { signal } = (this.#stop = new AbortController());
    const listen = async () => {
      for await (const { event, data } of service.sourceEvents(signal)) {
        if (event === "broken") this.heading("Source", data.error);
        if (event === "frame") this.#list(data.polyps, data);
      }
    };
    const look = async () => {
      for await (const jpeg of service.sourcePictures(signal)) {
        URL.revokeObjectURL(this.mjpeg.src);
        this.mjpeg.src = URL.createObjectURL(jpeg);
      }
    };
    try {
      await Promise.all([listen(), look()]);
    } catch (error) {
      if (!signal.aborted) this.failed(error);
    }
  }

  close() {
    this.#stop?.abort();
    this.video.srcObject?.getTracks().forEach((track) => track.stop());
    this.video.srcObject = null;
    this.video.removeAttribute("src");
    this.video.load();
    URL.revokeObjectURL(this.mjpeg.src);
    this.mjpeg.removeAttribute("src");
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = this.clip = null;
    this.#clear();
  }

  toggle() {
    if (this.video.paused) this.video.play().catch(() => {});
    else this.video.pause();
  }

  #mode(mode) {
    const shown = { clip: ["#play", "#how", "#keep"], camera: ["#keep"], source: [] }[mode];
    for (const id of ["#play", "#how", "#keep"]) $(id, this.root).hidden = !shown.includes(id);
    this.video.hidden = mode === "source";
    this.mjpeg.hidden = mode !== "source";
    $("#timeline", this.root).hidden = mode !== "clip";
    $("#clock", this.root).textContent = "";
    $("#clip", this.root).textContent = { clip: this.clip?.name, camera: "Camera", source: "Source of the service" }[
      mode
    ];
    this.mode = mode;
  }

  #clear() {
    this.#frames = [];
    this.#tracks.clear();
    this.rows = "";
    this.drawn = null;
    this.lanes.replaceChildren();
    this.lines.replaceChildren();
    this.findings.replaceChildren();
  }

  #fit(width, height) {
    this.lines.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.screen.style.setProperty("--ratio", width / height);
    this.seek.max = Number.isFinite(this.video.duration) ? this.video.duration : 0;
  }

  #draw(polyps) {
    this.lines.replaceChildren(...polyps.flatMap((polyp) => outlined(polyp, polyp.id)));
    label(this.lines, this.video.videoWidth / this.screen.clientWidth);
  }

  #read() {
    this.#stop?.abort();
    this.#clear();
    const whole = $("[value=whole]", this.root).checked;
    $("#timeline", this.root).classList.toggle("idle", !whole);
    if (whole) this.#whole();
    else this.#live();
  }

  /** Uploads the clip; polyps come back with their times, and are drawn when the clip is there. */
  async #whole() {
    const { signal } = (this.#stop = new AbortController());
    this.#loop(signal, () => this.#follow());
    let read = 0,
      seconds = 0,
      shown = 0;
    const progress = (done) => {
      shown = performance.now();
      const end = Math.max(Number(this.seek.max), seconds) || 1;
      this.lanes.style.setProperty("--read", done ? 1 : Math.min(1, seconds / end));
      this.#timeline(end);
      this.heading(
        `${counted(this.#tracks.size, "polyp")}`,
        done ? `in ${counted(read, "frame")}` : `read up to ${clock(seconds)}`,
      );
    };
    this.heading("", "Sending the clip");
    try {
      for await (const { event, data } of service.video(this.clip.file, this.bundle(), signal)) {
        if (event === "broken") throw new service.ServiceError(data.error);
        if (event !== "frame") continue;
        if (!this.video.videoWidth) this.#fit(data.width, data.height);
        read += 1;
        seconds = data.seconds;
        this.every = seconds / Math.max(1, data.frame); // seconds of a frame
        if (data.polyps.length) this.#take(data);
        if (performance.now() - shown > 200) progress(false);
      }
      progress(true);
      say(`${counted(this.#tracks.size, "polyp")} in ${counted(read, "frame")}`);
    } catch (error) {
      if (!signal.aborted) this.failed(error);
    }
  }

  #take(found) {
    this.#frames.push(found);
    for (const { id, confidence, ...polyp } of found.polyps) {
      const track = this.#tracks.get(id) ?? { id, first: found.seconds, frames: 0, confidence: 0, spans: [] };
      const span = track.spans.at(-1);
      if (span && found.seconds - span[1] <= GAP) span[1] = found.seconds;
      else track.spans.push([found.seconds, found.seconds]);
      track.last = found.seconds;
      track.frames += 1;
      track.confidence = Math.max(track.confidence, confidence);
      track.told = polyp; // what its frames say by now
      this.#tracks.set(id, track);
    }
  }

  #timeline(end) {
    const lanes = [...this.#tracks.values()].map((track) => {
      const bars = track.spans.map(([from, to]) => {
        const name = `Polyp ${track.id}, ${clock(from)} to ${clock(to)}`;
        const bar = el("button", { type: "button", title: name, ariaLabel: name, onclick: () => this.#go(from) });
        bar.style.setProperty("--from", from / end);
        bar.style.setProperty("--long", (to - from) / end);
        return bar;
      });
      return el("div", { className: "lane" }, el("b", {}, String(track.id)), el("div", {}, ...bars));
    });
    this.lanes.replaceChildren(...lanes);
    const rows = [...this.#tracks.values()].map((track) =>
      el(
        "tr",
        {},
        el("th", { scope: "row" }, String(track.id)),
        el(
          "td",
          {},
          el("button", { type: "button", className: "link", onclick: () => this.#go(track.first) }, clock(track.first)),
        ),
        el("td", {}, clock(track.last)),
        el("td", {}, percent(track.confidence)),
        ...(track.told.class ? [classCell(track.told)] : []),
      ),
    );
    const heads = ["No.", "First", "Last", "Highest"];
    if (this.#tracks.values().next().value?.told.class) heads.push("Class");
    this.rows = rows.length ? table("Polyps of the clip", heads, rows) : "";
  }

  #go(seconds) {
    this.video.currentTime = seconds;
    this.video.pause();
  }

  /** The polyps of the frame that is shown now. */
  #follow() {
    if (this.mode !== "clip" || !$("[value=whole]", this.root).checked) return;
    const now = this.video.currentTime,
      frames = this.#frames;
    this.seek.value = now;
    $("#clock", this.root).textContent = `${clock(now)} / ${clock(Number(this.seek.max))}`;
    let low = 0,
      high = frames.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (frames[middle].seconds <= now + 0.005) low = middle + 1;
      else high = middle;
    }
    const found = frames[low - 1],
      fresh = found && now - found.seconds < Math.max(0.1, 1.5 * this.every) ? found : null;
    if (fresh !== this.drawn) this.#draw(fresh?.polyps ?? []);
    this.drawn = fresh;
  }

  #loop(signal, step) {
    const next = () => {
      if (signal.aborted) return;
      step();
      requestAnimationFrame(next);
    };
    requestAnimationFrame(next);
  }

  /** One frame is under way at a time, the newest; so no queue grows, however slow the service is. */
  async #live() {
    const { signal } = (this.#stop = new AbortController());
    let socket = null; // the service closes one that is silent, as while the clip is paused
    signal.addEventListener("abort", () => socket?.close());
    let rate = 0;
    try {
      while (!signal.aborted) {
        await new Promise((resolve) => requestAnimationFrame(resolve));
        if (!this.video.videoWidth || (this.video.paused && this.drawn === this.video.currentTime)) continue;
        const began = performance.now(),
          at = this.video.currentTime;
        const { jpeg, scale } = await this.#jpeg();
        if (signal.aborted) return;
        socket ??= service.live(this.bundle(), () => (socket = null));
        const answer = await socket.send(jpeg),
          { polyps } = answer;
        if (signal.aborted) return;
        this.drawn = at;
        this.#draw(polyps.map((polyp) => ({ ...polyp, ...scaled(polyp, scale) })));
        const took = performance.now() - began;
        rate = rate ? 0.9 * rate + 100 / took : 1000 / took;
        $("#clock", this.root).textContent = `${rate.toFixed(0)} frames/s · ${Math.round(took)} ms`;
        this.#list(polyps, answer);
      }
    } catch (error) {
      if (!signal.aborted) this.failed(error);
      socket?.close();
    }
  }

  async #jpeg(most = SENT, quality = 0.85) {
    const { videoWidth, videoHeight } = this.video;
    const scale = Math.min(1, most / Math.max(videoWidth, videoHeight));
    const canvas = new OffscreenCanvas(Math.round(videoWidth * scale), Math.round(videoHeight * scale));
    canvas.getContext("2d").drawImage(this.video, 0, 0, canvas.width, canvas.height);
    return { jpeg: await canvas.convertToBlob({ type: "image/jpeg", quality }), scale };
  }

  #list(polyps, { width, height }) {
    const rows = polyps.map((polyp) =>
      el(
        "tr",
        {},
        el("th", { scope: "row" }, String(polyp.id)),
        el("td", {}, percent(areaOf(polyp.polygons) / (width * height))),
        el("td", {}, percent(polyp.confidence)),
        ...(polyp.class ? [classCell(polyp)] : []),
      ),
    );
    const heads = ["No.", "Share", "Confidence", ...(polyps[0]?.class ? ["Class"] : [])];
    this.rows = rows.length ? table("Polyps now", heads, rows) : "";
    this.heading(counted(polyps.length, "polyp"), "now");
    if (this.said !== polyps.length) say(`${counted(polyps.length, "polyp")} now`);
    this.said = polyps.length;
  }

  heading(big, small) {
    const [count, ...word] = big.split(" ");
    const headline = el(
      "p",
      { className: "headline" },
      el("b", {}, count),
      ` ${word.join(" ")}`,
      el("small", {}, small),
    );
    const title = el("h2", {}, el("span", { className: "key" }), this.bundle());
    this.findings.replaceChildren(
      el("section", { className: "reading a" }, title, headline, el("div", { className: "found" }, this.rows)),
    );
  }

  async #keep() {
    if (!this.video.videoWidth) return;
    const { jpeg } = await this.#jpeg(Infinity, 0.95);
    const moment = this.clip
      ? `${save.stem(this.clip.name)}-${this.video.currentTime.toFixed(2)}s`
      : `camera-${new Date().toISOString().slice(11, 19).replaceAll(":", "")}`;
    this.kept(new File([jpeg], `${moment}.jpg`, { type: "image/jpeg" }));
    say("Frame kept");
  }

  /** Saves the clip's findings; `what`: overlay, json or csv. */
  async save(what) {
    const name = this.clip?.name ?? "camera",
      bundle = this.bundle();
    if (what === "json") save.download(save.clipJson(name, bundle, this.#frames), `${save.stem(name)}.json`);
    if (what === "csv") save.download(save.clipCsv(name, bundle, [...this.#tracks.values()]), `${save.stem(name)}.csv`);
    if (what === "overlay") {
      const { videoWidth, videoHeight } = this.video;
      const polyps = [...this.lines.querySelectorAll(".line")].map((line) => ({ d: line.getAttribute("d") }));
      save.download(
        await save.overlay(this.video, [{ polyps, color: "#ffdd00" }], videoWidth, videoHeight),
        `${save.stem(name)}-overlay.png`,
      );
    }
  }
}

const scaled = ({ box, polygons }, scale) => ({
  box: box.map((value) => value / scale),
  polygons: polygons.map((points) => points.map((point) => point.map((value) => value / scale))),
});
