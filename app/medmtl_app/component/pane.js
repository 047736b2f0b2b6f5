// One plane on a canvas: image, outlines, crosshair, texts; and what mouse and wheel do on it.
import { MEASURES } from "./measure.js";
import { BRUSHES } from "./brush.js";
import { drawOverlay } from "./overlay.js";

const ON_SLICE = 0.25; // planes
const DRAG_WINDOW = 1.5; // window units per pixel, times width / 400

export class Pane {
  /** @param tool () => name of the tool in hand; @param t () => translator; @param structureName of a structure. */
  constructor(scene, name, { tool, t, brush, structureName, activate, maximise, settled }) {
    Object.assign(this, { scene, name, tool, t, brush, structureName, activate, maximise, settled });
    this.plane = scene.planes[name];
    this.canvas = document.createElement("canvas");
    this.canvas.className = "pane";
    this.canvas.tabIndex = 0;
    this.canvas.dataset.plane = name;
    this.image = document.createElement("canvas");
    this.image.width = this.plane.nu * this.plane.repeatU;
    this.image.height = this.plane.nv * this.plane.repeatV;
    this.pixels = new ImageData(this.image.width, this.image.height);
    this.words = new Uint32Array(this.pixels.data.buffer);
    this.zoom = 1;
    this.textUnit = 1;
    this.pan = [0, 0]; // CSS pixels
    this.pointer = null;
    this.wheel = 0;
    this.listen();
  }

  get slice() {
    return this.scene.cross[this.plane.w];
  }

  /** As the source numbers them, from 1. */
  get sliceNumber() {
    const { slice_axis: axis, slice_counts_down: down } = this.scene.view;
    return this.plane.w === axis && down ? this.plane.nw - this.slice : this.slice + 1;
  }

  /** Acquired slices that the shown plane lies between, from 1; both the same on a slice, null where all planes are slices. */
  get acquired() {
    const { slice_axis: axis, slice_counts_down: down, acquired } = this.scene.view;
    if (this.plane.w !== axis || !acquired?.length) return null;
    const at = down ? this.plane.nw - 1 - this.slice : this.slice;
    const on = acquired.findIndex((place) => Math.abs(place - at) < ON_SLICE);
    const before = on >= 0 ? on + 1 : acquired.filter((place) => place < at).length;
    return { first: before, last: on >= 0 ? before : before + 1, count: acquired.length };
  }

  step(count) {
    const index = [...this.scene.cross];
    index[this.plane.w] += count;
    this.scene.goTo(index);
  }

  reset() {
    this.zoom = 1;
    this.pan = [0, 0];
    this.scene.changed();
  }

  /** CSS pixels per mm, and where the first voxel's centre lies. */
  placing() {
    const [left, top, right, bottom] = this.plane.bounds(this.scene.view.focus);
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const fit = Math.min(width / (right - left), height / (bottom - top));
    const scale = fit * this.zoom;
    return {
      scale,
      x: width / 2 - (scale * (left + right)) / 2 + this.pan[0],
      y: height / 2 - (scale * (top + bottom)) / 2 + this.pan[1],
    };
  }

  /** CSS pixels of a voxel's centre. */
  place(index) {
    const { scale, x, y } = this.placing();
    const [mmX, mmY] = this.plane.mm(index);
    return [x + scale * mmX, y + scale * mmY];
  }

  /** How much larger the page's text is than on a small screen. */
  unit() {
    return this.textUnit;
  }

  /** A voxel's centre in units of the overlay. */
  spot(index) {
    return this.place(index).map((value) => value / this.unit());
  }

  indexAt(point) {
    const { scale, x, y } = this.placing();
    return this.plane.index((point[0] - x) / scale, (point[1] - y) / scale, this.slice);
  }

