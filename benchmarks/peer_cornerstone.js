// Cornerstone without a GPU: one plane as a stack; drawing is timed to IMAGE_RENDERED. Bundled by viewer_peers.py.
import { init, RenderingEngine, Enums, imageLoader, metaData, setUseCPURendering, utilities } from "@cornerstonejs/core";
window.measure = async () => {
  const [nx, ny, nz] = [512, 512, 300];
  let begun = performance.now();
  const voxels = new Int16Array(await (await fetch("volume.raw")).arrayBuffer());
  await init();
  setUseCPURendering(true);
  const plane = (id) => ({ imagePositionPatient: [0, 0, Number(id.split(":")[1])], imageOrientationPatient: [1, 0, 0, 0, 1, 0],
    rowCosines: [1, 0, 0], columnCosines: [0, 1, 0], rowPixelSpacing: 0.75, columnPixelSpacing: 0.75, pixelSpacing: [0.75, 0.75],
    rows: ny, columns: nx, frameOfReferenceUID: "1.2.3", sliceThickness: 1 });
  const modules = {
    imagePlaneModule: plane,
    imagePixelModule: () => ({ bitsAllocated: 16, bitsStored: 16, highBit: 15, pixelRepresentation: 1, samplesPerPixel: 1, photometricInterpretation: "MONOCHROME2", rows: ny, columns: nx }),
    generalSeriesModule: () => ({ modality: "CT", seriesInstanceUID: "1.2.4" }),
    voiLutModule: () => ({ windowCenter: [40], windowWidth: [400] }),
    modalityLutModule: () => ({ rescaleSlope: 1, rescaleIntercept: 0 }),
  };
  metaData.addProvider((type, id) => modules[type]?.(id), 10000);
  imageLoader.registerImageLoader("bench", (imageId) => {
    const k = Number(imageId.split(":")[1]);
    const scalarData = voxels.subarray(k * nx * ny, (k + 1) * nx * ny);
    const image = {
      imageId, minPixelValue: -300, maxPixelValue: 400, slope: 1, intercept: 0, windowCenter: 40, windowWidth: 400,
      getPixelData: () => scalarData, rows: ny, columns: nx, height: ny, width: nx, color: false, rgba: false, numberOfComponents: 1,
      columnPixelSpacing: 0.75, rowPixelSpacing: 0.75, invert: false, sizeInBytes: 2 * nx * ny, photometricInterpretation: "MONOCHROME2",
      dataType: "Int16Array", voiLUTFunction: "LINEAR",
      voxelManager: utilities.VoxelManager.createImageVoxelManager({ width: nx, height: ny, scalarData, numberOfComponents: 1 }),
    };
    return { promise: Promise.resolve(image) };
  });
  const element = document.createElement("div");
  element.style.cssText = "width:640px;height:640px";
  document.body.append(element);
  const engine = new RenderingEngine("engine");
  engine.enableElement({ viewportId: "one", type: Enums.ViewportType.STACK, element });
  const viewport = engine.getViewport("one");
  const rendered = () => new Promise((done) => element.addEventListener(Enums.Events.IMAGE_RENDERED, done, { once: true }));
  let seen = rendered();
  await viewport.setStack(Array.from({ length: nz }, (_, k) => `bench:${k}`), 150);
  viewport.render();
  await seen;
  const ready = performance.now() - begun;
  const scrolled = [], windowed = [];
  for (let n = 0; n < 60; n++) {
    begun = performance.now();
    seen = rendered();
    await viewport.setImageIdIndex(100 + n);
    await seen;
    scrolled.push(performance.now() - begun);
  }
  for (let n = 0; n < 40; n++) {
    begun = performance.now();
    seen = rendered();
    viewport.setProperties({ voiRange: { lower: -160 - n, upper: 240 + n } });
    viewport.render();
    await seen;
    windowed.push(performance.now() - begun);
  }
  return { ready, scrolled, windowed };
};
