/** The polyps of a probability map at a threshold, as polyp_monai/metrics/regions.py finds them.
 *
 * A map is a Uint8Array of width * height, row by row, 255 for a probability of 1. A level k of 1..255 stands for the
 * threshold (k - 0.5) / 255: a map rounded to bytes reaches k exactly where the probability reached that.
 */

const MIN_SHARE = 0.0005; // of the frame: smaller specks are in the mask, and no polyp
const CORNERS = { small: 100 ** 2, medium: 200 ** 2 }; // pixels: the size classes of PolypGen

export const thresholdOf = (level) => (level - 0.5) / 255;

/** The level nearest to a threshold; of two as near, the lower one, which misses less. */
export const levelOf = (threshold) => Math.min(255, Math.max(1, Math.ceil(threshold * 255 - 1e-6)));

export const sizeClass = (area) => (area <= CORNERS.small ? "small" : area <= CORNERS.medium ? "medium" : "large");

/** The 8-connected regions that reach `level`, largest first, as the service tells them. Boxes are [x, y, w, h]. */
export function findPolyps({ map, width, height, classes }, level) {
  const least = MIN_SHARE * width * height;
  return regions(map, width, height, level, classes?.of ?? [])
    .filter((region) => region.area >= least)
    .sort((a, b) => b.area - a.area || a.x0 - b.x0 || a.y0 - b.y0)
    .map((region, at) => ({
      number: at + 1,
      box: [region.x0, region.y0, region.x1 - region.x0, region.y1 - region.y0],
      area: region.area,
      share: region.area / (width * height),
      size: sizeClass(region.area),
      confidence: region.sum / region.area / 255,
      polygons: [outline(map, width, height, level, region.start)],
      ...(classes ? classOf(region.sums, classes) : {}),
    }));
}

/** The likeliest class, its share of what the classes say together, and its color. */
function classOf(sums, { of, certainty, uncertain }) {
  const best = sums.indexOf(Math.max(...sums)),
    probability = sums[best] / sums.reduce((a, b) => a + b, 0) || 1 / sums.length;
  const { name, color } = probability >= certainty ? of[best] : uncertain;
  return { class: name, class_probability: probability, color };
}

function reaching(map, at, end, level) {
  while (at < end && map[at] < level) at++;
  return at;
}

function below(map, at, end, level) {
  while (at < end && map[at] >= level) at++;
  return at;
}

/** Regions by runs: the pixels are looked at once, and what touches, corners too, is joined. */
function regions(map, width, height, level, classes) {
  const starts = [],
    ends = [],
    parent = [],
    found = new Map();
  const root = (run) => {
    while (parent[run] !== run) run = parent[run] = parent[parent[run]];
    return run;
  };
  const rows = [0];
  for (let y = 0, above = 0; y < height; y++) {
    const row = y * width,
      beyond = row + width,
      first = starts.length;
    let from = reaching(map, row, beyond, level);
    while (from < beyond) {
      const to = below(map, from, beyond, level),
        start = from - row,
        end = to - row;
      const run = starts.push(start) - 1;
      ends.push(end);
      parent.push(run);
      while (above < first && ends[above] < start) above++;
      for (let other = above; other < first && starts[other] <= end; other++) {
        const a = root(other),
          b = root(run);
        parent[Math.max(a, b)] = Math.min(a, b);
      }
      from = reaching(map, to, beyond, level);
    }
    above = first;
    rows.push(starts.length);
  }
  for (let y = 0; y < height; y++)
    for (let run = rows[y]; run < rows[y + 1]; run++) {
      const key = root(run),
        [start, end] = [starts[run], ends[run]];
      let region = found.get(key);
      if (!region) {
        region = { area: 0, sum: 0, x0: start, y0: y, x1: end, y1: y, start: [start, y], sums: classes.map(() => 0) };
        found.set(key, region);
      }
      region.area += end - start;
      for (let x = start; x < end; x++) region.sum += map[y * width + x];
      for (const [at, { map: own }] of classes.entries())
        for (let x = start; x < end; x++) region.sums[at] += own[y * width + x];
      region.x0 = Math.min(region.x0, start);
      region.x1 = Math.max(region.x1, end);
      region.y1 = y + 1;
    }
  return [...found.values()];
}

