// NiiVue: volume, three planes; drawing is timed to readPixels. Bundled by viewer_peers.py.
import { Niivue } from "@niivue/niivue";
window.measure = async () => {
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width: 1060, height: 640 });
  canvas.style.cssText = "width:1060px;height:640px";
  document.body.append(canvas);
  const nv = new Niivue({ multiplanarShowRender: 0, isResizeCanvas: false });
  await nv.attachToCanvas(canvas);
  const gl = nv.gl, pixel = new Uint8Array(4);
  const draw = () => { nv.drawScene(); gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, pixel); };
  let begun = performance.now();
  await nv.loadVolumes([{ url: "volume.nii" }]);
  nv.setSliceType(nv.sliceTypeMultiplanar);
  draw();
  const ready = performance.now() - begun;
  const scrolled = [];
  for (let n = 0; n < 40; n++) {
    begun = performance.now();
    nv.scene.crosshairPos = [0.3 + n / 100, 0.3 + n / 100, 0.3 + n / 100];
    draw();
    scrolled.push(performance.now() - begun);
    await new Promise((done) => requestAnimationFrame(done));
  }
  begun = performance.now();
  Object.assign(nv.volumes[0], { cal_min: -200, cal_max: 300 });
  nv.updateGLVolume();
  draw();
  return { ready, scrolled, windowed: [performance.now() - begun] };
};
