/** The HTTP face of the service: one function a route, errors as one line, and what a busy service asks to wait. */

const KEY = "polyp-token";
const PATIENCE = 20; // times that a busy service is asked again

/** What went wrong, in one line. `gone`: the service did not answer at all. */
export class ServiceError extends Error {
  constructor(message, gone = false) {
    super(message);
    this.gone = gone;
  }
}

/** Set by the page: `token(wrong)` asks the user and resolves to a token; `waiting(seconds)` is told, 0 at its end. */
export const ask = { token: async () => null, waiting: () => {} };

const address = (path) => new URL(path.replace(/^\//, ""), document.baseURI);
export const token = () => sessionStorage.getItem(KEY);

export function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });
}

async function request(path, { signal, headers = {}, ...options } = {}) {
  for (let tries = 0; ; tries++) {
    const held = token();
    const all = held ? { ...headers, Authorization: `Bearer ${held}` } : headers;
    let response;
    try {
      response = await fetch(address(path), { ...options, headers: all, signal });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new ServiceError("The service does not answer. Is polyp serve still running?", true);
    }
    if (response.ok) return response;
    if (response.status === 401) {
      if (token() === held) await signIn(Boolean(held));
    } else if ([429, 503].includes(response.status) && response.headers.has("Retry-After") && tries < PATIENCE) {
      const seconds = Math.min(60, Number(response.headers.get("Retry-After")) || 1);
      ask.waiting(seconds);
      await pause(seconds * (1 + Math.random() / 4), signal); // not all clients at the same moment
      ask.waiting(0);
    } else throw new ServiceError(await reason(response));
  }
}

let asked = null; // one question, however many requests were turned away

function signIn(wrong) {
  asked ??= ask
    .token(wrong)
    .then((given) => {
      if (!given) throw new ServiceError("This service asks for a token.");
      sessionStorage.setItem(KEY, given);
    })
    .finally(() => (asked = null));
  return asked;
}

async function reason(response) {
  try {
    const { error } = await response.json();
    if (error) return String(error);
  } catch {
    /* not JSON: the status tells it */
  }
  return `The service answered ${response.status} ${response.statusText}`.trim();
}

const megabytes = (bytes) => `${(bytes / 2 ** 20).toFixed(0)} MB`;

/** Said before megabytes are sent in vain. */
function check(file, most) {
  if (file.size > most)
    throw new ServiceError(`${megabytes(file.size)} is more than the ${megabytes(most)} that this service takes.`);
  if (!file.size) throw new ServiceError("The file is empty.");
}

const query = (path, values) => `${path}?${new URLSearchParams(values)}`;

/** What the service takes at most, in bytes. */
const most = { bytes: Infinity, clip_bytes: Infinity };

export async function bundles() {
  const answer = await (await request("v1/bundles")).json();
  Object.assign(most, answer.limits);
  return answer;
}

export const samples = async () => (await (await request("v1/samples")).json()).samples;
export const picture = async (url) => (await request(url)).blob();

/** Polyps of one frame; with `probability` its map too, as { map, width, height, classes }. */
export async function predict(file, { bundle, threshold, probability = false, signal }) {
  check(file, most.bytes);
  const path = query("v1/predict", { bundle, threshold, probability });
  const answer = await (await request(path, { ...post(file), signal })).json();
  const { probability: png, classes, ...result } = answer.results[0];
  if (result.error) throw new ServiceError(result.error);
  return { ...result, bundle: answer.bundle, version: answer.version, map: png ? await mapped(png, classes) : null };
}

/** The map, and of a bundle that tells classes apart those of its classes. */
async function mapped(png, classes) {
  const map = await decoded(png);
  if (!classes) return map;
  const of = classes.of.map(async ({ probability, ...about }) => ({ ...about, map: (await decoded(probability)).map }));
  return { ...map, classes: { ...classes, of: await Promise.all(of) } };
}

