// Below the worklist: the series that came with the open study, and its segmentation.
import { h } from "./dom.js";

export function seriesPanel(app) {
  const { t, open } = app;
  const rows = app.scene ? app.studies.filter((study) => study.upload === open.study.upload) : [];
  if (!rows.length) return [];
  return [
    h("h2", { class: "series-head" }, t("series")),
    h("ul", { class: "rows", "data-testid": "series" }, ...rows.map((study) => h("li", {}, seriesRow(app, study))),
      app.scene?.structures.length ? h("li", {}, segmentationRow(app)) : null,
      ...otherSeries(app, rows).map((row) => h("li", {}, row))),
  ];
}

/** Series of the study that are not open: asked for, since all of its headers are read for it. */
function otherSeries(app, rows) {
  const { t, open } = app;
  if (!open.study.summary.series_key) return [];
  if (!app.others) return [h("button", { class: "small", "data-testid": "other-series", onclick: () => app.listSeries() }, t("other_series"))];
  const known = new Set(rows.filter((study) => study.number === open.study.number).flatMap((study) => [study.summary.series_key, study.series]));
  const left = app.others.filter((row) => !known.has(row.key));
  if (!left.length) return [h("span", { class: "row-facts" }, t("no_other_series"))];
  return left.map(({ key, title, images, why }) => h("button", {
    class: "series other", disabled: Boolean(why), title: why || title, "data-testid": `series-${key}`,
    onclick: () => app.mayLeave() && app.act(`series/${open.grant}`, { method: "POST", body: JSON.stringify({ series: key }) }),
  }, h("span", { class: "thumb" }), h("span", { class: "row-title" }, title || t("unnamed_series")), h("span", { class: "row-facts" }, why || t("images", { count: images }))));
}

function seriesRow(app, study) {
  const { t } = app;
  const { series, slices } = study.summary;
  const picture = h("img", { alt: "", width: 46, height: 46, src: app.thumbs.get(study) ?? false });
  const name = series || app.title(study);
  const facts = slices ? t("images", { count: slices }) : "";
  return h("button", { class: "series", "aria-current": study.id === app.open.study.id ? "true" : false, onclick: () => app.visit(study.id) },
    h("span", { class: "thumb" }, picture), h("span", { class: "row-title", title: name }, name), h("span", { class: "row-facts" }, facts));
}

function segmentationRow(app) {
  const { t, scene } = app;
  const swatches = scene.structures.slice(0, 9).map((structure) => {
    const swatch = h("i");
    swatch.style.background = structure.color;
    return swatch;
  });
  return h("button", { class: "series", "aria-pressed": String(scene.show.contours || scene.show.fill), "data-testid": "segmentation", onclick: () => app.toggleSegmentation() },
    h("span", { class: "thumb swatches" }, ...swatches), h("span", { class: "row-title" }, t("segmentation")),
    h("span", { class: "row-facts" }, t("structures", { count: scene.structures.length })));
}

/** Small pictures of studies, fetched once each. */
export class Thumbs {
  constructor(api, drawn) {
    Object.assign(this, { api, drawn, urls: new Map() });
  }

  /** A URL, or null until it is there. */
  get({ id, state }) {
    if (!["ready", "reviewed", "blocked"].includes(state)) return null;
    if (!this.urls.has(id)) {
      this.urls.set(id, null);
      this.fetch(id);
    }
    return this.urls.get(id);
  }

  async fetch(id) {
    const response = await this.api.send(`thumbs/${id}`).catch(() => null);
    if (!response?.ok) return;
    this.urls.set(id, URL.createObjectURL(await response.blob()));
    this.drawn();
  }

  end() {
    for (const url of this.urls.values()) if (url) URL.revokeObjectURL(url);
  }
}
