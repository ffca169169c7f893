/** What was found, as files: mask and overlay of a frame, JSON and CSV of all that were read. */

import { path } from "./dom.js";
import { thresholdOf } from "./regions.js";

export function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export const stem = (name) =>
  name
    .split("/")
    .pop()
    .replace(/(\.nii)?\.[^.]*$/, "") || "frame";

/** The mask at native size, 255 where the probability reaches the level: a PNG of one channel, as polyp predict writes. */
export async function mask({ map, width, height }, level) {
  const rows = new Uint8Array((width + 1) * height); // each row begins with its filter: none
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) if (map[y * width + x] >= level) rows[y * (width + 1) + 1 + x] = 255;
  const packed = new Response(new Blob([rows]).stream().pipeThrough(new CompressionStream("deflate")));
  const header = new Uint8Array([...word(width), ...word(height), 8, 0, 0, 0, 0]); // 8 bits, gray
  const parts = [
    chunk("IHDR", header),
    chunk("IDAT", new Uint8Array(await packed.arrayBuffer())),
    chunk("IEND", new Uint8Array()),
  ];
  return new Blob([new Uint8Array([137, 80, 78, 71, 13, 10, 26, 10]), ...parts], { type: "image/png" });
}

const word = (value) => [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];

function chunk(name, data) {
  const body = new Uint8Array([...name].map((char) => char.charCodeAt(0)).concat([...data]));
  return new Uint8Array([...word(data.length), ...body, ...word(crc(body))]);
}

function crc(bytes) {
  let sum = ~0;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
  }
  return ~sum >>> 0;
}

/** The frame at native size with the outlines drawn on it: `drawn` is [{ polyps, color }]. */
export function overlay(image, drawn, width = image.width, height = image.height) {
  const canvas = new OffscreenCanvas(width, height),
    context = canvas.getContext("2d");
  context.drawImage(image, 0, 0, width, height);
  context.lineWidth = Math.max(1, Math.round(width / 250));
  context.lineJoin = "round";
  for (const { polyps, color } of drawn) {
    for (const polyp of polyps) {
      context.strokeStyle = polyp.color ?? color;
      context.stroke(new Path2D(polyp.d ?? path(polyp.polygons)));
    }
  }
  return canvas.convertToBlob({ type: "image/png" });
}

const asJson = (content) => new Blob([JSON.stringify(content, null, 1), "\n"], { type: "application/json" });

/** Of each frame what /v1/predict answers, bundle after bundle. */
export function json(frames) {
  const byBundle = new Map();
  for (const frame of frames)
    for (const [bundle, { level, width, height, version, polyps }] of frame.readings) {
      if (!byBundle.has(bundle)) byBundle.set(bundle, { bundle, version, results: [] });
      byBundle.get(bundle).results.push({ name: frame.name, width, height, threshold: thresholdOf(level), polyps });
    }
  const failed = frames.filter((frame) => frame.error).map(({ name, error }) => ({ name, error }));
  return asJson({ readings: [...byBundle.values()], failed });
}

const field = (value) => (/[",\n\r]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : String(value));
/** A name that a spreadsheet would take for a formula gets an apostrophe. */
const text = (value) => field(/^[=+\-@\t]/.test(value) ? `'${value}` : value);
const asCsv = (lines) => new Blob([lines.map((line) => `${line.join(",")}\n`).join("")], { type: "text/csv" });

/** A row a polyp; one row without a number for a frame without a polyp, one with the error of a frame that failed. */
export function csv(frames) {
  const heads = [
    "image",
    "bundle",
    "threshold",
    "width",
    "height",
    "polyp",
    "x",
    "y",
    "w",
    "h",
    "area",
    "share",
    "confidence",
    "size",
    "error",
  ];
  const several = frames.some((frame) => [...frame.readings.values()].some(({ polyps }) => polyps[0]?.class));
  if (several) heads.push("class", "class_probability");
  const lines = [heads];
  for (const frame of frames) {
    for (const [bundle, { level, width, height, polyps }] of frame.readings) {
      const about = [text(frame.name), text(bundle), thresholdOf(level).toFixed(5), width, height];
      for (const p of polyps)
        lines.push([
          ...about,
          p.number,
          ...p.box.map(Math.round),
          Math.round(p.area),
          p.share.toFixed(6),
          p.confidence.toFixed(4),
          p.size,
          "",
          ...(several ? [text(p.class ?? ""), p.class_probability?.toFixed(4) ?? ""] : []),
        ]);
      if (!polyps.length) lines.push([...about, ...Array(several ? 12 : 10).fill("")]);
    }
    const rest = several ? ["", ""] : [];
    if (frame.error) lines.push([text(frame.name), ...Array(13).fill(""), field(frame.error), ...rest]);
  }
  return asCsv(lines);
}

export const clipJson = (name, bundle, frames) =>
  asJson({ name, bundle, frames: frames.map(({ frame, seconds, polyps }) => ({ frame, seconds, polyps })) });

/** A row a polyp of a clip: when it is seen first and last, and how sure the bundle is at most. */
export function clipCsv(name, bundle, tracks) {
  const heads = ["clip", "bundle", "polyp", "first_seconds", "last_seconds", "frames", "highest_confidence"];
  const row = (t) => [
    text(name),
    text(bundle),
    t.id,
    t.first.toFixed(3),
    t.last.toFixed(3),
    t.frames,
    t.confidence.toFixed(4),
  ];
  return asCsv([heads, ...tracks.map(row)]);
}
