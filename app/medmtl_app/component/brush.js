// Correcting masks: a disc in the slice that draws or takes away, undo and redo, and islands by the server.

export const BRUSHES = ["brush", "eraser"];
const LEAST_MM = 0.5;
const MOST_MM = 60;

export class Brush {
  constructor(scene) {
    this.scene = scene;
    this.target = scene.structures.find((row) => row.task === "lesions") ?? scene.structures[0] ?? null;
    this.radius = Math.max(LEAST_MM, Math.round(4 * scene.planes[scene.main].a));
    this.done = [];
    this.undone = [];
    this.locked = false; // while it is saved
    this.listeners = new Set();
  }

  /** Whether there is something to save. */
  get dirty() {
    return this.done.length > 0;
  }

  /** Names of the maps that differ from the version that is shown, each with its bytes. */
  drawn() {
    const { maps, structures, view } = this.scene;
    const numbers = new Set(this.done.map((stroke) => stroke.map));
    return [...numbers].map((number) => {
      const row = structures.find((one) => one.map === number);
      return { name: view.regions?.includes(row.task) ? `${row.task}.${row.name}` : row.task, bytes: maps[number] };
    });
  }

  resize(factor) {
    const step = Math.max(0.5, Math.abs(this.radius * (factor - 1)));
    this.radius = Math.max(LEAST_MM, Math.min(MOST_MM, Math.round(2 * (this.radius + Math.sign(factor - 1) * step)) / 2));
    this.told();
  }

  told() {
    for (const listener of this.listeners) listener();
    this.scene.changed();
  }

  begin(pane, point, tool) {
    if (this.locked || !this.target || !this.scene.isHere(this.target) || !this.scene.show.answers || !this.scene.maps[this.target.map]) return;
    this.stroke = { map: this.target.map, indices: [], before: [], after: tool === "brush" ? this.target.value : 0 };
    this.last = point;
    this.dab(pane, point);
  }

  /** Draws from the last point to this one without gaps. */
  drag(pane, point) {
    if (!this.stroke) return;
    const [dx, dy] = [point[0] - this.last[0], point[1] - this.last[1]];
    const step = Math.max(1, (this.radius * pane.placing().scale) / 3);
    const count = Math.ceil(Math.hypot(dx, dy) / step);
    for (let n = 1; n <= count; n++) this.dab(pane, [this.last[0] + (n * dx) / count, this.last[1] + (n * dy) / count]);
    this.last = point;
  }

  end() {
    const { stroke } = this;
    this.stroke = null;
    if (stroke?.indices.length) this.push(stroke);
  }

  push(stroke) {
    this.done.push({ ...stroke, indices: Uint32Array.from(stroke.indices), before: Uint8Array.from(stroke.before) });
    this.undone = [];
    this.told();
  }

  /** One disc of the brush around a point of the pane, in its slice: voxels whose centres it holds, and the nearest one. */
  dab(pane, point) {
    const { plane, slice } = pane;
    const index = pane.indexAt(point);
    const [u0, w] = [index[plane.u], slice];
    const v0 = plane.flip ? plane.nv - 1 - index[plane.v] : index[plane.v];
    const { a, b, c, nu, nv } = plane;
    const stride = plane.strides(w);
    const reach = this.radius / c;
    const put = (u, v) => u >= 0 && v >= 0 && u < nu && v < nv && this.put(stride.first + v * stride.v + u * stride.u);
    put(Math.round(u0), Math.round(v0));
    for (let v = Math.ceil(v0 - reach); v <= Math.floor(v0 + reach); v++) {
      const half = Math.sqrt(Math.max(0, this.radius ** 2 - (c * (v - v0)) ** 2));
      const middle = u0 - (b * (v - v0)) / a; // sheared series: rows are shifted
      for (let u = Math.ceil(middle - half / a); u <= Math.floor(middle + half / a); u++) put(u, v);
    }
    this.scene.changed();
  }

  put(at) {
    const { stroke, target, scene } = this;
    const map = scene.maps[stroke.map];
    const before = map[at];
    if (before === stroke.after || (stroke.after === 0 && before !== target.value)) return;
    stroke.indices.push(at);
    stroke.before.push(before);
    map[at] = stroke.after;
    scene.voxelChanged(stroke.map, at, before, stroke.after);
  }

  undo() {
    if (this.locked) return;
    const stroke = this.done.pop();
    if (!stroke) return;
    const map = this.scene.maps[stroke.map];
    for (let n = stroke.indices.length - 1; n >= 0; n--) {
      const at = stroke.indices[n];
      const now = map[at];
      map[at] = stroke.before[n];
      this.scene.voxelChanged(stroke.map, at, now, map[at]);
    }
    this.undone.push(stroke);
    this.told();
  }

  redo() {
    if (this.locked) return;
    const stroke = this.undone.pop();
    if (!stroke) return;
    const map = this.scene.maps[stroke.map];
    stroke.indices.forEach((at) => {
      const now = map[at];
      map[at] = stroke.after;
      this.scene.voxelChanged(stroke.map, at, now, map[at]);
    });
    this.done.push(stroke);
    this.told();
  }

  /** Takes away pieces of the target under `least` voxels, all but the largest where 0; `ask(bytes, shape, least)` does it. */
  async dropIslands(least, ask) {
    const { target, scene } = this;
    if (this.locked) return 0;
    const { low, high } = target;
    const shape = low.map((start, n) => high[n] - start + 1);
    if (Math.min(...shape) < 1) return 0;
    const map = scene.maps[target.map];
    const [ni, nj] = scene.view.shape;
    const places = new Uint32Array(shape[0] * shape[1] * shape[2]);
    for (let k = 0, n = 0; k < shape[2]; k++) {
      for (let j = 0; j < shape[1]; j++) {
        for (let i = 0; i < shape[0]; i++) places[n++] = low[0] + i + ni * (low[1] + j + nj * (low[2] + k));
      }
    }
    const held = Uint8Array.from(places, (at) => (map[at] === target.value ? 1 : 0));
    const kept = await ask(held, shape, least);
    this.stroke = { map: target.map, indices: [], before: [], after: 0 };
    places.forEach((at, n) => held[n] && !kept[n] && this.put(at));
    const gone = this.stroke.indices.length;
    this.end();
    return gone;
  }

  /** The brush's outline under the pointer. */
  drawCursor(context, pane, tool) {
    if (!pane.pointer || !this.target || !BRUSHES.includes(tool)) return;
    const ratio = window.devicePixelRatio || 1;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const radius = Math.max(2, this.radius * pane.placing().scale);
    for (const [style, width] of [["rgba(0, 0, 0, 0.7)", 3], [tool === "brush" ? this.target.color : "#ffffff", 1.5]]) {
      context.strokeStyle = style;
      context.lineWidth = width;
      context.beginPath();
      context.arc(...pane.pointer, radius, 0, 2 * Math.PI);
      context.stroke();
    }
  }
}
