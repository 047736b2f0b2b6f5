// The three planes through a volume whose axes run most nearly to the left, the back and the head (LPS).

export const PLANES = {
  // u runs to the right of the screen, v down, w through it
  axial: { u: 0, v: 1, w: 2, flip: false },
  coronal: { u: 0, v: 2, w: 1, flip: true }, // the head is up
  sagittal: { u: 1, v: 2, w: 0, flip: true },
};
const LETTERS = [["L", "R"], ["P", "A"], ["H", "F"]];
const OBLIQUE_DEG = 10;
const SECOND_LETTER = 0.26; // from 15 degrees on

export class Plane {
  /** @param name of PLANES; @param view `view.json`: shape and affine, LPS mm. */
  constructor(name, view) {
    Object.assign(this, PLANES[name], { name, shape: view.shape });
    const column = (axis) => [0, 1, 2].map((row) => view.affine_lps[row][axis]);
    const across = column(this.u);
    const down = column(this.v).map((value) => (this.flip ? -value : value));
    this.nu = view.shape[this.u];
    this.nv = view.shape[this.v];
    this.nw = view.shape[this.w];
    // mm on the screen of a step along u: (a, 0); along v: (b, c). b is not zero in sheared series.
    this.a = Math.hypot(...across);
    const right = across.map((value) => value / this.a);
    this.b = dot(down, right);
    const rest = down.map((value, n) => value - this.b * right[n]);
    this.c = Math.hypot(...rest);
    const below = rest.map((value) => value / this.c);
    this.letters = { right: letters(right), left: letters(minus(right)), bottom: letters(below), top: letters(minus(below)) };
    const normal = cross(right, below);
    this.oblique = Math.abs(normal[this.w]) < Math.cos((OBLIQUE_DEG * Math.PI) / 180);
    this.gap = Math.abs(dot(column(this.w), normal)); // mm from slice to slice
    // thick slices are shown as blocks of their thickness, not smoothed into what was not measured
    this.repeatU = this.a > 2 * this.c ? Math.min(16, Math.round(this.a / this.c)) : 1;
    this.repeatV = this.c > 2 * this.a ? Math.min(16, Math.round(this.c / this.a)) : 1;
  }

  /** Screen mm, from the first voxel's centre, of a voxel index. */
  mm(index) {
    const v = this.flip ? this.nv - 1 - index[this.v] : index[this.v];
    return [this.a * index[this.u] + this.b * v, this.c * v];
  }

  /** The (fractional) voxel index below a point in screen mm, in the slice `w`. */
  index(x, y, w) {
    const v = y / this.c;
    const index = [0, 0, 0];
    index[this.u] = (x - this.b * v) / this.a;
    index[this.v] = this.flip ? this.nv - 1 - v : v;
    index[this.w] = w;
    return index;
  }

  /** Left, top, right and bottom of a box of voxels in screen mm. */
  bounds({ low, high }) {
    const down = this.flip ? [this.nv - 1 - high[this.v], this.nv - 1 - low[this.v]] : [low[this.v], high[this.v]];
    const ends = [down[0] - 0.5, down[1] + 0.5];
    const corners = [low[this.u] - 0.5, high[this.u] + 0.5].flatMap((u) => ends.map((v) => [this.a * u + this.b * v, this.c * v]));
    const xs = corners.map((corner) => corner[0]);
    const ys = corners.map((corner) => corner[1]);
    return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
  }

  /** Where the first voxel of a slice lies in the array, and the steps along u and down the screen. */
  strides(w) {
    const step = [1, this.shape[0], this.shape[0] * this.shape[1]];
    const first = w * step[this.w] + (this.flip ? (this.nv - 1) * step[this.v] : 0);
    return { first, u: step[this.u], v: this.flip ? -step[this.v] : step[this.v] };
  }
}

/** LPS mm of a voxel index. */
export function toLps(view, index) {
  return [0, 1, 2].map((row) => view.affine_lps[row][3] + dot(view.affine_lps[row].slice(0, 3), index));
}

/** The (fractional) voxel index of a point, LPS mm. */
export function toIndex(view, lps) {
  const columns = [0, 1, 2].map((axis) => [0, 1, 2].map((row) => view.affine_lps[row][axis]));
  const from = lps.map((value, row) => value - view.affine_lps[row][3]);
  const across = [cross(columns[1], columns[2]), cross(columns[2], columns[0]), cross(columns[0], columns[1])];
  return across.map((normal, axis) => dot(from, normal) / dot(columns[axis], normal));
}

/** One letter, or two where the direction is oblique. */
export function letters(direction) {
  const order = [0, 1, 2].sort((m, n) => Math.abs(direction[n]) - Math.abs(direction[m]));
  const kept = order.slice(0, 2).filter((axis, place) => place === 0 || Math.abs(direction[axis]) > SECOND_LETTER);
  return kept.map((axis) => LETTERS[axis][direction[axis] > 0 ? 0 : 1]).join("");
}

const dot = (p, q) => p.reduce((sum, value, n) => sum + value * q[n], 0);
const minus = (p) => p.map((value) => -value);
const cross = (p, q) => [p[1] * q[2] - p[2] * q[1], p[2] * q[0] - p[0] * q[2], p[0] * q[1] - p[1] * q[0]];
