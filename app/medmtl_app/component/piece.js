// One lesion as a set of voxels: found on the maps as they are now, hidden from its structure when it is rejected.

export class Piece {
  /** @param lesion with `jump`, `low`, `high`; @param rows the structures that lesions consist of. */
  constructor(scene, lesion, rows) {
    const { low, high } = lesion;
    Object.assign(this, { id: lesion.id, low, high, shape: low.map((start, n) => high[n] - start + 1), view: scene.view });
    const [ni, nj] = this.shape;
    const [mi, mj] = scene.view.shape;
    this.bits = new Uint8Array(ni * nj * this.shape[2]);
    const inside = (i, j, k) => {
      const at = low[0] + i + mi * (low[1] + j + mj * (low[2] + k));
      return rows.some((row) => scene.maps[row.map]?.[at] === row.value);
    };
    const waiting = [lesion.jump.map((value, n) => value - low[n])];
    while (waiting.length) {
      const [i, j, k] = waiting.pop();
      for (let dk = -1; dk <= 1; dk++) {
        for (let dj = -1; dj <= 1; dj++) {
          for (let di = -1; di <= 1; di++) {
            const [x, y, z] = [i + di, j + dj, k + dk];
            if (x < 0 || y < 0 || z < 0 || x >= ni || y >= nj || z >= this.shape[2]) continue;
            const at = x + ni * (y + nj * z);
            if (this.bits[at] || !inside(x, y, z)) continue;
            this.bits[at] = 255;
            waiting.push([x, y, z]);
          }
        }
      }
    }
    // drawn like a structure of its own
    Object.assign(this, { levels: this.bits, field: { low, shape: this.shape } });
  }

  /** Whether the voxel at this place of the whole array is of the piece. */
  holds(at) {
    const [mi, mj] = this.view.shape;
    const i = (at % mi) - this.low[0];
    const j = (Math.floor(at / mi) % mj) - this.low[1];
    const k = Math.floor(at / (mi * mj)) - this.low[2];
    const [ni, nj, nk] = this.shape;
    return i >= 0 && j >= 0 && k >= 0 && i < ni && j < nj && k < nk && this.bits[i + ni * (j + nj * k)] > 0;
  }
}
