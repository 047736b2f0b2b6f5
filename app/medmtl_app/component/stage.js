// The middle: the planes of a study, or what stands in their place.
import { correctionBar } from "./correction.js";
import { h, sentence } from "./dom.js";
import { bar, sampleButton, stateLine } from "./worklist.js";

export function stage(app) {
  if (app.scene) return planes(app);
  return app.open ? waiting(app) : welcome(app);
}

function planes(app) {
  const loading = h("i", { class: "loading" });
  loading.hidden = app.loaded >= 1;
  const panes = app.maximised ? [app.maximised] : app.panes;
  for (const pane of app.panes) pane.canvas.setAttribute("aria-label", app.t(pane.name));
  const solid = app.scene.structures.some((row) => row.mesh);
  const awaited = solid && !app.maximised && panes.length === 3 ? h("div", { class: "pane" }) : null; // its place, until it is loaded
  const layout = app.maximised ? "planes one" : solid ? "planes four" : "planes";
  return [h("div", { class: "correction-place" }, correctionBar(app)), h("div", { class: layout }, ...panes.map((pane) => pane.canvas), awaited), loading];
}

function waiting(app) {
  const { t } = app;
  const { study } = app.open;
  const active = study.state === "running" || study.state === "waiting";
  const stuck = ["failed", "cancelled"].includes(study.state);
  return h("div", { class: "middle", role: "status" },
    h("h1", {}, app.title(study)),
    h("p", { class: "big" }, stateLine(app, study)),
    active ? bar(study.state === "running" && study.total ? study.done / study.total : null) : null,
    study.message ? h("p", { class: "why" }, sentence(study.message), h("code", {}, study.code)) : null,
    active ? h("button", { onclick: () => app.act(`studies/${study.id}/cancel`, { method: "POST" }) }, t("cancel")) : null,
    stuck ? h("div", { class: "buttons" },
      h("button", { class: "primary", onclick: () => app.act(`studies/${study.id}/run`, { method: "POST", body: "{}" }) }, t("run_again")),
      h("button", { onclick: () => app.remove(study) }, t("remove"))) : null);
}

function welcome(app) {
  const { t } = app;
  const input = app.parts.worklist.querySelector("[data-testid=file-input]");
  return h("div", { class: "middle" },
    h("h1", {}, t("welcome")),
    h("p", { class: "big" }, t("welcome_how")),
    h("div", { class: "drop", "data-testid": "drop" }, t("drop_here"),
      h("button", { class: "primary", onclick: () => input?.click() }, t("choose_files"))),
    app.sample ? h("div", { class: "or" }, sampleButton(app), h("p", {}, t("sample_note"))) : null,
    h("p", { class: "research" }, t("research")));
}
