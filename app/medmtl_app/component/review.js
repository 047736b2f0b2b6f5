// What the reader says: accept, reject, comment, an own class; and saving it as a new version.
import { h, icon } from "./dom.js";
import { Piece } from "./piece.js";

const MAX_COMMENT = 2000;

export class Review {
  constructor(app, { review, findings }) {
    this.app = app;
    this.version = review.version;
    this.words = { lesions: { ...review.lesions }, structures: { ...review.structures }, classes: { ...review.classes } };
    this.comment = review.comment;
    this.saved = JSON.stringify(this.words);
    this.models = Object.fromEntries(findings.classes.filter((block) => block.rows).map((block) => [block.name, block]));
    this.saving = false;
  }

  get changed() {
    return JSON.stringify(this.words) !== this.saved;
  }

  word(kind, key) {
    return this.words[kind][key] ?? { decision: "open", comment: "" };
  }

  /** Sets what is given; the same decision again takes it back. */
  say(kind, key, { decision, ...rest }) {
    if (this.saving) return;
    const former = this.word(kind, key);
    const said = { ...former, ...rest };
    if (decision) said.decision = decision === former.decision && !rest.class ? "open" : decision;
    if (kind === "classes" && said.decision !== "corrected") delete said.class;
    this.words[kind] = { ...this.words[kind], [key]: said };
    if (kind === "lesions") this.hideRejected();
    this.app.renderFindings();
    this.app.renderHeader();
  }

  /** Rejected lesions are no longer part of their structures on the screen. */
  hideRejected() {
    const { scene } = this.app;
    const rows = scene.structures.filter((row) => row.task === "lesions");
    const ids = new Set(scene.view.lesions.map((lesion) => lesion.id).filter((id) => this.word("lesions", id).decision === "rejected"));
    const kept = scene.rejected.filter((piece) => ids.has(piece.id));
    const known = new Set(kept.map((piece) => piece.id));
    const added = scene.view.lesions.filter((lesion) => ids.has(lesion.id) && !known.has(lesion.id));
    scene.reject([...kept, ...added.map((lesion) => new Piece(scene, lesion, rows))], rows);
  }

  /** Lesions without a decision. */
  get open() {
    return this.app.scene.view.lesions.filter((lesion) => this.word("lesions", lesion.id).decision === "open").length;
  }

  /** Sends the drawn maps and what was said; the new version is shown. */
  async save(reader, comment) {
    const { app } = this;
    const { api, open } = app;
    this.saving = app.brush.locked = true; // what is drawn or said meanwhile would be lost
    app.renderHeader();
    try {
      const drawn = app.brush.drawn();
      for (const { name, bytes } of drawn) {
        await api.json(`drawn/${open.grant}/${encodeURIComponent(name)}`, { method: "PUT", body: await gzipped(bytes) });
      }
      const names = drawn.map((row) => row.name);
      const body = { reader, comment, based_on: this.version, drawn: names, ...this.words };
      const { version } = await api.post(`reviews/${open.grant}`, body);
      if (app.review !== this) return;
      app.brush.done = [];
      this.saved = JSON.stringify(this.words);
      app.tell(app.t("review_saved", { version }));
      await app.poll();
      await app.show(open.study.id, version);
      app.frame.dataset.version = version;
    } catch (error) {
      app.tell(app.t("review_failed", { reason: error.message }));
    } finally {
      this.saving = false;
      if (app.brush) app.brush.locked = false;
      app.renderHeader();
    }
  }
}

