// Export: which of the formats that the library can write, of the version on the screen.
import { h } from "./dom.js";
import { sendButtons } from "./pacs.js";

export function exportDialog(app) {
  const { t } = app;
  const { review } = app.open.page;
  const boxes = review.formats.map(({ name, chosen }) => h("label", {},
    h("input", { type: "checkbox", name, checked: chosen || name === "json", disabled: name === "json", "data-testid": `format-${name}` }), h("b", {}, title(app, name))));
  const ticked = () => review.formats.map((row) => row.name).filter((name) => dialog.querySelector(`[name="${name}"]`).checked);
  const dialog = h("dialog", { class: "ask", "aria-label": t("export") },
    h("form", { method: "dialog", onsubmit: () => begin() },
      h("h2", {}, t("export")),
      h("p", { class: "note" }, review.version ? t("export_version", { version: review.version }) : t("export_model")),
      app.review.changed || app.brush.dirty ? h("p", { class: "note warn" }, t("export_unsaved")) : null,
      h("div", { class: "formats" }, ...boxes),
      h("div", { class: "buttons" },
        h("button", { class: "primary", "data-testid": "export-now" }, t("export_zip")),
        ...sendButtons(app, ticked, () => dialog),
        h("button", { type: "button", onclick: () => dialog.close() }, t("cancel")))));
  const begin = () => {
    const names = ticked();
    if (names.length) download(app, review.version, names);
  };
  return dialog;
}

/** The name a format is known by; a new one of the library is shown by its own. */
function title(app, name) {
  return `format_${name}` in app.texts ? app.t(`format_${name}`) : name.toUpperCase();
}

async function download(app, version, names) {
  app.tell(app.t("exporting"));
  const { grant, page } = app.open;
  const response = await app.api.send(`export/${grant}?version=${version}&formats=${names.join(",")}`);
  if (!response.ok) return app.tell(app.t("not_possible"));
  const url = URL.createObjectURL(await response.blob());
  h("a", { href: url, download: `${page.findings.case}${version ? `-v${version}` : ""}.zip` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}
