/** The frames that were added, and what bundles found in them.
 *
 * Of a thousand frames the list holds names, files on disk, polyps and thumbnails; pictures and probability maps are
 * kept of the few looked at last, and asked for again.
 */

import { findPolyps, thresholdOf } from "./regions.js";
import * as service from "./service.js";
import { path } from "./dom.js";

const AT_ONCE = 3; // requests beside each other
const HELD = 6; // frames whose pictures and maps are kept
const THUMB = { width: 168, height: 126 };

/** Keeps what was used last, and closes what it drops. */
class Few {
  #held = new Map();

  constructor(most) {
    this.most = most;
  }

  get(key) {
    const value = this.#held.get(key);
    if (value !== undefined) {
      this.#held.delete(key);
      this.#held.set(key, value);
    }
    return value;
  }

  set(key, value) {
    this.#held.set(key, value);
    for (const [oldest, dropped] of this.#held) {
      if (this.#held.size <= this.most) break;
      this.#held.delete(oldest);
      dropped.then(
        (gone) => gone.close?.(),
        () => {},
      );
    }
    value.catch(() => this.#held.get(key) === value && this.#held.delete(key));
    return value;
  }
}

/** One frame. `readings`: bundle -> { level, width, height, version, polyps }. */
class Frame {
  state = "waiting"; // reading, read, failed
  error = null;
  thumb = null;
  readings = new Map();

  constructor(id, name, file) {
    Object.assign(this, { id, name, file });
  }
}

export class Reader {
  frames = [];
  done = 0;
  #pictures = new Few(HELD);
  #maps = new Few(2 * HELD);
  #running = null;
  #ended = Promise.resolve();
  #ids = 0;

  /** `bundle()`: name of the one that reads all; `level(name)`: of its threshold; `changed(frame)`: after each step,
   * and without a frame at the end; `failed(error)`: the service is gone. */
  constructor({ bundle, level, changed, failed }) {
    Object.assign(this, { bundle, level, changed, failed });
  }

  get waiting() {
    return this.frames.some((frame) => frame.state === "waiting");
  }

  get running() {
    return this.#running !== null;
  }

  add(files) {
    const added = files.map(({ file, name }) => new Frame(this.#ids++, name, file));
    this.frames.push(...added);
    return added;
  }

  /** Reads all frames that wait, the one on the stage first. */
  start(first = null) {
    if (!this.#running) this.#ended = this.#work(first);
  }

  async #work(first) {
    const { signal } = (this.#running = new AbortController());
    let next = 0;
    const take = () => {
      if (first?.state === "waiting") return first;
      while (next < this.frames.length && this.frames[next].state !== "waiting") next++;
      return this.frames[next];
    };
    const work = async () => {
      for (let frame = take(); frame && !signal.aborted; frame = take()) await this.#read(frame, signal);
    };
    const ends = Array.from({ length: AT_ONCE }, () =>
      work().catch((error) => {
        if (!signal.aborted) this.failed(error);
        this.#running.abort();
      }),
    );
    await Promise.all(ends);
    this.#running = null;
    this.changed(null);
    if (!signal.aborted && this.waiting) this.start(); // some came in the meantime
  }

  /** Resolves when nothing is under way any more. */
  cancel() {
    this.#running?.abort();
    return this.#ended;
  }

  /** All frames wait again: for another bundle, or another threshold. */
  again() {
    for (const frame of this.frames) {
      frame.state = "waiting";
      this.changed(frame);
    }
  }

  async #read(frame, signal) {
    const bundle = this.bundle(),
      level = this.level(bundle);
    frame.state = "reading";
    this.changed(frame);
    try {
      const found = await service.predict(frame.file, { bundle, threshold: thresholdOf(level), signal });
      this.#keep(frame, bundle, level, found);
      await this.#draw(frame, signal);
    } catch (error) {
      if (error.name === "AbortError" || error.gone) {
        frame.state = "waiting";
        this.changed(frame);
        throw error;
      }
      this.#fail(frame, error);
    }
    this.changed(frame);
  }

  #keep(frame, bundle, level, { polyps, width, height, version }) {
    frame.readings.set(bundle, { level, polyps, width, height, version });
    if (bundle === this.bundle()) frame.state = "read";
    frame.error = null;
  }

  #fail(frame, error) {
    frame.state = "failed";
    frame.error = error.message;
  }

  /** The picture of a frame, upright, as an ImageBitmap. */
  picture(frame) {
    return this.#pictures.get(frame.id) ?? this.#pictures.set(frame.id, decode(frame.file));
  }

  /** The map of a frame by a bundle: { map, width, height }. */
  map(frame, bundle) {
    const key = `${frame.id} ${bundle}`;
    return this.#maps.get(key) ?? this.#maps.set(key, this.#ask(frame, bundle));
  }

  async #ask(frame, bundle) {
    const level = this.level(bundle),
      first = frame.state === "waiting" && bundle === this.bundle();
    if (first) frame.state = "reading"; // and the queue leaves it alone
    try {
      const options = { bundle, threshold: thresholdOf(level), probability: true };
      const found = await service.predict(frame.file, options);
      if (!found.map) throw new service.ServiceError("The service sent no probability map.");
      this.#keep(frame, bundle, level, found);
      if (!frame.thumb) await this.#draw(frame);
      this.changed(frame);
      return found.map;
    } catch (error) {
      if (first) frame.state = "waiting";
      if (!error.gone) this.#fail(frame, error);
      this.changed(frame);
      throw error;
    }
  }

  /** The polyps of a frame at the level that the slider has now. */
  at(frame, bundle, map) {
    const level = this.level(bundle),
      reading = frame.readings.get(bundle);
    if (reading.level !== level || !reading.ours) {
      const polyps = findPolyps(map, level);
      frame.readings.set(bundle, { ...reading, level, polyps, ours: true });
    }
    return frame.readings.get(bundle);
  }

  async #draw(frame, signal) {
    const reading = frame.readings.get(this.bundle());
    const picture = await decode(frame.file, signal);
    const scale = Math.min(THUMB.width / picture.width, THUMB.height / picture.height);
    const size = [picture.width, picture.height].map((side) => Math.max(1, Math.round(side * scale)));
    const canvas = new OffscreenCanvas(...size),
      context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(picture, 0, 0, ...size);
    picture.close();
    context.scale(scale, scale);
    context.lineWidth = 1.6 / scale;
    for (const polyp of reading?.polyps ?? []) {
      context.strokeStyle = polyp.color ?? "#ffdd00";
      context.stroke(new Path2D(path(polyp.polygons)));
    }
    if (frame.thumb) URL.revokeObjectURL(frame.thumb);
    frame.thumb = URL.createObjectURL(await canvas.convertToBlob({ type: "image/jpeg", quality: 0.8 }));
  }
}

async function decode(file, signal) {
  try {
    return await createImageBitmap(file);
  } catch {
    // TIFF, HEIC, NIfTI, DICOM: the service shows it
    return createImageBitmap(await service.upright(file, signal));
  }
}
