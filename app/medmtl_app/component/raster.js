// The same surfaces without WebGL: triangles into a depth buffer, by hand.

const LIGHT = [-0.342, 0.44, 0.83];

export class Raster {
  constructor() {
    this.kind = "raster";
    this.canvas = document.createElement("canvas");
    this.held = new Map();
  }

  /** As Shader.render: opaque meshes come first, the others from back to front. */
  render(meshes, view, width, height) {
    this.size(width, height);
    this.depth.fill(-Infinity);
    this.words.fill(0);
    for (const mesh of meshes) {
      const seen = this.project(mesh, view);
      if (mesh.opacity >= 1) this.fill(mesh, seen, this.depth, this.words, table(mesh));
      else this.blend(mesh, seen);
    }
    this.canvas.getContext("2d").putImageData(this.pixels, 0, 0);
    return this.canvas;
  }

  size(width, height) {
    if (this.canvas.width === width && this.canvas.height === height && this.pixels) return;
    Object.assign(this.canvas, { width, height });
    this.pixels = new ImageData(width, height);
    this.words = new Uint32Array(this.pixels.data.buffer);
    this.depth = new Float32Array(width * height);
    this.own = { depth: new Float32Array(width * height), words: new Uint32Array(width * height) };
  }

  /** Screen x, y, depth and brightness (0 to 255) of every vertex. */
  project({ key, positions, normals }, { right, up, toward, centre, scale, x, y }) {
    const count = positions.length / 3;
    if (!this.held.has(key)) this.held.set(key, new Float32Array(4 * count));
    const out = this.held.get(key);
    for (let n = 0, p = 0, o = 0; n < count; n++, p += 3, o += 4) {
      const [a, b, c] = [positions[p] - centre[0], positions[p + 1] - centre[1], positions[p + 2] - centre[2]];
      out[o] = x + scale * (a * right[0] + b * right[1] + c * right[2]);
      out[o + 1] = y - scale * (a * up[0] + b * up[1] + c * up[2]);
      out[o + 2] = a * toward[0] + b * toward[1] + c * toward[2];
      const [e, f, g] = [normals[p], normals[p + 1], normals[p + 2]];
      const lit = LIGHT[0] * (e * right[0] + f * right[1] + g * right[2]) + LIGHT[1] * (e * up[0] + f * up[1] + g * up[2]) +
        LIGHT[2] * (e * toward[0] + f * toward[1] + g * toward[2]);
      out[o + 3] = lit > 0 ? 255 * lit : 0;
    }
    return out;
  }

  fill({ triangles }, seen, depth, words, colors) {
    const { width, height } = this.canvas;
    for (let n = 0; n < triangles.length; n += 3) {
      const [i, j, k] = [4 * triangles[n], 4 * triangles[n + 1], 4 * triangles[n + 2]];
      const x0 = seen[i], y0 = seen[i + 1], x1 = seen[j], y1 = seen[j + 1], x2 = seen[k], y2 = seen[k + 1];
      const area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0);
      if (area >= 0) continue; // turned away (y runs down)
      const left = Math.max(0, Math.ceil(Math.min(x0, x1, x2) - 0.5)), last = Math.min(width - 1, Math.floor(Math.max(x0, x1, x2) - 0.5));
      const top = Math.max(0, Math.ceil(Math.min(y0, y1, y2) - 0.5)), end = Math.min(height - 1, Math.floor(Math.max(y0, y1, y2) - 0.5));
      if (left > last || top > end) continue;
      const z0 = seen[i + 2], s0 = seen[i + 3];
      const dz1 = seen[j + 2] - z0, dz2 = seen[k + 2] - z0, ds1 = seen[j + 3] - s0, ds2 = seen[k + 3] - s0;
      const one = 1 / area;
      for (let y = top; y <= end; y++) {
        for (let x = left, at = y * width + left; x <= last; x++, at++) {
          const dx = x + 0.5 - x0, dy = y + 0.5 - y0;
          const v = ((dx * (y2 - y0)) - (dy * (x2 - x0))) * one;
          const w = ((dy * (x1 - x0)) - (dx * (y1 - y0))) * one;
          if (v < 0 || w < 0 || v + w > 1) continue;
          const z = z0 + v * dz1 + w * dz2;
          if (z <= depth[at]) continue;
          depth[at] = z;
          words[at] = colors[(s0 + v * ds1 + w * ds2) | 0];
        }
      }
    }
  }

  blend(mesh, seen) {
    const { own, depth, words } = this;
    own.depth.fill(-Infinity);
    this.fill(mesh, seen, own.depth, own.words, table(mesh));
    const share = mesh.opacity;
    for (let at = 0; at < depth.length; at++) {
      if (own.depth[at] <= depth[at]) continue;
      const [over, under] = [own.words[at], words[at]];
      const alpha = share + ((under >>> 24) / 255) * (1 - share);
      const mix = (shift) => (((over >>> shift) & 255) * share + ((under >>> shift) & 255) * ((under >>> 24) / 255) * (1 - share)) / alpha;
      words[at] = ((255 * alpha) << 24) | (mix(16) << 16) | (mix(8) << 8) | mix(0);
    }
  }

  end() {}
}

/** The mesh's colour at 256 brightnesses, as packed pixels. */
function table({ color }) {
  return Uint32Array.from({ length: 256 }, (_, n) => {
    const shine = 40 * (n / 255) ** 24;
    const [r, g, b] = color.map((value) => Math.min(255, 255 * value * (0.28 + (0.8 * n) / 255) + shine));
    return (255 << 24) | (b << 16) | (g << 8) | r;
  });
}
