// The keyboard. Keys typed into a field belong to the field.

export const KEYS = [
  { name: "slice", shown: ["↑", "↓"], keys: ["arrowup", "arrowdown"], does: (app, key) => app.active.step(key === "arrowup" ? 1 : -1) },
  { name: "slices", shown: ["PgUp", "PgDn"], keys: ["pageup", "pagedown"], does: (app, key) => app.active.step(key === "pageup" ? 5 : -5) },
  { name: "plane", shown: ["←", "→"], keys: ["arrowleft", "arrowright"], does: (app, key) => other(app, key === "arrowright" ? 1 : -1) },
  { name: "presets", shown: ["1", "–", "4"], keys: ["1", "2", "3", "4"], does: (app, key) => preset(app, Number(key) - 1) },
  { name: "contours", shown: ["C"], keys: ["c"], does: (app) => app.toggle("contours") },
  { name: "fill", shown: ["F"], keys: ["f"], does: (app) => app.toggle("fill") },
  { name: "cross", shown: ["X"], keys: ["x"], does: (app) => app.toggle("cross") },
  { name: "channel", shown: ["V"], keys: ["v"], does: (app, key, event) => (event.shiftKey ? app.toggle("others") : app.nextChannel()) },
  { name: "others", shown: ["Shift V"], keys: [], does: () => {} },
  { name: "next", shown: ["N"], keys: ["n"], does: (app, key, event) => app.goToLesion(app.current + (event.shiftKey ? -1 : 1)) },
  { name: "measure", shown: ["M"], keys: ["m"], does: (app) => app.setTool("measure") },
  { name: "diameters", shown: ["D"], keys: ["d"], does: (app) => app.setTool("diameters") },
  { name: "accept", shown: ["A"], keys: ["a"], does: (app) => app.decide("accepted") },
  { name: "reject", shown: ["R"], keys: ["r"], does: (app) => app.decide("rejected") },
  { name: "brush", shown: ["B"], keys: ["b"], does: (app) => app.brush && app.setTool("brush") },
  { name: "eraser", shown: ["E"], keys: ["e"], does: (app) => app.brush && app.setTool("eraser") },
  { name: "radius", shown: ["[", "]"], keys: ["[", "]"], does: (app, key) => app.brush?.resize(key === "[" ? 0.8 : 1.25) },
  { name: "undo", shown: ["Ctrl Z", "Ctrl Y"], keys: [], does: () => {} },
  { name: "window", shown: ["W"], keys: ["w"], does: (app) => app.setTool("window") },
  { name: "pan", shown: ["P"], keys: ["p"], does: (app) => app.setTool("pan") },
  { name: "zoom", shown: ["+", "−"], keys: ["+", "=", "-"], does: (app, key) => zoom(app, key === "-" ? 0.8 : 1.25) },
  { name: "reset", shown: ["0"], keys: ["0"], does: (app) => app.resetView() },
  { name: "heat", shown: ["G"], keys: ["g"], does: (app) => app.toggleHeat() },
  { name: "capture", shown: ["S"], keys: ["s"], does: (app, key, event) => app.capture(event.shiftKey ? [app.active] : null) },
  { name: "person", shown: ["I"], keys: ["i"], does: (app, key, event) => event.repeat || app.togglePerson() },
  { name: "reveal", shown: ["O"], keys: ["o"], does: (app) => app.reveal() },
  { name: "large", shown: ["Z"], keys: ["z"], does: (app) => app.maximise(app.active) },
  { name: "unmeasure", shown: ["Del"], keys: ["delete", "backspace"], does: (app) => app.scene.measures.pop() },
  { name: "hide", shown: ["H"], keys: ["h"], does: (app, key, event) => event.repeat || app.toggle("answers", false) },
  { name: "all_keys", shown: ["?"], keys: ["?"], does: (app) => app.showKeys() },
];

export function onKey(app, event) {
  const field = event.composedPath()[0];
  const typed = /^(INPUT|SELECT|TEXTAREA)$/.test(field?.tagName ?? "");
  if ((event.ctrlKey || event.metaKey) && !typed && undo(app, event)) return;
  if (typed || event.ctrlKey || event.metaKey || event.altKey || !app.scene || app.frame.querySelector("dialog[open]")) return;
  const key = event.key.toLowerCase();
  const row = KEYS.find((one) => one.keys.includes(key));
  if (!row) return;
  event.preventDefault();
  event.stopPropagation(); // Streamlit has keys of its own: C clears its caches
  if (app.active.onKey?.(key)) return;
  row.does(app, key, event);
}

/** Ctrl+Z, and Ctrl+Y or Ctrl+Shift+Z. */
function undo(app, event) {
  const key = event.key.toLowerCase();
  if (!app.brush || !["z", "y"].includes(key)) return false;
  event.preventDefault();
  if (key === "y" || event.shiftKey) app.brush.redo();
  else app.brush.undo();
  return true;
}

function other(app, step) {
  const place = app.panes.indexOf(app.active) + step;
  const pane = app.panes.at(place % app.panes.length);
  pane.canvas.focus({ preventScroll: true });
  app.activate(pane);
}

function preset(app, place) {
  const row = app.scene.windows[place];
  if (row) app.setPreset(row);
}

function zoom(app, factor) {
  const { canvas } = app.active;
  app.active.zoomAt(factor, [canvas.clientWidth / 2, canvas.clientHeight / 2]);
}
