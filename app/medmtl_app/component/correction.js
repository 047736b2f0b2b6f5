// The bar of the brush: what it draws, how wide, undo and redo, islands.
import { BRUSHES } from "./brush.js";
import { h, icon } from "./dom.js";
import { gzipped } from "./review.js";

export function correctionBar(app) {
  if (!BRUSHES.includes(app.tool) || !app.brush) return null;
  const { t, brush, scene } = app;
  const choices = [...scene.structures, ...scene.absent];
  const pick = h("select", {
    "data-testid": "target", "aria-label": t("draw_what"),
    onchange: ({ target }) => app.drawOn(choices[Number(target.value)]),
  }, ...choices.map((row, n) => h("option", { value: n, selected: row === brush.target }, optionTitle(app, row))));
  const width = h("input", {
    type: "range", min: 0.5, max: 60, step: 0.5, value: brush.radius, "aria-label": t("radius"), "data-testid": "radius",
    oninput: ({ target }) => { brush.radius = Number(target.value); brush.told(); },
  });
  const least = h("input", { type: "number", class: "amount-field", min: 0.01, step: 0.01, value: app.open.page.review.minimum_lesion_ml || 0.1, "aria-label": t("island_ml"), "data-testid": "island-ml" });
  const tool = (name) => h("button", { "aria-pressed": String(app.tool === name), title: t(`tool_${name}`), "aria-label": t(`tool_${name}`), "data-testid": name, onclick: () => app.tool !== name && app.setTool(name) }, icon(name));
  const small = (testid, text, does, off, sign) => h("button", { class: "small", "data-testid": testid, disabled: off, title: text, "aria-label": text, onclick: does }, sign ? icon(sign) : text);
  const swatch = h("i", { class: "swatch" });
  swatch.style.background = brush.target?.color ?? "transparent";
  return h("div", { class: "correction", role: "toolbar", "aria-label": t("correct") },
    h("div", { class: "segments" }, ...BRUSHES.map(tool)),
    swatch, pick,
    h("label", {}, width, h("span", { class: "mm" }, `${brush.radius.toFixed(1)} mm`)),
    small("undo", t("undo"), () => brush.undo(), !brush.done.length, "undo"),
    small("redo", t("redo"), () => brush.redo(), !brush.undone.length, "redo"),
    small("largest", t("keep_largest"), () => dropIslands(app, 0)),
    h("span", { class: "islands" }, small("islands", t("drop_islands"), () => dropIslands(app, leastVoxels(scene, Number(least.value)))), least, "mL"),
    brush.dirty ? h("em", { class: "unsaved", "data-testid": "unsaved" }, changeText(app)) : null,
    h("button", { class: "icon-button", title: t("close"), "aria-label": t("close"), onclick: () => app.setTool("crosshair") }, icon("cross")));
}

/** A structure's name; with its channel where there are several, since one may be drawn on each. */
function optionTitle(app, row) {
  const { channels } = app.scene;
  return [app.say(row.title) || row.name, channels.length > 1 ? channels[row.channel].name : ""].filter(Boolean).join(" · ");
}

/** What the strokes changed of the structure in hand. */
function changeText(app) {
  const ml = ((app.brush.target.delta ?? 0) * voxelMl(app.scene.view)).toFixed(1);
  return app.t("unsaved", { ml: ml.startsWith("-") ? ml.replace("-", "\u2212") : `+${ml}` });
}

function leastVoxels(scene, ml) {
  return Math.max(1, Math.ceil(ml / voxelMl(scene.view) - 1e-9));
}

export function voxelMl({ affine_lps: m }) {
  const det = m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0]) + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0]);
  return Math.abs(det) / 1000;
}

async function dropIslands(app, least) {
  const ask = async (bytes, shape, voxels) => {
    const path = `islands/${app.open.grant}?shape=${shape.join(",")}&least=${voxels}`;
    return app.api.bytes(path, bytes.length, { method: "POST", body: await gzipped(bytes) });
  };
  try {
    const gone = await app.brush.dropIslands(least, ask);
    app.tell(gone ? app.t("islands_gone", { ml: (gone * voxelMl(app.scene.view)).toFixed(2) }) : app.t("no_islands"));
  } catch {
    app.tell(app.t("not_possible"));
  }
}