/** The outer outline by marching squares, clockwise from the region's first pixel: [[x, y], ...] in pixels, where a
 * pixel (x, y) covers x..x+1 and y..y+1. Between two pixels it runs where the map would reach the level. */
function outline(map, width, height, level, [x0, y0]) {
  const at = (x, y) => (x < 0 || y < 0 || x >= width || y >= height ? 0 : map[y * width + x]);
  const edge = level - 0.5,
    points = [];
  let x = x0,
    y = y0,
    dx = 0,
    dy = -1; // a pixel within, and the way to its neighbor without
  do {
    const inside = at(x, y),
      part = (inside - edge) / (inside - at(x + dx, y + dy));
    points.push([x + 0.5 + dx * part, y + 0.5 + dy * part]);
    const tx = -dy,
      ty = dx; // onwards, clockwise
    if (at(x + dx + tx, y + dy + ty) >= level) {
      x += dx + tx;
      y += dy + ty;
      dx = -tx;
      dy = -ty;
    } else if (at(x + tx, y + ty) >= level) {
      x += tx;
      y += ty;
    } else {
      dx = tx;
      dy = ty;
    }
  } while (x !== x0 || y !== y0 || dx !== 0 || dy !== -1);
  return simplified(points, 0.25).map((point) => point.map((value) => Math.round(value * 100) / 100));
}

/** Douglas and Peucker: no point left out lies farther than `tolerance` pixels from the line. */
function simplified(points, tolerance) {
  const kept = new Uint8Array(points.length),
    parts = [[0, points.length - 1]];
  kept[0] = kept[points.length - 1] = 1;
  while (parts.length) {
    const [from, to] = parts.pop();
    const ax = points[from][0],
      ay = points[from][1],
      dx = points[to][0] - ax,
      dy = points[to][1] - ay;
    const length = Math.hypot(dx, dy);
    let farthest = -1,
      most = tolerance;
    for (let i = from + 1; i < to; i++) {
      const x = points[i][0] - ax,
        y = points[i][1] - ay;
      const distance = length > 1e-9 ? Math.abs(x * dy - y * dx) / length : Math.hypot(x, y);
      if (distance > most) {
        farthest = i;
        most = distance;
      }
    }
    if (farthest < 0) continue;
    kept[farthest] = 1;
    parts.push([from, farthest], [farthest, to]);
  }
  return points.filter((_, i) => kept[i]);
}

/** Area of polygons in pixels, by the shoelace formula. */
export const areaOf = (polygons) =>
  polygons.reduce((sum, points) => {
    const twice = points.reduce((part, [x, y], at) => {
      const [nextX, nextY] = points[(at + 1) % points.length];
      return part + x * nextY - nextX * y;
    }, 0);
    return sum + Math.abs(twice) / 2;
  }, 0);

/** How many pixels reach each level, 0..255: what the curve above the slider shows. */
export function reached({ map }) {
  const counts = new Float64Array(256);
  for (const value of map) counts[value]++;
  for (let level = 254; level >= 0; level--) counts[level] += counts[level + 1];
  return counts;
}

/** Dice of two maps at their levels: 1 where both found the same, and where both found nothing. */
export function agreement(a, levelA, b, levelB) {
  let both = 0,
    sum = 0;
  for (let i = 0; i < a.map.length; i++) {
    const [inA, inB] = [a.map[i] >= levelA, b.map[i] >= levelB];
    if (inA && inB) both++;
    sum += inA + inB;
  }
  return sum ? (2 * both) / sum : 1;
}