  draw() {
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height) return;
    this.textUnit = Math.max(1, parseFloat(getComputedStyle(this.canvas).fontSize) / 13);
    if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(height * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
    }
    const context = this.canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    if (!this.scene.voxels) return;
    const { scale, x, y } = this.placing();
    const { a, b, c, repeatU, repeatV } = this.plane;
    const s = scale * ratio;
    this.slicePixels();
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    context.setTransform((s * a) / repeatU, 0, (s * b) / repeatV, (s * c) / repeatV,
      x * ratio - (s * (a + b)) / 2, y * ratio - (s * c) / 2);
    context.drawImage(this.image, 0, 0);
    this.scene.heat.draw(context, this);
    this.drawStructures(context, new DOMMatrix([s * a, 0, s * b, s * c, x * ratio, y * ratio]), ratio * this.textUnit);
    drawOverlay(context, this, ratio);
    this.brush()?.drawCursor(context, this, this.tool());
    const { top, right, bottom, left } = this.plane.letters;
    this.canvas.dataset.letters = [top, right, bottom, left].join(" ");
    this.canvas.dataset.slice = this.sliceNumber;
    this.canvas.dataset.channel = this.scene.channels[this.scene.channel].name;
    this.canvas.dataset.scale = scale;
    this.canvas.dataset.heat = this.scene.heat.shown?.name ?? "";
  }

  slicePixels() {
    const key = `${this.slice} ${this.scene.lutVersion}`;
    if (this.key === key) return;
    this.key = key;
    const { voxels, lut } = this.scene;
    const { words } = this;
    const { nu, nv, repeatU, repeatV } = this.plane;
    const stride = this.plane.strides(this.slice);
    const step = stride.u;
    const wide = nu * repeatU;
    for (let v = 0; v < nv; v++) {
      let at = stride.first + v * stride.v;
      let to = v * repeatV * wide;
      const row = to;
      if (repeatU === 1) {
        for (const end = to + nu; to < end; to++, at += step) words[to] = lut[voxels[at] + 32768];
      } else {
        for (let u = 0; u < nu; u++, at += step) {
          const word = lut[voxels[at] + 32768];
          for (let n = 0; n < repeatU; n++) words[to++] = word;
        }
      }
      for (let n = 1; n < repeatV; n++) words.copyWithin(row + n * wide, row, row + wide);
    }
    this.image.getContext("2d", { willReadFrequently: true }).putImageData(this.pixels, 0, 0);
  }

  drawStructures(context, matrix, ratio) {
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.lineJoin = "round";
    for (const { structure, path } of this.scene.drawn(this.plane, this.slice)) {
      const here = this.scene.isHere(structure);
      const placed = new Path2D();
      placed.addPath(path, matrix);
      if (this.scene.show.fill && here && structure.opacity > 0) {
        context.globalAlpha = structure.opacity;
        context.fillStyle = structure.color;
        context.fill(placed, "evenodd");
        context.globalAlpha = 1;
      }
      if (this.scene.show.contours && structure.contour) {
        context.globalAlpha = here ? 1 : 0.4; // of another channel: a faint line
        context.strokeStyle = "rgba(0, 0, 0, 0.55)";
        context.lineWidth = (here ? 3.2 : 2) * ratio;
        context.stroke(placed);
        context.strokeStyle = structure.color;
        context.lineWidth = (here ? 1.6 : 1) * ratio;
        context.stroke(placed);
        context.globalAlpha = 1;
      }
    }
    context.setLineDash([4 * ratio, 4 * ratio]);
    context.strokeStyle = "#98a3af";
    context.lineWidth = 1.4 * ratio;
    for (const path of this.scene.rejectedIn(this.plane, this.slice)) {
      const placed = new Path2D();
      placed.addPath(path, matrix);
      context.stroke(placed);
    }
    context.setLineDash([]);
  }

  listen() {
    const canvas = this.canvas;
    const at = (event) => [event.offsetX, event.offsetY];
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("focus", () => this.activate(this));
    canvas.addEventListener("dblclick", () => this.maximise(this));
    canvas.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
    canvas.addEventListener("pointerleave", () => {
      this.pointer = null;
      this.scene.changed(this);
    });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.focus({ preventScroll: true });
      canvas.setPointerCapture(event.pointerId);
      this.drag = this.beginDrag(event, at(event));
      this.moved(event, at(event));
    });
    canvas.addEventListener("pointermove", (event) => this.moved(event, at(event)));
    canvas.addEventListener("pointerup", () => {
      if (this.drag?.tool === "window") this.settled();
      if (BRUSHES.includes(this.drag?.tool)) this.brush()?.end();
      this.drag = null;
    });
  }

  beginDrag(event, start) {
    const tool =
      event.button === 2 ? "window" : event.button === 1 || event.shiftKey ? "pan" : event.ctrlKey ? "zoom" : this.tool();
    if (MEASURES.includes(tool)) this.scene.measures.begin(this, start, tool);
    if (BRUSHES.includes(tool)) this.brush()?.begin(this, start, tool);
    return { tool, last: start };
  }

  moved(event, point) {
    this.pointer = point;
    if (this.drag) {
      const [dx, dy] = [point[0] - this.drag.last[0], point[1] - this.drag.last[1]];
      this.drag.last = point;
      this.dragged(this.drag.tool, dx, dy, point);
    }
    this.scene.changed(this);
  }

  dragged(tool, dx, dy, point) {
    const scene = this.scene;
    if (tool === "window") {
      const unit = DRAG_WINDOW * Math.max(scene.width / 400, 1e-3);
      scene.setWindow(scene.width + dx * unit, scene.level + dy * unit);
    } else if (tool === "pan") {
      this.pan = [this.pan[0] + dx, this.pan[1] + dy];
    } else if (tool === "zoom") {
      this.zoomAt(Math.exp(-dy / 150), point);
    } else if (BRUSHES.includes(tool)) {
      this.brush()?.drag(this, point);
    } else if (MEASURES.includes(tool)) {
      scene.measures.drag(this, point);
    } else {
      scene.goTo(this.indexAt(point));
    }
  }

  zoomAt(factor, [x, y]) {
    const zoom = Math.max(0.4, Math.min(30, this.zoom * factor));
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const by = zoom / this.zoom;
    this.pan = [(this.pan[0] - (x - width / 2)) * by + (x - width / 2), (this.pan[1] - (y - height / 2)) * by + (y - height / 2)];
    this.zoom = zoom;
    this.scene.changed(this);
  }

  onWheel(event) {
    event.preventDefault();
    this.activate(this);
    if (event.ctrlKey) {
      this.zoomAt(Math.exp(-event.deltaY / 300), [event.offsetX, event.offsetY]);
      return;
    }
    this.wheel += event.deltaMode ? event.deltaY * 40 : event.deltaY;
    const steps = Math.trunc(this.wheel / 40);
    if (steps) {
      this.wheel -= steps * 40;
      this.step(Math.abs(steps) > 3 ? Math.sign(steps) : steps);
    }
  }
}
