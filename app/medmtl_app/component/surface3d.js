// The fourth pane: structures as surfaces, turned with the mouse or the arrow keys. Loaded once a study has surfaces.
import { Camera } from "./camera.js";
import { Raster } from "./raster.js";
import { makeShader } from "./shader.js";
import { drawFrame, FONT, MARGIN, say } from "./overlay.js";

const NEAR_PX = 12; // a click takes the nearest vertex within this many pixels
const DRAG_DEG = 0.5; // per pixel

export class SurfacePane {
  constructor(scene, { t, activate, maximise, tool }) {
    Object.assign(this, { scene, t, activate, maximise, tool, name: "surface", meshes: [], camera: new Camera() });
    this.canvas = document.createElement("canvas");
    this.canvas.className = "pane surface";
    this.canvas.tabIndex = 0;
    this.canvas.dataset.plane = "surface";
    this.renderer = (window.WebGL2RenderingContext && makeShader()) || new Raster();
    this.canvas.dataset.renderer = this.renderer.kind;
    this.listen();
  }

  /** Fetches the surfaces of all structures. */
  async load(api, grant, options) {
    this.meshes = await Promise.all(this.scene.structures.filter((row) => row.mesh).map(async (structure) => {
      const { file, vertices, triangles } = structure.mesh;
      const { buffer } = await api.bytes(`voxels/${grant}/${file}`, 12 * (vertices + triangles), options);
      const positions = new Float32Array(buffer, 0, 3 * vertices);
      const corners = new Uint32Array(buffer, 12 * vertices);
      return { key: file, structure, positions, triangles: corners, normals: normals(positions, corners), ...bounds(positions) };
    }));
    const low = [0, 1, 2].map((n) => Math.min(...this.meshes.map((mesh) => mesh.low[n])));
    const high = [0, 1, 2].map((n) => Math.max(...this.meshes.map((mesh) => mesh.high[n])));
    this.centre = low.map((value, n) => (value + high[n]) / 2);
    this.radius = Math.hypot(...low.map((value, n) => high[n] - value)) / 2;
    this.scene.changed(this);
  }

  step(count) {
    this.camera.rotate(0, 5 * count);
    this.scene.changed(this);
  }

  /** Arrow keys turn; true where the key was taken. */
  onKey(key) {
    const turns = { arrowleft: [-10, 0], arrowright: [10, 0], arrowup: [0, 10], arrowdown: [0, -10] }[key];
    if (turns) this.camera.rotate(...turns);
    if (turns) this.scene.changed(this);
    return Boolean(turns);
  }

  reset() {
    this.camera.reset();
    this.scene.changed(this);
  }

  zoomAt(factor) {
    this.camera.zoom = Math.max(0.3, Math.min(12, this.camera.zoom * factor));
    this.scene.changed(this);
  }

