// The model's probability of one structure, as colours over the image.
import { FONT, say } from "./overlay.js";

// from little to certain; chosen so that they rise in brightness evenly
const STOPS = [[0.05, 72, 20, 110], [0.25, 150, 32, 110], [0.5, 222, 73, 66], [0.75, 252, 156, 40], [1, 252, 248, 150]];
const LOWEST = 0.05;
const BAR = { width: 8, height: 110 };

export class Heat {
  constructor(scene) {
    this.scene = scene;
    this.structure = null;
    this.table = Uint32Array.from({ length: 256 }, (_, n) => pixel(n / 255));
    this.slices = new Map();
  }

  /** Shows the map of a structure, fetched when first asked for; null shows none. */
  async choose(structure, fetchBytes) {
    this.structure = structure;
    this.slices.clear();
    if (structure && !structure.probability) {
      const { file, shape } = structure.heat;
      structure.probability = await fetchBytes(file, shape.reduce((product, n) => product * n, 1));
    }
    this.scene.changed();
  }

  get shown() {
    const { scene, structure } = this;
    return scene.show.answers && structure?.probability && scene.isHere(structure) ? structure : null;
  }

  /** Draws the slice of `pane`; the context's unit is a pixel of the pane's image. */
  draw(context, pane) {
    if (!this.shown) return;
    const canvas = this.slice(pane.plane, pane.slice);
    if (canvas) context.drawImage(canvas, 0, 0);
  }

  slice(plane, w) {
    const { structure } = this;
    const { low, shape } = structure.heat;
    if (w < low[plane.w] || w >= low[plane.w] + shape[plane.w]) return null;
    const held = this.slices.get(plane.name);
    if (held?.w === w) return held.canvas;
    const canvas = held?.canvas ?? document.createElement("canvas");
    const { repeatU, repeatV } = plane;
    Object.assign(canvas, { width: plane.nu * repeatU, height: plane.nv * repeatV });
    const [nu, nv] = [shape[plane.u], shape[plane.v]];
    const pixels = new ImageData(nu * repeatU, nv * repeatV);
    const words = new Uint32Array(pixels.data.buffer);
    const step = [1, shape[0], shape[0] * shape[1]];
    const base = (w - low[plane.w]) * step[plane.w];
    for (let y = 0; y < nv * repeatV; y++) {
      const down = Math.floor(y / repeatV);
      const v = plane.flip ? nv - 1 - down : down;
      for (let x = 0; x < nu * repeatU; x++) {
        words[y * nu * repeatU + x] = this.table[structure.probability[base + v * step[plane.v] + Math.floor(x / repeatU) * step[plane.u]]];
      }
    }
    const top = plane.flip ? plane.nv - low[plane.v] - nv : low[plane.v];
    canvas.getContext("2d").putImageData(pixels, low[plane.u] * repeatU, top * repeatV);
    this.slices.set(plane.name, { w, canvas });
    return canvas;
  }

  /** The scale of colours, in units of the overlay. */
  drawLegend(context, width, height, title) {
    if (!this.shown || height < 200) return;
    const [x, top] = [width - 20, (height - BAR.height) / 2 - 70];
    const ramp = context.createLinearGradient(0, top + BAR.height, 0, top);
    for (const [p, r, g, b] of STOPS) ramp.addColorStop(Math.max(0, (p - LOWEST) / (1 - LOWEST)), `rgb(${r}, ${g}, ${b})`);
    context.fillStyle = ramp;
    context.fillRect(x, top, BAR.width, BAR.height);
    context.font = FONT;
    say(context, "100 %", x - 6, top + 6, "right", "#b6bfc9");
    say(context, `${100 * LOWEST} %`, x - 6, top + BAR.height - 6, "right", "#b6bfc9");
    say(context, title, x + BAR.width, top - 12, "right");
  }
}

/** A packed pixel; what is unlikely is nearly clear. */
function pixel(p) {
  if (p < LOWEST) return 0;
  const next = Math.max(1, STOPS.findIndex(([from]) => from >= p));
  const [[p0, ...low], [p1, ...high]] = [STOPS[next - 1], STOPS[next]];
  const [r, g, b] = low.map((value, n) => Math.round(value + ((p - p0) / (p1 - p0)) * (high[n] - value)));
  return ((255 * (0.25 + 0.5 * p)) << 24) | (b << 16) | (g << 8) | r;
}
