// Rulers and pairs of diameters (long axis, and the short one at right angles to it), in mm in the patient.
import { FONT, say } from "./overlay.js";

const REACH_PX = 9; // how near the pointer must be to an end to move it
const COLOR = "#7fd4ff";
export const MEASURES = ["measure", "diameters"];

export class Measures {
  constructor(scene) {
    this.scene = scene;
    this.list = [];
    this.held = null; // { measure, end }
  }

  /** Takes hold of an end below the pointer, or begins a new measure there. */
  begin(pane, point, kind) {
    for (const measure of this.of(pane)) {
      const end = ends(pane, measure).findIndex((at) => distance(onScreen(pane, at), point) < REACH_PX);
      if (end >= 0) {
        this.held = { measure, end };
        return;
      }
    }
    const at = pane.plane.mm(pane.indexAt(point));
    const measure = { kind, plane: pane.name, slice: pane.slice, from: at, to: at, short: kind === "diameters" ? { share: 0.5, above: 0, below: 0 } : null };
    this.list.push(measure);
    this.held = { measure, end: 1, fresh: true };
  }

  drag(pane, point) {
    const { measure, end, fresh } = this.held;
    const at = pane.plane.mm(pane.indexAt(point));
    if (end === 0) measure.from = at;
    else if (end === 1) measure.to = at;
    else dragShort(measure, end, at);
    if (fresh && measure.short) measure.short.above = measure.short.below = distance(measure.from, measure.to) / 4;
  }

  pop() {
    this.list.pop();
    this.scene.changed();
  }

  of(pane) {
    return this.list.filter((measure) => measure.plane === pane.name && measure.slice === pane.slice);
  }

  /** In units of the overlay. */
  draw(context, pane) {
    const unit = pane.unit();
    for (const measure of this.of(pane)) {
      const spots = ends(pane, measure).map((at) => onScreen(pane, at).map((value) => value / unit));
      for (const [style, line] of [["rgba(0, 0, 0, 0.7)", 4], [COLOR, 1.5]]) {
        context.strokeStyle = style;
        context.lineWidth = line;
        context.beginPath();
        for (let n = 0; n < spots.length; n += 2) {
          context.moveTo(...spots[n]);
          context.lineTo(...spots[n + 1]);
        }
        context.stroke();
      }
      context.fillStyle = COLOR;
      for (const [x, y] of spots) context.fillRect(x - 2, y - 2, 4, 4);
      context.font = FONT;
      context.textBaseline = "middle";
      const last = spots.reduce((p, q) => (q[0] > p[0] ? q : p));
      say(context, lengths(measure), last[0] + 8, last[1] - 8, "left", COLOR);
    }
  }
}

/** "34.5 mm", or the longer and the shorter of two diameters. */
export function lengths({ from, to, short }) {
  const found = [distance(from, to), ...(short ? [short.above + short.below] : [])];
  return `${found.sort((p, q) => q - p).map((mm) => mm.toFixed(1)).join(" × ")} mm`;
}

/** In mm of the plane: both ends of the long axis, then of the short one. */
function ends(pane, { from, to, short }) {
  if (!short) return [from, to];
  const { middle, aside } = across({ from, to, short });
  return [from, to, [0, 1].map((n) => middle[n] + short.above * aside[n]), [0, 1].map((n) => middle[n] - short.below * aside[n])];
}

function across({ from, to, short }) {
  const length = distance(from, to) || 1;
  const along = [0, 1].map((n) => (to[n] - from[n]) / length);
  return { length, along, aside: [-along[1], along[0]], middle: [0, 1].map((n) => from[n] + short.share * (to[n] - from[n])) };
}

/** Ends of the short axis move along it, and with it along the long one. */
function dragShort(measure, end, at) {
  const { length, along, aside } = across(measure);
  const from = [at[0] - measure.from[0], at[1] - measure.from[1]];
  measure.short.share = Math.max(0, Math.min(1, (from[0] * along[0] + from[1] * along[1]) / length));
  const off = from[0] * aside[0] + from[1] * aside[1];
  if (end === 2) measure.short.above = Math.max(off, -measure.short.below);
  else measure.short.below = Math.max(-off, -measure.short.above);
}

function onScreen(pane, [mmX, mmY]) {
  const { scale, x, y } = pane.placing();
  return [x + scale * mmX, y + scale * mmY];
}

const distance = (p, q) => Math.hypot(p[0] - q[0], p[1] - q[1]);