  /** CSS pixels per mm and where the middle of all surfaces lies. */
  placing() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const scale = ((0.92 * Math.min(width, height)) / (2 * this.radius)) * this.camera.zoom * 1.25;
    return { scale, x: width / 2 + this.camera.pan[0], y: height / 2 + this.camera.pan[1] };
  }

  /** CSS pixels and depth of a point, LPS mm. */
  place(point) {
    const { scale, x, y } = this.placing();
    const { right, up, toward } = this.camera.axes();
    const from = point.map((value, n) => value - this.centre[n]);
    return [x + scale * dot(from, right), y - scale * dot(from, up), dot(from, toward)];
  }

  shown() {
    if (!this.scene.show.answers) return [];
    const { toward } = this.camera.axes();
    const depth = (mesh) => dot(mesh.low.map((value, n) => (value + mesh.high[n]) / 2), toward);
    return this.meshes
      .filter(({ structure }) => structure.visible && structure.surface > 0 && (this.scene.isHere(structure) || this.scene.show.others))
      .map((mesh) => ({ ...mesh, color: rgb(mesh.structure.color), opacity: mesh.structure.surface * (this.scene.isHere(mesh.structure) ? 1 : 0.3) }))
      .sort((p, q) => (p.opacity < 1) - (q.opacity < 1) || depth(p) - depth(q)); // solid ones first, then from the back
  }

  draw() {
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height) return;
    const size = [Math.round(width * ratio), Math.round(height * ratio)];
    if (this.canvas.width !== size[0] || this.canvas.height !== size[1]) Object.assign(this.canvas, { width: size[0], height: size[1] });
    const context = this.canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, ...size);
    const unit = Math.max(1, parseFloat(getComputedStyle(this.canvas).fontSize) / 13);
    if (this.meshes.length && this.centre) {
      context.drawImage(this.picture(size, ratio), 0, 0, ...size);
      if (this.scene.show.cross) this.drawCross(context, ratio);
    }
    context.setTransform(ratio * unit, 0, 0, ratio * unit, 0, 0);
    const scale = this.centre ? this.placing().scale / unit : 0;
    drawFrame(context, { letters: this.camera.letters(), title: this.t()("surface"), scale }, width / unit, height / unit);
    context.font = FONT;
    say(context, this.camera.name(), width / unit - MARGIN, MARGIN + 6, "right", "#b6bfc9");
    this.canvas.dataset.letters = ["top", "right", "bottom", "left"].map((side) => this.camera.letters()[side]).join(" ");
    this.canvas.dataset.turn = `${this.camera.turn} ${this.camera.tilt}`;
  }

  /** The surfaces; drawn anew only where something of them has changed. */
  picture(size, ratio) {
    const meshes = this.shown();
    const finer = this.renderer.kind === "raster" && !this.drag ? 2 : 1; // edges without steps once it stands still
    const { scale, x, y } = this.placing();
    const known = JSON.stringify([size, finer, this.camera, meshes.map((mesh) => [mesh.key, mesh.color, mesh.opacity])]);
    if (known !== this.known) {
      this.known = known;
      const by = ratio * finer;
      const view = { ...this.camera.axes(), centre: this.centre, radius: this.radius, scale: scale * by, x: x * by, y: y * by };
      this.held = this.renderer.render(meshes, view, size[0] * finer, size[1] * finer);
    }
    return this.held;
  }

  drawCross(context, ratio) {
    const at = this.scene.lps(this.scene.cross);
    const length = this.radius * 0.12;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.strokeStyle = "rgba(110, 180, 255, 0.9)";
    context.lineWidth = 1.2;
    context.beginPath();
    for (let axis = 0; axis < 3; axis++) {
      const ends = [-length, length].map((mm) => this.place(at.map((value, n) => value + (n === axis ? mm : 0))));
      context.moveTo(ends[0][0], ends[0][1]);
      context.lineTo(ends[1][0], ends[1][1]);
    }
    context.stroke();
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("focus", () => this.activate(this));
    canvas.addEventListener("dblclick", () => this.maximise(this));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.activate(this);
      this.zoomAt(Math.exp(-event.deltaY / 400));
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.focus({ preventScroll: true });
      canvas.setPointerCapture(event.pointerId);
      const pan = event.button !== 0 || event.shiftKey || this.tool() === "pan";
      this.drag = { pan, last: [event.offsetX, event.offsetY], moved: 0 };
    });
    canvas.addEventListener("pointermove", (event) => this.moved(event));
    canvas.addEventListener("pointerup", (event) => {
      const click = this.drag && this.drag.moved < 4;
      this.drag = null;
      if (click) this.pick([event.offsetX, event.offsetY]);
      this.scene.changed(this);
    });
  }

  moved(event) {
    if (!this.drag) return;
    const [dx, dy] = [event.offsetX - this.drag.last[0], event.offsetY - this.drag.last[1]];
    this.drag.last = [event.offsetX, event.offsetY];
    this.drag.moved += Math.abs(dx) + Math.abs(dy);
    if (this.drag.pan) this.camera.pan = [this.camera.pan[0] + dx, this.camera.pan[1] + dy];
    else this.camera.rotate(-dx * DRAG_DEG, dy * DRAG_DEG);
    this.scene.changed(this);
  }

  /** Brings the planes to the surface below the pointer. */
  pick([x, y]) {
    if (!this.centre) return;
    const { right, up, toward } = this.camera.axes();
    const { scale, x: x0, y: y0 } = this.placing();
    let best = { depth: -Infinity };
    for (const { positions } of this.shown()) {
      for (let n = 0; n < positions.length; n += 3) {
        const [a, b, c] = [positions[n] - this.centre[0], positions[n + 1] - this.centre[1], positions[n + 2] - this.centre[2]];
        const depth = a * toward[0] + b * toward[1] + c * toward[2];
        if (depth <= best.depth) continue;
        const dx = x0 + scale * (a * right[0] + b * right[1] + c * right[2]) - x;
        const dy = y0 - scale * (a * up[0] + b * up[1] + c * up[2]) - y;
        if (dx * dx + dy * dy < NEAR_PX * NEAR_PX) best = { depth, point: [positions[n], positions[n + 1], positions[n + 2]] };
      }
    }
    if (best.point) this.scene.goTo(this.scene.indexOf(best.point));
  }

  end() {
    this.renderer.end();
  }
}

/** Unit normals of the vertices, the larger triangles counting more. */
function normals(positions, triangles) {
  const out = new Float32Array(positions.length);
  for (let n = 0; n < triangles.length; n += 3) {
    const [i, j, k] = [3 * triangles[n], 3 * triangles[n + 1], 3 * triangles[n + 2]];
    const ax = positions[j] - positions[i], ay = positions[j + 1] - positions[i + 1], az = positions[j + 2] - positions[i + 2];
    const bx = positions[k] - positions[i], by = positions[k + 1] - positions[i + 1], bz = positions[k + 2] - positions[i + 2];
    const x = ay * bz - az * by, y = az * bx - ax * bz, z = ax * by - ay * bx;
    for (const at of [i, j, k]) {
      out[at] += x;
      out[at + 1] += y;
      out[at + 2] += z;
    }
  }
  for (let n = 0; n < out.length; n += 3) {
    const length = Math.hypot(out[n], out[n + 1], out[n + 2]) || 1;
    out[n] /= length;
    out[n + 1] /= length;
    out[n + 2] /= length;
  }
  return out;
}

function bounds(positions) {
  const [low, high] = [[Infinity, Infinity, Infinity], [-Infinity, -Infinity, -Infinity]];
  for (let n = 0; n < positions.length; n++) {
    const axis = n % 3;
    if (positions[n] < low[axis]) low[axis] = positions[n];
    if (positions[n] > high[axis]) high[axis] = positions[n];
  }
  return { low, high };
}

const rgb = (color) => [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16) / 255);
const dot = (p, q) => p[0] * q[0] + p[1] * q[1] + p[2] * q[2];