export async function gzipped(bytes) {
  return new Response(new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip"))).arrayBuffer();
}

/** What was said of a finding; a result of which no version can be made has none. */
export const wordOf = (app, kind, key) => app.review?.word(kind, key) ?? { decision: "open", comment: "" };

/** Two buttons; the one that is down is what was said. */
export function decisionButtons(app, kind, key, name) {
  if (!app.review) return null;
  const { decision } = wordOf(app, kind, key);
  const button = (does, sign, text) => h("button", {
    class: `decide ${does}`, "aria-pressed": String(decision === does), "aria-label": `${text}: ${name}`, title: text,
    "data-testid": `${does === "accepted" ? "accept" : "reject"}-${key}`, onclick: () => app.review.say(kind, key, { decision: does }),
  }, icon(sign));
  return h("span", { class: "decisions" },
    decision === "corrected" || decision === "added" ? h("em", { class: "drawn" }, app.t(`decision_${decision}`)) : null,
    button("accepted", "tick", app.t("accept")), button("rejected", "cross", app.t("reject")));
}

/** A field for a comment: where something was said against the model, and where it is asked for. */
export function commentField(app, kind, key, name, asked = false) {
  const { decision, comment } = wordOf(app, kind, key);
  if (!app.review || (!asked && !comment && ["open", "accepted"].includes(decision))) return null;
  return h("input", {
    class: "comment", type: "text", value: comment ?? "", maxlength: MAX_COMMENT, placeholder: app.t("comment"),
    "aria-label": `${app.t("comment")}: ${name}`, "data-testid": `comment-${key}`,
    onchange: (event) => app.review.say(kind, key, { comment: event.target.value }),
  });
}

/** The reader's own class, beside the model's. */
export function ownClass(app, block) {
  if (!app.review) return null;
  const { t } = app;
  const word = wordOf(app, "classes", block.name);
  const title = app.say(block.title);
  const choices = block.rows.map((row) => h("option", { value: row.name, selected: word.class === row.name }, app.say(row.title)));
  const own = h("select", {
    "data-testid": `own-${block.name}`, "aria-label": `${t("own_class")}: ${title}`,
    onchange: ({ target }) => app.review.say("classes", block.name, target.value ? { decision: "corrected", class: target.value } : { decision: "open" }),
  }, h("option", { value: "", selected: !word.class }, t("own_class")), ...choices);
  return h("div", { class: "own-class" }, own, decisionButtons(app, "classes", block.name, title), commentField(app, "classes", block.name, title, word.decision !== "open"));
}

/** Which version is on the screen, and the others. */
export function versionBar(app) {
  const { t } = app;
  const { review } = app.open.page;
  if (!review) return null;
  const unsaved = app.review.changed || app.brush.dirty
    ? h("p", { class: "not-saved", "data-testid": "not-saved" }, review.version ? t("not_saved_version", { version: review.version }) : t("not_saved_model")) : null;
  if (!review.versions.length) return unsaved;
  const rows = [{ version: 0 }, ...review.versions];
  const label = ({ version, reader, time }) => (version ? `${version} · ${reader} · ${when(time)}` : t("version_model"));
  const list = h("select", {
    "data-testid": "versions", "aria-label": t("version"),
    onchange: ({ target }) => app.mayLeave() ? app.show(app.open.study.id, Number(target.value)) : app.renderFindings(),
  }, ...rows.map((row) => h("option", { value: row.version, selected: row.version === review.version }, label(row))));
  return h("div", { class: "versions" }, h("span", {}, t("version")), list,
    unsaved, review.version ? h("p", { class: "note", "data-testid": "not-again" }, t("not_computed_again")) : null);
}

const when = (time) => new Date(time).toLocaleString([], { dateStyle: "short", timeStyle: "short" });

/** Asks who the reader is and what is to be said on the whole. */
export function saveDialog(app) {
  const { t, review, brush } = app;
  const reader = h("input", { type: "text", name: "reader", required: true, maxlength: 80, value: app.reader || rememberedReader(), readonly: Boolean(app.reader), "data-testid": "reader" });
  const comment = h("textarea", { rows: 3, maxlength: MAX_COMMENT, "data-testid": "review-comment" }, review.comment);
  const { open } = review;
  const dialog = h("dialog", { class: "ask", "aria-label": t("save_review") },
    h("form", { method: "dialog", onsubmit: () => submit() },
      h("h2", {}, t("save_review")),
      h("p", { class: "note" }, t("save_what", { version: (app.open.page.review.versions.at(-1)?.version ?? 0) + 1 })),
      brush.dirty ? h("p", { class: "note" }, t("save_drawn")) : null,
      open ? h("p", { class: "note" }, t("save_open", { count: open })) : null,
      h("label", {}, t("reader"), reader),
      h("label", {}, t("comment"), comment),
      h("div", { class: "buttons" },
        h("button", { class: "primary", "data-testid": "save-now" }, t("save")),
        h("button", { type: "button", onclick: () => dialog.close() }, t("cancel")))));
  const submit = () => {
    const name = reader.value.trim();
    if (!name) return;
    remember(name);
    review.save(name, comment.value.trim());
  };
  return dialog;
}

function rememberedReader() {
  try {
    return localStorage.getItem("medmtl-reader") ?? "";
  } catch {
    return "";
  }
}

function remember(name) {
  try {
    localStorage.setItem("medmtl-reader", name);
  } catch { /* a private window keeps nothing */ }
}
