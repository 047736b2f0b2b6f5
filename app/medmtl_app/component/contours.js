// Outlines of a structure in a slice: closed curves where its field passes the level, by marching squares.

const LEVEL = 127.5;
// Directed pieces per cell: edges 0 top, 1 right, 2 bottom, 3 left; corners count 1, 2, 4, 8 clockwise from the upper left.
const PIECES = [
  [], [[3, 0]], [[0, 1]], [[3, 1]], [[1, 2]], [[3, 0], [1, 2]], [[0, 2]], [[3, 2]],
  [[2, 3]], [[2, 0]], [[0, 1], [2, 3]], [[2, 1]], [[1, 3]], [[1, 0]], [[0, 3]], [],
];

/**
 * The structure's outline as a Path2D in voxels of the slice (u, v down the screen), or null where it is not there.
 * @param plane a Plane; @param w the slice; @param structure with `low`, `high` and either a field or a map.
 */
export function outline(plane, w, structure, maps) {
  if (w < structure.low[plane.w] || w > structure.high[plane.w]) return null;
  const v0 = plane.flip ? plane.nv - 1 - structure.high[plane.v] : structure.low[plane.v];
  const v1 = plane.flip ? plane.nv - 1 - structure.low[plane.v] : structure.high[plane.v];
  const u0 = structure.low[plane.u];
  const u1 = structure.high[plane.u];
  const width = u1 - u0 + 3;
  const height = v1 - v0 + 3;
  const cut = { plane, w, u0, v0, width, height };
  const field = cutField(cut, structure, maps[structure.map]);
  if (!field) return null;
  const blocks = repeated({ field, width, height }, plane.repeatU, plane.repeatV);
  const toU = (x) => u0 + (x + 0.5) / plane.repeatU - 0.5 - 1;
  const toV = (y) => v0 + (y + 0.5) / plane.repeatV - 0.5 - 1;
  return trace(blocks, toU, toV);
}

/** The field in the slice; where the reader drew or hid something, the map decides and the model's field smooths. */
function cutField(cut, structure, map) {
  const hidden = structure.hidden?.filter(({ low, high }) => cut.w >= low[cut.plane.w] && cut.w <= high[cut.plane.w]) ?? [];
  if (structure.levels && !structure.edited && !hidden.length) return fromLevels(cut, structure);
  const drawn = fromMap(cut, map, structure.value, hidden);
  if (!drawn || !structure.levels) return drawn;
  const graded = fromLevels(cut, structure);
  return drawn.map((level, n) => (level > LEVEL === graded[n] > LEVEL ? graded[n] : level));
}

/** The stored field of a structure, with a rim of one voxel that is outside. */
function fromLevels({ plane, w, u0, v0, width, height }, { levels, field }) {
  const out = new Uint8Array(width * height);
  const [n0, n1] = field.shape;
  const step = [1, n0, n0 * n1];
  const place = w - field.low[plane.w];
  if (place < 0 || place >= field.shape[plane.w]) return out;
  const base = place * step[plane.w];
  for (let y = 0; y < height; y++) {
    const v = v0 + y - 1;
    const index = (plane.flip ? plane.nv - 1 - v : v) - field.low[plane.v];
    if (index < 0 || index >= field.shape[plane.v]) continue;
    for (let x = 0; x < width; x++) {
      const u = u0 + x - 1 - field.low[plane.u];
      if (u >= 0 && u < field.shape[plane.u]) out[y * width + x] = levels[base + u * step[plane.u] + index * step[plane.v]];
    }
  }
  return out;
}

/** A field from the label map: blurred a little, and still on the map's side of the level at every voxel. */
function fromMap({ plane, w, u0, v0, width, height }, map, value, hidden) {
  const mask = new Uint8Array(width * height);
  const stride = plane.strides(w);
  let any = false;
  for (let y = 1; y < height - 1; y++) {
    let at = stride.first + (v0 + y - 1) * stride.v + u0 * stride.u;
    for (let x = 1; x < width - 1; x++, at += stride.u) {
      if (map[at] === value && !hidden.some((piece) => piece.holds(at))) {
        mask[y * width + x] = 1;
        any = true;
      }
    }
  }
  if (!any) return null;
  const out = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      let sum = 0;
      for (let dy = -1; dy <= 1; dy++) {
        for (let dx = -1; dx <= 1; dx++) {
          const inside = y + dy >= 0 && y + dy < height && x + dx >= 0 && x + dx < width;
          if (inside && mask[(y + dy) * width + x + dx]) sum += (2 - Math.abs(dx)) * (2 - Math.abs(dy));
        }
      }
      const level = (255 * sum) / 16;
      out[y * width + x] = mask[y * width + x] ? Math.max(level, 136) : Math.min(level, 119);
    }
  }
  return out;
}

/** Every row and column several times: thick slices as blocks. */
function repeated({ field, width, height }, timesU, timesV) {
  if (timesU === 1 && timesV === 1) return { field, width, height };
  const wide = width * timesU;
  const out = new Uint8Array(wide * height * timesV);
  for (let y = 0; y < height * timesV; y++) {
    const row = Math.floor(y / timesV) * width;
    for (let x = 0; x < wide; x++) out[y * wide + x] = field[row + Math.floor(x / timesU)];
  }
  return { field: out, width: wide, height: height * timesV };
}

function trace({ field, width, height }, toU, toV) {
  const next = new Int32Array(2 * width * height).fill(-1); // edge where a piece begins to edge where it ends
  const starts = [];
  for (let y = 0; y + 1 < height; y++) {
    let at = y * width;
    let left = (field[at] > LEVEL ? 1 : 0) | (field[at + width] > LEVEL ? 8 : 0);
    for (let x = 0; x + 1 < width; x++, at++) {
      const right = (field[at + 1] > LEVEL ? 2 : 0) | (field[at + width + 1] > LEVEL ? 4 : 0);
      const kind = left | right;
      left = (right >> 1 & 1) | (right << 1 & 8);
      if (kind === 0 || kind === 15) continue;
      for (const [from, to] of PIECES[kind]) {
        const start = edge(at, from, width);
        next[start] = edge(at, to, width);
        starts.push(start);
      }
    }
  }
  if (!starts.length) return null;
  const path = new Path2D();
  for (const start of starts) {
    if (next[start] < 0) continue;
    for (let at = start, first = true; next[at] >= 0; first = false) {
      const [x, y] = point(field, at, width);
      if (first) path.moveTo(toU(x), toV(y));
      else path.lineTo(toU(x), toV(y));
      const to = next[at];
      next[at] = -1;
      at = to;
    }
    path.closePath();
  }
  return path;
}

/** Number of an edge: twice the voxel at its upper or left end, plus one where it runs down. */
function edge(at, side, width) {
  return side === 0 ? 2 * at : side === 1 ? 2 * (at + 1) + 1 : side === 2 ? 2 * (at + width) : 2 * at + 1;
}

function point(field, number, width) {
  const at = number >> 1;
  const down = number & 1;
  const p = field[at];
  const q = field[at + (down ? width : 1)];
  const share = (LEVEL - p) / (q - p);
  const x = at % width;
  const y = Math.floor(at / width);
  return down ? [x, y + share] : [x + share, y];
}