/** The frame itself, upright, of a file that the browser cannot show. */
export async function upright(file, signal) {
  const { headers, ...rest } = post(file);
  const path = query("v1/predict", { view: "image" });
  return (await request(path, { ...rest, headers: { ...headers, Accept: "image/png" }, signal })).blob();
}

const post = (file) => ({
  method: "POST",
  body: file,
  headers: { "Content-Type": file.type || "application/octet-stream", Accept: "application/json" },
});

async function decoded(dataUrl) {
  const bytes = Uint8Array.from(atob(dataUrl.slice(dataUrl.indexOf(",") + 1)), (char) => char.charCodeAt(0));
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const image = await createImageBitmap(new Blob([bytes], { type: "image/png" }), options);
  const { width, height } = image;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  image.close();
  const pixels = context.getImageData(0, 0, width, height).data;
  const map = new Uint8Array(width * height);
  for (let i = 0; i < map.length; i++) map[i] = pixels[4 * i];
  return { map, width, height };
}

/** Events of an uploaded clip, as they come: { event, data }. */
export async function* video(file, bundle, signal) {
  check(file, most.clip_bytes);
  const { headers, ...rest } = post(file);
  const options = { ...rest, headers: { ...headers, Accept: "text/event-stream" }, signal };
  yield* events(await request(query("v1/video", { bundle }), options));
}

/** Events of the source that the service itself follows. */
export async function* sourceEvents(signal) {
  yield* events(await request("v1/source/events", { headers: { Accept: "text/event-stream" }, signal }));
}

/** Its pictures, as JPEG: the parts of a stream that an <img> would show too, but not with a token. */
export async function* sourcePictures(signal) {
  const reader = (await request("v1/source.mjpeg", { signal })).body.getReader();
  let held = new Uint8Array();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const grown = new Uint8Array(held.length + value.length);
      grown.set(held);
      grown.set(value, held.length);
      held = grown;
      for (;;) {
        const head = new TextDecoder("latin1").decode(held.subarray(0, 512)),
          end = head.indexOf("\r\n\r\n") + 4;
        const length = Number(/content-length: (\d+)/i.exec(head.slice(0, end))?.[1]);
        if (end < 4 || !(held.length >= end + length)) break;
        yield new Blob([held.subarray(end, end + length)], { type: "image/jpeg" });
        held = held.subarray(end + length + 2);
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { value, done } = await reader.read().catch(() => {
        throw new ServiceError("The service stopped answering before the end.", true);
      });
      if (done) return;
      const parts = (text + value).replaceAll("\r\n", "\n").split("\n\n");
      text = parts.pop();
      for (const part of parts) {
        const lines = part.split("\n");
        const read = (name) => lines.filter((l) => l.startsWith(name)).map((l) => l.slice(name.length).trim());
        const data = read("data:").join("\n");
        if (data) yield { event: read("event:")[0] ?? "message", data: JSON.parse(data) };
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** A socket that answers each JPEG with the polyps in it: { send(blob) -> Promise, close() }. The token, where one is
 * needed, is its first message: a browser sends no headers there. */
export function live(bundle, onclose) {
  const where = address(query("v1/live", { bundle }));
  where.protocol = where.protocol.replace("http", "ws");
  const socket = new WebSocket(where);
  let answer = null;
  const opened = new Promise((resolve, reject) => {
    socket.onopen = () => {
      if (token()) socket.send(token());
      resolve();
    };
    socket.onclose = (event) => {
      const failure = new ServiceError(event.reason ? `${event.reason}.` : "The service closed the connection.", true);
      reject(failure);
      answer?.reject(failure);
      onclose();
    };
  });
  opened.catch(() => {}); // whoever sends is told
  socket.onmessage = ({ data }) => {
    const found = JSON.parse(data);
    if (found.error) answer?.reject(new ServiceError(found.error));
    else answer?.resolve(found);
  };
  return {
    async send(jpeg) {
      await opened;
      return new Promise((resolve, reject) => {
        answer = { resolve, reject };
        socket.send(jpeg);
      });
    },
    close: () => socket.close(),
  };
}
