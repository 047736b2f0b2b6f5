// The right side: what the model says, how far to trust it, and where it lies.
import { capital, fill, h, icon, sentence } from "./dom.js";
import { ownLookPanel, ownLookSwitch } from "./ownlook.js";
import { commentField, decisionButtons, ownClass, versionBar, wordOf } from "./review.js";
import { lesionCount } from "./worklist.js";

export function findingsPanel(app) {
  if (!app.open?.page) return [];
  const { findings } = app.open.page;
  if (!findings) return noModel(app);
  if (app.kept) return ownLookPanel(app);
  return [
    versionBar(app),
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
    const explained = row.chosen && block.influence?.length > 0;
    const parts = [h("span", {}, app.say(row.title), explained ? icon("unfold") : null), h("span", { class: "bar" }, filled), h("b", {}, row.text)];
    if (!explained) return h("div", { class: row.chosen ? "class chosen" : "class" }, ...parts);
    return h("button", { class: "class chosen", title: app.t("rests_on"), "aria-expanded": String(app.unfolded.has(block.name)), "data-testid": "rests-on",
      onclick: () => unfold(app, block.name) }, ...parts);
  });
  if (app.unfolded.has(block.name)) rows.splice(block.rows.findIndex((row) => row.chosen) + 1, 0, restsOn(app, block.influence));
  const set = block.set?.length > 1 ? h("p", { class: "set" }, app.t("prediction_set"), ...block.set.map((titles) => h("span", { class: "pill" }, app.say(titles)))) : null;
  const basis = block.basis ? h("p", { class: "note" }, app.t(`basis_${block.basis}`)) : null;
  return section(block.name === "diagnosis" ? app.t("diagnosis") : app.say(block.title), note, [...rows, set, basis, ownClass(app, block)].filter(Boolean));
}

function unfold(app, what) {
  app.unfolded[app.unfolded.has(what) ? "delete" : "add"](what);
  app.renderFindings();
}

/** What the class rests on: structures by how much of its probability is gained from what lies inside them. */
function restsOn(app, influence) {
  const rows = influence.map(({ structure, title, change, text }) => {
    const shown = app.scene.structures.find((one) => `${one.task}.${one.name}` === structure);
    const filled = h("i", { class: change < 0 ? "against" : "" });
    filled.style.width = `${Math.min(100, 100 * Math.abs(change))}%`;
    const swatch = h("i", { class: "swatch" });
    if (shown) swatch.style.background = shown.color;
    const parts = [h("span", {}, shown ? swatch : null, app.say(title)), h("span", { class: "bar" }, filled), h("b", {}, text)];
    const goTo = shown && (shown.jump ?? shown.low);
    return goTo ? h("button", { class: "class influence", title: `${app.say(title)} · ${app.t("jump")}`, "data-testid": `influence-${structure}`, onclick: () => app.goToStructure(shown) }, ...parts) : h("div", { class: "class influence" }, ...parts);
  });
  return h("div", { class: "rests-on", "data-testid": "influence" }, h("p", { class: "note" }, app.t("rests_on_note")), ...rows);
}

/** Between what the true volume lies, most likely; nothing where it was not measured. */
function interval(app, likely) {
  return likely ? h("small", { class: "likely", title: app.t("likely_why") }, app.t("likely", likely)) : null;
}

function lesions(app, { count, amount, likely, sureness, share, host, items }) {
  const { t } = app;
  const share_of = share && host ? t("share_of", { share, host: app.say(host) }) : null;
  const total = count ? [amount, share_of].filter(Boolean).join(" · ") : null;
  const rows = items.map((item, place) => {
    const [most, ...rest] = item.parts;
    const name = `${t("lesion")} ${item.id}`;
    const button = h("button", {
      class: "lesion", "aria-current": place === app.current ? "true" : false, "data-testid": `lesion-${item.id}`,
      onclick: () => app.goToLesion(place),
    },
    h("b", { class: "number" }, String(item.id)),
    h("span", { class: "lesion-title" }, app.say(most?.title) || t("lesion"), item.host ? h("em", {}, ` · ${app.say(item.host)}`) : null),
    h("span", { class: "lesion-size" }, [`${item.long.replace(" mm", "")} × ${item.short}`, item.sure && t(`sure_${sureness}`, { p: item.sure })].filter(Boolean).join(" · ")),
    ...rest.map((part) => h("span", { class: "lesion-size" }, `+ ${app.say(part.title)} `, h("span", { class: "whole" }, part.amount))),
    h("b", { class: "ml" }, item.amount));
    const { decision } = wordOf(app, "lesions", item.id);
    return h("div", { class: `lesion-row ${decision}`, "aria-current": place === app.current ? "true" : false, "data-testid": `lesion-row-${item.id}` },
      button, decisionButtons(app, "lesions", item.id, name), commentField(app, "lesions", item.id, name, place === app.current && decision !== "open"));
  });
  return section(count ? lesionCount(t, count, true) : t("lesions"), total, [interval(app, likely), ...(rows.length ? rows : [noLesion(app)])].filter(Boolean));
}

