// What the panes draw: voxels, structures and how they are shown, the crosshair and the window.
import { outline } from "./contours.js";
import { Heat } from "./heatmap.js";
import { Measures } from "./measure.js";
import { Plane, PLANES, toIndex, toLps } from "./plane.js";

const UNSET = "#888888"; // what a bundle's label has where it names no colour
const FALLBACK = ["#e8b23a", "#4f9dde", "#6cc08b", "#d0679d", "#8f7fe0", "#5cc4c4", "#d98b4b", "#9bbf4b"];

export class Scene {
  constructor(view) {
    this.view = view;
    this.planes = Object.fromEntries(Object.keys(PLANES).map((name) => [name, new Plane(name, view)]));
    this.main = Object.values(this.planes).find((plane) => plane.w === view.slice_axis).name;
    // every channel keeps its window; what is drawn is the channel in hand
    this.channels = view.channels.map((row) => ({ ...row, voxels: null, width: row.windows[0].width, level: row.windows[0].level }));
    this.cross = view.focus.low.map((low, axis) => Math.floor((low + view.focus.high[axis]) / 2));
    this.lut = new Uint32Array(65536);
    this.maps = [];
    this.outlines = new Map();
    this.measures = new Measures(this);
    this.heat = new Heat(this);
    this.show = { answers: true, contours: true, fill: true, cross: true, others: false };
    this.listeners = new Set();
    this.rejected = []; // pieces of lesions that are not shown as such
    this.structures = view.structures.map((row, n) => this.styled(row, n));
    this.absent = (view.absent ?? []).map((row, n) => this.styled({ ...row, low: [...view.shape], high: [-1, -1, -1] }, view.structures.length + n));
    this.showChannel(this.lesionChannel);
  }

  get windows() {
    return this.channels[this.channel].windows;
  }

  /** The channel that lesions are drawn on. */
  get lesionChannel() {
    return this.structures.find((row) => row.task === "lesions")?.channel ?? 0;
  }

  showChannel(number) {
    this.channel = number;
    const { voxels, width, level } = this.channels[number];
    this.voxels = voxels;
    this.setWindow(width, level);
  }

  /** Whether a structure's task is drawn on the channel in hand. */
  isHere(row) {
    return row.channel === this.channel;
  }

  styled(row, n) {
    return {
      ...row,
      color: row.color === UNSET ? FALLBACK[n % FALLBACK.length] : row.color,
      visible: true,
      contour: true,
      opacity: row.task === "lesions" ? 0.32 : 0.1,
      surface: row.task !== "lesions" && encloses(row, this.view.lesions) ? 0.45 : 1, // of the 3D view: what holds a lesion lets it be seen
      hidden: [],
      edition: 0, // of its outlines
      delta: 0, // voxels drawn less voxels taken away
    };
  }

  /** A structure that holds no voxel becomes one that can be drawn. */
  add(row) {
    if (row.map < 0) {
      const sibling = this.view.regions?.includes(row.task) ? null : this.structures.find((one) => one.task === row.task);
      row.map = sibling?.map ?? this.maps.push(new Uint8Array(this.voxels.length)) - 1;
    }
    this.absent = this.absent.filter((one) => one !== row);
    this.structures.push(row);
  }

  /** A voxel of a map has another value: what it was and what it is are drawn from the map from now on. */
  voxelChanged(map, at, before, after) {
    const [ni, nj] = this.view.shape;
    for (const row of this.structures) {
      if (row.map !== map || (row.value !== before && row.value !== after)) continue;
      row.edited = true;
      row.edition++;
      row.delta += row.value === after ? 1 : -1;
      if (row.value !== after) continue;
      const place = [at % ni, Math.floor(at / ni) % nj, Math.floor(at / (ni * nj))];
      row.low = row.low.map((low, axis) => Math.min(low, place[axis]));
      row.high = row.high.map((high, axis) => Math.max(high, place[axis]));
    }
  }

  /** Shows `pieces` as rejected, and no longer as part of `rows`. */
  reject(pieces, rows) {
    this.rejected = pieces;
    for (const row of rows) {
      row.hidden = pieces;
      row.edition++;
    }
    this.changed();
  }

