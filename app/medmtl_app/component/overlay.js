// Texts and lines over an image: letters, scale bar, slice, window, value under the cursor, crosshair.

export const FONT = '12px Inter, "Segoe UI", "Source Sans", system-ui, sans-serif';
export const MARGIN = 12;
const STEPS_MM = [1, 2, 5, 10, 20, 50, 100, 200];

/** All that lies over the image; lengths are in units of the page's text size, so that it grows with the screen. */
export function drawOverlay(context, pane, ratio) {
  const unit = pane.unit();
  context.setTransform(ratio * unit, 0, 0, ratio * unit, 0, 0);
  const [width, height] = [pane.canvas.clientWidth / unit, pane.canvas.clientHeight / unit];
  const { scene, plane } = pane;
  scene.measures.draw(context, pane);
  if (scene.show.cross) drawCross(context, pane, width, height);
  drawLesionNumbers(context, pane);
  const t = pane.t();
  const channel = scene.channels.length > 1 ? ` · ${scene.channels[scene.channel].name}` : "";
  const title = t(plane.name) + (plane.oblique ? `, ${t("oblique")}` : "") + channel;
  const scale = pane.placing().scale / unit;
  const shift = drawFrame(context, { letters: plane.letters, title, scale }, width, height) + 8;
  const [place, gap] = [`${pane.sliceNumber} / ${plane.nw}`, `${plane.gap.toFixed(1)} mm`];
  const room = MARGIN + shift + context.measureText(place).width < width / 2 - MARGIN; // beside the letter at the top
  if (room) say(context, place, MARGIN + shift, MARGIN + 6, "left", "#b6bfc9");
  say(context, room ? gap : `${place} · ${gap}`, MARGIN, MARGIN + 23, "left", "#b6bfc9");
  const { acquired } = pane; // slices at uneven distances: the planes between them are interpolated
  if (acquired) say(context, acquired.first === acquired.last ? t("on_slice", acquired) : t("between_slices", acquired), MARGIN, MARGIN + 40, "left", "#b6bfc9");
  if (width > 560) {
    say(context, `W ${number(scene.width)}  L ${number(scene.level)}`, width - MARGIN, MARGIN + 6, "right", "#b6bfc9");
    say(context, `${pane.placing().scale.toFixed(1)} px/mm`, width - MARGIN, MARGIN + 23, "right", "#b6bfc9");
  }
  drawValue(context, pane, width, height);
  if (width > 420) scene.heat.drawLegend(context, width, height, pane.structureName(scene.heat.structure));
}

/** What every pane has: letters of the directions, its title and a scale bar; the width of the title. */
export function drawFrame(context, { letters, title, scale }, width, height) {
  context.font = FONT;
  context.textBaseline = "middle";
  say(context, letters.top, width / 2, MARGIN + 6, "center");
  say(context, letters.bottom, width / 2, height - MARGIN - 6, "center");
  say(context, letters.left, MARGIN, height / 2, "left");
  say(context, letters.right, width - MARGIN, height / 2, "right");
  drawScale(context, scale, width, height);
  context.font = `600 ${FONT}`;
  say(context, title, MARGIN, MARGIN + 6, "left");
  const taken = context.measureText(title).width;
  context.font = FONT;
  return taken;
}

export function say(context, text, x, y, align, color = "#e6e9ed") {
  context.textAlign = align;
  context.lineWidth = 3;
  context.lineJoin = "round";
  context.strokeStyle = "rgba(0, 0, 0, 0.75)";
  context.strokeText(text, x, y);
  context.fillStyle = color;
  context.fillText(text, x, y);
}

function drawCross(context, pane, width, height) {
  const [x, y] = pane.spot(pane.scene.cross).map((value) => Math.round(value) + 0.5);
  const gap = 14;
  context.strokeStyle = "rgba(90, 160, 240, 0.75)";
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(0, y);
  context.lineTo(x - gap, y);
  context.moveTo(x + gap, y);
  context.lineTo(width, y);
  context.moveTo(x, 0);
  context.lineTo(x, y - gap);
  context.moveTo(x, y + gap);
  context.lineTo(x, height);
  context.stroke();
}

function drawLesionNumbers(context, pane) {
  context.font = `700 13px ${FONT.slice(5)}`;
  context.textBaseline = "middle";
  for (const lesion of pane.scene.lesionsIn(pane.plane, pane.slice)) {
    const ends = [lesion.low, lesion.high].map((index) => pane.spot(index));
    const x = Math.max(ends[0][0], ends[1][0]) + 8;
    const y = Math.min(ends[0][1], ends[1][1]) - 2;
    say(context, String(lesion.id), x, y, "left", "#f5bd42");
  }
}

function drawScale(context, scale, width, height) {
  if (!scale) return;
  const most = Math.min(width * 0.26, 140);
  const mm = STEPS_MM.filter((step) => step * scale <= most).at(-1);
  if (!mm) return;
  const y = height - MARGIN - 6;
  for (const [style, line] of [["rgba(0, 0, 0, 0.75)", 4], ["#e6e9ed", 1.5]]) {
    context.strokeStyle = style;
    context.lineWidth = line;
    context.beginPath();
    context.moveTo(MARGIN, y - 4);
    context.lineTo(MARGIN, y);
    context.lineTo(MARGIN + mm * scale, y);
    context.lineTo(MARGIN + mm * scale, y - 4);
    context.stroke();
  }
  say(context, `${mm} mm`, MARGIN + mm * scale + 8, y - 2, "left", "#b6bfc9");
}

function drawValue(context, pane, width, height) {
  if (!pane.pointer) return;
  const { scene } = pane;
  const index = pane.indexAt(pane.pointer);
  const value = scene.value(index);
  if (value === null) return;
  const [x, y, z] = scene.lps(index);
  const side = (mm, plus, minus) => `${mm < 0 ? minus : plus} ${Math.abs(mm).toFixed(1)}`;
  const where = `${side(x, "L", "R")}  ${side(y, "P", "A")}  ${side(z, "H", "F")} mm`;
  say(context, `${number(value)} ${scene.view.unit}`.trim(), width - MARGIN, height - MARGIN - 23, "right");
  if (width > 420) say(context, where, width - MARGIN, height - MARGIN - 6, "right", "#b6bfc9");
}

function number(value) {
  const text = Math.abs(value) >= 100 || Number.isInteger(value) ? Math.round(value).toString() : Number(value.toPrecision(3)).toString();
  return text.replace("-", "\u2212");
}
