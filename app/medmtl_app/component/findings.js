// The right side: what the model says, how far to trust it, and where it lies.
import { capital, fill, h, icon, sentence } from "./dom.js";
import { lesionCount } from "./worklist.js";

export function findingsPanel(app) {
  if (!app.open?.page) return [];
  const { findings } = app.open.page;
  if (!findings) return noModel(app);
  return [
    trust(app, findings),
    ...findings.classes.map((block) => classes(app, block)),
    findings.lesions ? lesions(app, findings.lesions) : null,
    ...structures(app),
    findings.derived.length ? section(app.t("derived"), null, findings.derived.map((row) => measured(app, row))) : null,
    warnings(app, findings),
    h("button", { class: "wide", "data-testid": "copy", onclick: () => app.copyText() }, icon("copy"), app.t("copy_text")),
    foot(app, findings),
  ];
}

function section(title, note, rows) {
  return h("section", {}, h("div", { class: "section-head" }, h("h2", {}, title), note ? h("span", { class: "note" }, note) : null), ...rows);
}

function trust(app, { trust: { level, reasons }, allowed }) {
  const said = reasons.map((reason) => app.say(reason)).join(" ") || app.t(`trust_${level}_why`);
  const passed = allowed.length ? app.t("allowed", { codes: allowed.join(", ") }) : "";
  return h("div", { class: `trust ${level}`, "data-testid": "trust" },
    h("span", { class: "lights", "aria-hidden": "true" }, ...["red", "amber", "green"].map((light) => h("i", { class: light === level ? `${light} on` : light }))),
    h("div", {}, h("strong", {}, app.t(`trust_${level}`)), h("p", {}, `${said} ${passed}`.trim())));
}

function classes(app, block) {
  if (block.value) return section(app.say(block.title), null, [h("p", { class: "measured" }, block.value)]);
  const note = block.calibrated === null || block.calibrated === undefined ? null : app.t(block.calibrated ? "calibrated" : "uncalibrated");
  const rows = block.rows.map((row) => {
    const filled = h("i");
    filled.style.width = `${100 * row.p}%`;
    return h("div", { class: row.chosen ? "class chosen" : "class" }, h("span", {}, app.say(row.title)), h("span", { class: "bar" }, filled), h("b", {}, row.text));
  });
  const set = block.set ? h("p", { class: "set" }, app.t("prediction_set"), ...block.set.map((titles) => h("span", { class: "pill" }, app.say(titles)))) : null;
  const basis = block.basis ? h("p", { class: "note" }, app.t(`basis_${block.basis}`)) : null;
  return section(block.name === "diagnosis" ? app.t("diagnosis") : app.say(block.title), note, [...rows, set, basis].filter(Boolean));
}

function lesions(app, { count, amount, share, host, items }) {
  const { t } = app;
  const share_of = share && host ? t("share_of", { share, host: app.say(host) }) : null;
  const total = count ? [amount, share_of].filter(Boolean).join(" · ") : null;
  const rows = items.map((item, place) => {
    const [most, ...rest] = item.parts;
    return h("button", {
      class: "lesion", "aria-current": place === app.current ? "true" : false, "data-testid": `lesion-${item.id}`,
      onclick: () => app.goToLesion(place),
    },
    h("b", { class: "number" }, String(item.id)),
    h("span", { class: "lesion-title" }, app.say(most?.title) || t("lesion")),
    h("span", { class: "lesion-size" }, [`${item.long.replace(" mm", "")} × ${item.short}`, item.confidence && t("confidence", { p: item.confidence })].filter(Boolean).join(" · ")),
    ...rest.map((part) => h("span", { class: "lesion-size" }, `+ ${app.say(part.title)} ${part.amount}`)),
    h("b", { class: "ml" }, item.amount));
  });
  return section(count ? lesionCount(t, count, true) : t("lesions"), total, rows.length ? rows : [h("p", { class: "none" }, t("no_lesions_found"))]);
}

function structures(app) {
  const groups = new Map();
  for (const structure of app.scene.structures) groups.set(structure.task, [...(groups.get(structure.task) ?? []), structure]);
  return [...groups].map(([task, rows]) =>
    section(groupTitle(app, task, rows[0]), app.t("volume"), rows.map((structure) => structureRow(app, structure))));
}

