// Studies from the PACS that the viewer was started with, and results to it.
import { fill, h } from "./dom.js";

/** In the worklist: opens the search; nothing where no PACS is named. */
export function pacsButton(app) {
  if (!app.pacs?.length) return null;
  return h("button", { class: "sample", "data-testid": "from-pacs", onclick: () => app.openDialog(searchDialog(app)) }, app.t("from_pacs"));
}

function nodes(app) {
  const { pacs, t } = app;
  return h("select", { name: "node", "aria-label": t("pacs_node") }, ...pacs.map((name) => h("option", { value: name }, name)));
}

function searchDialog(app) {
  const { t } = app;
  const found = h("div", { class: "found", role: "status" });
  const field = (name, label, more) => h("label", {}, label, h("input", { type: "text", name, "data-testid": `pacs-${name}`, ...more }));
  const node = nodes(app);
  const dialog = h("dialog", { class: "ask", "aria-label": t("from_pacs") },
    h("form", { onsubmit: (event) => { event.preventDefault(); search(new FormData(event.target)); } },
      h("h2", {}, t("from_pacs")), node,
      field("accession", t("accession")), field("patient", t("patient_id")), field("date", t("study_date"), { placeholder: "YYYYMMDD" }),
      found,
      h("div", { class: "buttons" },
        h("button", { class: "primary", "data-testid": "pacs-search" }, t("search_pacs")),
        h("button", { type: "button", onclick: () => dialog.close() }, t("close")))));
  const search = async (form) => {
    fill(found, t("searching"));
    try {
      const { studies } = await app.api.post("pacs/find", Object.fromEntries(form));
      fill(found, studies.length ? studies.map((study) => foundStudy(app, study, dialog)) : t("pacs_nothing"));
    } catch (error) {
      fill(found, t("pacs_failed", { reason: error.message }));
    }
  };
  return dialog;
}

function foundStudy(app, { key, series }, dialog) {
  const { t } = app;
  const lines = series.map(({ modality, number, description, images }) =>
    h("li", {}, [modality, number, description, images === null ? "" : t("images", { count: images })].filter(Boolean).join(" · ")));
  const get = async (event) => {
    event.target.disabled = true;
    fill(event.target, t("fetching"));
    try {
      const { study } = await app.api.post("pacs/fetch", { key });
      dialog.close();
      await app.poll();
      await app.visit(study);
    } catch (error) {
      fill(event.target, t("fetch"));
      event.target.disabled = false;
      app.tell(t("pacs_failed", { reason: error.message }));
    }
  };
  return h("div", { class: "found-study" }, h("ul", {}, ...lines), h("button", { type: "button", class: "second", "data-testid": "pacs-fetch", onclick: get }, t("fetch")));
}

/** In the export's dialog: a button per node; `formats()` are those that are ticked. */
export function sendButtons(app, formats, dialog) {
  const { formats: offered } = app.open.page.review;
  const nodes = offered.some(({ name }) => name === "seg") ? app.pacs ?? [] : []; // what came as NIfTI has nothing for a PACS
  return nodes.map((node) => h("button", { type: "button", "data-testid": "pacs-send", onclick: () => { send(app, node, formats()); dialog().close(); } }, app.t("send_to", { node })));
}

async function send(app, node, formats) {
  const { t, open } = app;
  app.tell(t("sending_results"));
  try {
    const { taken, of } = await app.api.post(`pacs/send/${open.grant}`, { node, formats, version: open.page.review.version });
    app.tell(of ? t("sent", { taken, of, node }) : t("nothing_to_send"));
  } catch (error) {
    app.tell(t("pacs_failed", { reason: error.message }));
  }
}