/** An empty list can be agreed to, or the reader draws what was missed. */
function noLesion(app) {
  return h("p", { class: "none lesion-row" }, app.t("no_lesions_found"), decisionButtons(app, "classes", "lesions", app.t("lesions")));
}

function structures(app) {
  const groups = new Map();
  for (const structure of app.scene.structures) groups.set(structure.task, [...(groups.get(structure.task) ?? []), structure]);
  return [...groups].map(([task, rows]) =>
    section(groupTitle(app, task, rows[0]), groupNote(app, rows[0]), rows.map((structure) => structureRow(app, structure))));
}

/** The channel that the structures are drawn on, where there are several. */
function groupNote(app, { channel }) {
  const { channels } = app.scene;
  return channels.length > 1 ? `${channels[channel].name} · ${app.t("volume")}` : app.t("volume");
}

function groupTitle(app, task, row) {
  if (task === "lesions") return app.t("lesion_parts");
  if (app.scene.channels.length > 1) return app.say(row.group) || task;
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
  const more = h("div", { class: "more", hidden: !app.unfolded.has(structure) }, ...settings(app, structure, swatch));
  const path = `${structure.task}.${structure.name}`;
  const { decision } = wordOf(app, "structures", path);
  return h("div", { class: `structure ${decision}${app.scene.isHere(structure) ? "" : " elsewhere"}`, "data-testid": `structure-${structure.name}` },
    eye, swatch,
    h("button", { class: "name", title: `${name} · ${t("jump")}`, onclick: () => app.goToStructure(structure) }, name),
    h("span", { class: "ml" }, structure.amount ?? "–", structure.mass ? h("em", {}, structure.mass) : null),
    structure.truncated ? h("span", { class: "cut", title: t("truncated") }, icon("warn", t("truncated"))) : null,
    h("button", { class: "icon-button", "aria-label": t("style_of", { name }), onclick: () => unfold(app, structure) }, icon("dots")),
    structure.task === "lesions" ? null : decisionButtons(app, "structures", path, name),
    interval(app, structure.likely), more, structure.task === "lesions" ? null : commentField(app, "structures", path, name, app.unfolded.has(structure)));
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
    structure.heat ? h("label", {}, h("input", { type: "checkbox", checked: app.scene.heat.structure === structure, onchange: () => app.toggleHeat(structure) }), t("heat")) : null,
    structure.mesh ? h("label", {}, t("surface"), h("input", {
      type: "range", min: 0, max: 1, step: 0.05, value: structure.surface,
      oninput: (event) => { structure.surface = Number(event.target.value); changed(); },
    })) : null,
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
    h("p", {}, app.say(app.open.page.research_use)), ownLookSwitch(app), removeButton(app));
}

function removeButton(app) {
  return h("button", { class: "small", onclick: () => app.remove(app.open.study) }, app.t("remove_study"));
}

function noModel(app) {
  const { t } = app;
  const { study, page: { view: { notices } } } = app.open;
  const run = (model) => app.act(`studies/${study.id}/run`, { method: "POST", body: JSON.stringify({ model }) });
  return [
    h("div", { class: "trust plain", "data-testid": "no-model" }, icon("info"),
      h("div", {}, h("strong", {}, t("no_model")), h("p", {}, sentence(study.message)))),
    app.models.length
      ? section(t("ask_model"), null, app.models.map((model) => h("button", { class: "wide", "data-testid": `run-${model}`, onclick: () => run(model) }, t("run_model", { model }))))
      : null,
    notices.length ? section(t("warnings"), null, notices.map(({ text }) => h("p", { class: "warning" }, icon("info"), sentence(text)))) : null,
    h("div", { class: "foot" }, h("p", {}, app.say(app.open.page.research_use)), removeButton(app)),
  ];
}