function groupTitle(app, task, row) {
  if (task === "lesions") return app.t("lesion_parts");
  return task === "organs" ? app.t("organs") : app.say(row.group) || task;
}

function structureRow(app, structure) {
  const { t } = app;
  const name = app.say(structure.title) || structure.name;
  const changed = () => app.scene.changed();
  const swatch = h("i", { class: "swatch" });
  swatch.style.background = structure.color;
  const eye = h("button", {
    class: "icon-button", "aria-pressed": String(structure.visible), "aria-label": t("show_structure", { name }), "data-testid": `eye-${structure.name}`,
    onclick: (event) => {
      structure.visible = !structure.visible;
      event.currentTarget.setAttribute("aria-pressed", String(structure.visible));
      fill(event.currentTarget, icon(structure.visible ? "eye" : "closed"));
      changed();
    },
  }, icon(structure.visible ? "eye" : "closed"));
  const more = h("div", { class: "more", hidden: true }, ...settings(app, structure, swatch));
  return h("div", { class: "structure", "data-testid": `structure-${structure.name}` },
    eye, swatch,
    h("button", { class: "name", title: t("jump"), onclick: () => app.scene.goTo(structure.jump) }, name),
    h("span", { class: "ml" }, structure.amount, structure.mass ? h("em", {}, structure.mass) : null),
    structure.truncated ? h("span", { class: "cut", title: t("truncated") }, icon("warn", t("truncated"))) : null,
    h("button", { class: "icon-button", "aria-label": t("style_of", { name }), onclick: () => { more.hidden = !more.hidden; } }, icon("dots")),
    more);
}

function settings(app, structure, swatch) {
  const { t } = app;
  const changed = () => app.scene.changed();
  return [
    h("label", {}, h("input", { type: "checkbox", checked: structure.contour, onchange: (event) => { structure.contour = event.target.checked; changed(); } }), t("contour")),
    h("label", {}, t("opacity"), h("input", {
      type: "range", min: 0, max: 1, step: 0.05, value: structure.opacity,
      oninput: (event) => { structure.opacity = Number(event.target.value); changed(); },
    })),
    h("label", {}, t("color"), h("input", {
      type: "color", value: structure.color,
      oninput: (event) => { structure.color = event.target.value; swatch.style.background = structure.color; changed(); },
    })),
  ];
}

function measured(app, row) {
  return h("div", { class: "measured" }, h("span", {}, capital(app.say(row.title))), h("b", {}, row.amount));
}

function warnings(app, { warnings: rows, checks }) {
  const failed = checks.filter((check) => !check.ok).map((check) => [icon("warn"), app.say(check.text)]);
  const said = [...failed, ...rows.map((row) => [icon("info"), row.text])];
  return said.length ? section(app.t("warnings"), null, said.map(([sign, text]) => h("p", { class: "warning" }, sign, text))) : null;
}

function foot(app, { model, engine, seconds }) {
  const terms = [model.licence, model.synthetic ? app.t("synthetic") : null, model.non_commercial ? app.t("non_commercial") : null].filter(Boolean);
  return h("div", { class: "foot" },
    h("p", {}, h("span", {}, `${model.name} ${model.version} · ${model.sha256.slice(0, 7)}`), h("span", {}, app.t("time_took", { seconds, device: engine.device.toUpperCase() }))),
    h("p", {}, terms.join(" · ")),
    h("p", {}, app.say(app.open.page.research_use)), removeButton(app));
}

function removeButton(app) {
  return h("button", { class: "small", onclick: () => app.remove(app.open.study) }, app.t("remove_study"));
}

function noModel(app) {
  const { t } = app;
  const { study } = app.open;
  const run = (model) => app.act(`studies/${study.id}/run`, { method: "POST", body: JSON.stringify({ model }) });
  return [
    h("div", { class: "trust plain", "data-testid": "no-model" }, icon("info"),
      h("div", {}, h("strong", {}, t("no_model")), h("p", {}, sentence(study.message)))),
    app.models.length
      ? section(t("ask_model"), null, app.models.map((model) => h("button", { class: "wide", "data-testid": `run-${model}`, onclick: () => run(model) }, t("run_model", { model }))))
      : null,
    h("div", { class: "foot" }, h("p", {}, app.say(app.open.page.research_use)), removeButton(app)),
  ];
}
