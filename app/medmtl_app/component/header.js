// The top bar, the line of keys below the image, and the list of all keys.
import { BRUSHES } from "./brush.js";
import { h, icon } from "./dom.js";
import { KEYS } from "./keys.js";

export function header(app) {
  const { t } = app;
  return [
    h("div", { class: "brand" }, icon("logo"), "medmtl"),
    h("div", { class: "who" }, ...about(app)),
    h("span", { class: "research" }, t("research_short")),
    app.scene ? tools(app) : null,
    app.scene ? presets(app) : null,
    app.scene?.channels.length > 1 ? channels(app) : null,
    language(app),
    app.scene ? h("button", { class: "icon-button tool", title: t("key_capture"), "aria-label": t("key_capture"), "data-testid": "capture", onclick: () => app.capture() }, icon("camera")) : null,
    h("button", { class: "icon-button tool", title: t("key_all_keys"), "aria-label": t("key_all_keys"), onclick: () => app.showKeys() }, icon("keys")),
    app.reader ? h("button", { class: "small", title: app.reader, "data-testid": "sign-out", onclick: () => app.ask.signOut() }, t("sign_out")) : null,
    app.review
      ? h("button", { class: "second", "data-testid": "export", onclick: () => app.askExport() }, t("export"))
      : null,
    app.review && !app.kept
      ? h("button", { class: "primary", "data-testid": "save-review", disabled: app.review.saving, onclick: () => app.askSave() }, t(app.review.saving ? "saving" : "save_review"))
      : null,
  ];
}

/** One button, in the language it leads to. */
function language(app) {
  const [code, text] = app.language === "zh" ? ["en", "EN"] : ["zh", "中文"];
  return h("button", { class: "icon-button tool", lang: code, title: app.t("language"), onclick: () => app.setLanguage(code) }, text);
}

function about(app) {
  if (!app.open) return [];
  const { study } = app.open;
  const { summary } = study;
  const date = (summary.date ?? "").replace(/^(\d{4})(\d{2})(\d{2})$/, "$1-$2-$3");
  const person = [summary.sex, summary.age?.replace(/^0*(\d+)Y$/, "$1 y")].filter(Boolean).join(" · ");
  const parts = [person, [summary.modality, summary.description || summary.series].filter(Boolean).join(" "), date,
    summary.study_id && `${app.t("study_id")} ${summary.study_id}`];
  const { name, patient_id: id, birth_date: birth } = app.person ?? {};
  const hidden = app.person ? [name || app.t("no_name"), id, birth].filter(Boolean).join(" · ") : null;
  const eye = app.scene ? h("button", { class: "icon-button tool", title: app.t("key_person"), "aria-label": app.t("key_person"), "aria-pressed": String(Boolean(app.person)), "data-testid": "person", onclick: () => app.togglePerson() }, icon("person")) : null;
  return [h("strong", { "data-testid": "title" }, app.title(study)), eye, hidden ? h("span", { class: "person", "data-testid": "person-name" }, hidden) : null, ...parts.filter(Boolean).map((part) => h("span", {}, part))];
}

function tools(app) {
  const names = ["crosshair", "window", "pan", "measure", "diameters", ...(app.brush ? BRUSHES : [])];
  return h("div", { class: "segments", role: "group", "aria-label": app.t("tools") },
    ...names.map((name) => h("button", { "aria-pressed": String(app.tool === name), title: app.t(`tool_${name}`), "aria-label": app.t(`tool_${name}`), "data-testid": `tool-${name}`, onclick: () => app.setTool(name) }, icon(name))));
}

function presets(app) {
  const { scene } = app;
  return h("div", { class: "segments", role: "group", "aria-label": app.t("tool_window") },
    ...scene.windows.map((row) => {
      const chosen = row.width === scene.width && row.level === scene.level;
      return h("button", { "aria-pressed": String(chosen), onclick: () => app.setPreset(row) }, app.t(`window_${row.name}`));
    }));
}

function channels(app) {
  const { scene } = app;
  return h("div", { class: "segments", role: "group", "aria-label": app.t("channels") },
    ...scene.channels.map(({ name }, number) => h("button", { "aria-pressed": String(number === scene.channel), title: app.t("key_channel"), "data-testid": `channel-${name}`, onclick: () => app.showChannel(number) }, name)));
}

const LINE = ["all_keys", "hide", "slice", "presets", "contours", "fill", "cross", "next", "accept", "reject", "brush", "measure", "diameters", "heat"];

export function keyLine(app) {
  if (!app.scene) return [];
  return (app.scene.channels.length > 1 ? [...LINE.slice(0, 2), "channel", ...LINE.slice(2)] : LINE).map((name) => {
    const row = KEYS.find((key) => key.name === name);
    return h("span", { class: "hint" }, ...row.shown.map((key) => h("kbd", {}, key)), app.t(`key_${name}`));
  });
}

export function keysDialog(app) {
  const rows = KEYS.map((row) => [h("dt", {}, ...row.shown.map((key) => h("kbd", {}, key))), h("dd", {}, app.t(`key_${row.name}`))]);
  const mouse = ["wheel", "drag_right", "drag_shift", "wheel_ctrl", "double"].map((name) => [
    h("dt", {}, app.t(`mouse_${name}`)), h("dd", {}, app.t(`mouse_${name}_does`))]);
  return h("dialog", { class: "all-keys", "aria-label": app.t("key_all_keys") },
    h("h2", {}, app.t("key_all_keys")), h("dl", {}, ...rows.flat()), h("h2", {}, app.t("mouse")), h("dl", {}, ...mouse.flat()),
    h("form", { method: "dialog" }, h("button", { class: "primary" }, app.t("close"))));
}
