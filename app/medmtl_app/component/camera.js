// Where the patient is looked at from: turned about the body's long axis and tilted, without perspective.
import { letters } from "./plane.js";

const DEG = Math.PI / 180;

export class Camera {
  constructor() {
    this.reset();
  }

  reset() {
    Object.assign(this, { turn: 26, tilt: 8, zoom: 1, pan: [0, 0] }); // degrees; CSS pixels
  }

  rotate(turn, tilt) {
    this.turn = ((this.turn + turn + 540) % 360) - 180;
    this.tilt = Math.max(-89, Math.min(89, this.tilt + tilt));
  }

  /** Unit vectors to the right, up and toward the viewer, LPS. */
  axes() {
    const [a, b] = [this.turn * DEG, this.tilt * DEG];
    return {
      right: [Math.cos(a), Math.sin(a), 0],
      up: [-Math.sin(a) * Math.sin(b), Math.cos(a) * Math.sin(b), Math.cos(b)],
      toward: [Math.sin(a) * Math.cos(b), -Math.cos(a) * Math.cos(b), Math.sin(b)],
    };
  }

  letters() {
    const { right, up } = this.axes();
    const minus = (p) => p.map((value) => -value);
    return { right: letters(right), left: letters(minus(right)), top: letters(up), bottom: letters(minus(up)) };
  }

  /** The angle as angiography names it: left or right anterior oblique, cranial or caudal. */
  name() {
    const [turn, tilt] = [Math.round(this.turn), Math.round(this.tilt)];
    return [turn && `${turn > 0 ? "LAO" : "RAO"} ${Math.abs(turn)}°`, tilt && `${tilt > 0 ? "CRA" : "CAU"} ${Math.abs(tilt)}°`]
      .filter(Boolean).join("  ") || "AP";
  }
}
