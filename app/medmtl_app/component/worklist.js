// The worklist: every study with its state, and the ways to add one.
import { duration, h, icon } from "./dom.js";
import { pacsButton } from "./pacs.js";
import { seriesPanel } from "./series.js";

export function worklistPanel(app) {
  const { t } = app;
  const wanted = (app.search ?? "").toLowerCase();
  const shown = app.studies.filter((study) => `${app.title(study)} ${Object.values(study.summary).join(" ")}`.toLowerCase().includes(wanted));
  return [
    h("div", { class: "section-head" }, h("h2", {}, t("worklist")), addButton(app)),
    app.lost ? h("p", { class: "lost", role: "alert" }, t("lost")) : null,
    app.sending !== null ? h("div", { class: "sending", role: "status" }, t("sending", { percent: Math.round(100 * app.sending) }), bar(app.sending)) : null,
    pacsButton(app),
    app.studies.length > 6 ? searchField(app) : null,
    h("ul", { class: "rows", "data-testid": "worklist" }, ...shown.map((study) => row(app, study))),
    app.sample && app.studies.length && !app.studies.some((study) => study.sample) ? sampleButton(app) : null,
    ...seriesPanel(app),
    h("div", { class: "foot" }, h("span", { title: `medmtl ${app.version}` }, t("cores", { count: app.cores ?? 1 })), h("span", {}, running(app))),
  ];
}

function running(app) {
  const count = app.studies.filter((study) => study.state === "running" || study.state === "waiting").length;
  return count ? app.t("running_count", { count }) : "";
}

function searchField(app) {
  return h("input", {
    class: "search", type: "search", value: app.search ?? "", placeholder: app.t("search"), "aria-label": app.t("search"),
    oninput: (event) => {
      app.search = event.target.value;
      app.renderWorklist();
    },
  });
}

function row(app, study) {
  const open = app.open?.study.id === study.id;
  return h("li", {},
    h("button", { class: "row", "aria-current": open ? "true" : false, "data-state": study.state, onclick: () => app.visit(study.id) },
      h("i", { class: `dot ${study.state} ${app.ownLook.pending(study) ? "" : study.summary.trust ?? ""}` }),
      h("span", { class: "row-title" }, app.title(study)),
      h("span", { class: "row-state" }, stateLine(app, study)),
      study.state === "running" ? bar(study.total ? study.done / study.total : null) : null));
}

/** One line on where the study stands. */
export function stateLine(app, study) {
  const { t } = app;
  const { summary } = study;
  if (study.state === "ready" && app.ownLook.pending(study)) return [summary.modality, t("answered")].filter(Boolean).join(" · ");
  if (study.state === "ready" || study.state === "reviewed") {
    const lesions = summary.lesions === null || summary.lesions === undefined ? t("answered") : lesionCount(t, summary.lesions);
    return [summary.modality, lesions, study.state === "reviewed" && t("state_reviewed")].filter(Boolean).join(" · ");
  }
  if (study.state === "blocked") return [summary.modality, t("state_blocked")].filter(Boolean).join(" · ");
  if (study.state === "failed" && study.code) return `${t("state_failed")} · ${study.code}`;
  if (study.state !== "running") return t(`state_${study.state}`);
  if (!study.total || study.phase !== "answering") return t(`phase_${study.phase || "starting"}`);
  const share = study.done / study.total;
  const left = study.done > 1 ? ((Date.now() / 1000 - study.started) / study.done) * (study.total - study.done) : 0;
  return `${Math.round(100 * share)} %` + (left > 2 ? ` · ${t("time_left", { time: duration(left) })}` : "");
}

export function lesionCount(t, count, capital) {
  if (capital) return count === 1 ? t("one_lesion_head") : t("lesion_count_head", { count });
  return count === 0 ? t("no_lesions") : count === 1 ? t("one_lesion") : t("lesion_count", { count });
}

/** A bar of a share, or one that only moves. */
export function bar(share) {
  const inner = h("i", share === null ? { class: "moving" } : {});
  if (share !== null) inner.style.width = `${Math.round(100 * share)}%`;
  return h("span", { class: "bar" }, inner);
}

function addButton(app) {
  const files = picker(app, false);
  const folder = picker(app, true);
  return h("div", { class: "add" }, files, folder,
    h("button", { class: "small", "data-testid": "add-files", onclick: () => files.click() }, icon("plus"), app.t("add_files")),
    h("button", { class: "small", onclick: () => folder.click() }, app.t("add_folder")));
}

function picker(app, folder) {
  return h("input", {
    type: "file", hidden: true, multiple: true, webkitdirectory: folder, "data-testid": folder ? "folder-input" : "file-input",
    onchange: (event) => app.send([...event.target.files].map((file) => ({ file, path: file.webkitRelativePath || file.name }))),
  });
}

export function sampleButton(app) {
  return h("button", { class: "sample", "data-testid": "sample", onclick: () => app.act("sample", { method: "POST" }) }, app.t("open_sample"));
}