  /** Fetches voxels, maps and fields, voxels only where `former` does not have them; `progress(share)` is of the voxels. */
  async load(api, grant, options, progress, former) {
    const count = this.view.shape.reduce((product, n) => product * n, 1);
    const get = (name, length, told) => api.bytes(`voxels/${grant}/${name}`, length, options, told);
    const fetchChannel = async (number, told) => {
      const row = this.channels[number];
      row.voxels = former?.channels[number].voxels ?? new Int16Array((await get(row.file, count * 2, told)).buffer);
      if (number === this.channel) this.voxels = row.voxels;
      this.changed();
    };
    await fetchChannel(this.channel, progress);
    for (const map of this.view.maps) this.maps.push(await get(map.file, count));
    this.changed();
    await Promise.all(this.structures.filter((row) => row.field).map(async (structure) => {
      structure.levels = await get(structure.field.file, structure.field.shape.reduce((product, n) => product * n, 1));
    }));
    this.outlines.clear();
    for (const [number, row] of this.channels.entries()) if (!row.voxels) await fetchChannel(number);
    this.changed();
  }

  /** Asks for a new picture, of one pane where only it has changed. */
  changed(pane) {
    for (const listener of this.listeners) listener(pane);
  }

  /** Where `index` is the voxel that all planes go through. */
  goTo(index) {
    this.cross = index.map((value, axis) => Math.max(0, Math.min(this.view.shape[axis] - 1, Math.round(value))));
    this.changed();
  }

  setWindow(width, level) {
    this.width = Math.max(width, 1e-3);
    this.level = level;
    const row = this.channels[this.channel];
    Object.assign(row, { width: this.width, level });
    const { slope, intercept } = row;
    const low = level - this.width / 2;
    const grey = new Uint8ClampedArray(1);
    for (let n = 0; n < 65536; n++) {
      grey[0] = (255 * ((n - 32768) * slope + intercept - low)) / this.width;
      this.lut[n] = 0xff000000 | (grey[0] * 0x010101);
    }
    this.lutVersion = (this.lutVersion ?? 0) + 1;
    this.changed();
  }

  /** The measured value at a voxel, null where there is none. */
  value(index) {
    const [i, j, k] = index.map(Math.round);
    const [ni, nj, nk] = this.view.shape;
    if (!this.voxels || i < 0 || j < 0 || k < 0 || i >= ni || j >= nj || k >= nk) return null;
    const { slope, intercept } = this.channels[this.channel];
    return this.voxels[i + ni * (j + nj * k)] * slope + intercept;
  }

  lps(index) {
    return toLps(this.view, index);
  }

  indexOf(lps) {
    return toIndex(this.view, lps);
  }

  /** Structures to draw in a slice, each with its outline. */
  drawn(plane, w) {
    if (!this.show.answers) return [];
    return this.structures
      .filter((structure) => structure.visible && (this.isHere(structure) || this.show.others))
      .sort((one, other) => (one.task === "lesions") - (other.task === "lesions")) // lesions on top
      .map((structure) => ({ structure, path: this.outline(plane, w, structure) }))
      .filter((row) => row.path);
  }

  outline(plane, w, structure) {
    const key = `${plane.name} ${w} ${structure.task} ${structure.name} ${structure.edition}`;
    if (!this.outlines.has(key)) {
      if (!this.maps[structure.map]) return null;
      if (this.outlines.size > 3000) this.outlines.clear();
      this.outlines.set(key, outline(plane, w, structure, this.maps));
    }
    return this.outlines.get(key);
  }

  /** Outlines of rejected lesions in a slice. */
  rejectedIn(plane, w) {
    return this.show.answers && this.channel === this.lesionChannel ? this.rejected.map((piece) => outline(plane, w, piece, this.maps)).filter(Boolean) : [];
  }

  /** Lesions whose box the slice goes through, but rejected ones. */
  lesionsIn(plane, w) {
    if (!this.show.answers || this.channel !== this.lesionChannel) return [];
    const gone = new Set(this.rejected.map((piece) => piece.id));
    return this.view.lesions.filter((lesion) => !gone.has(lesion.id) && w >= lesion.low[plane.w] && w <= lesion.high[plane.w]);
  }
}

function encloses(row, lesions) {
  return lesions.some(({ low, high }) => [0, 1, 2].every((axis) => row.low[axis] <= low[axis] && row.high[axis] >= high[axis]));
}
