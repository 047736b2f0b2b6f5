// The page: worklist, planes, findings. Holds what is open; the parts draw it.
import { Api, dropped, upload } from "./api.js";
import { fill, h, keepFocus, translator } from "./dom.js";
import { findingsPanel } from "./findings.js";
import { header, keyLine, keysDialog } from "./header.js";
import { onKey } from "./keys.js";
import { Pane } from "./pane.js";
import { Scene } from "./scene.js";
import { stage } from "./stage.js";
import { worklistPanel } from "./worklist.js";

const ACTIVE = new Set(["waiting", "running"]);
const POLL_MS = 500;
const IDLE_MS = 5000;

/** @param ask asks for `renew` with the token of a new session. */
export function mount(root, data, ask) {
  return new App(root, data, ask);
}

class App {
  constructor(root, data, ask) {
    this.ask = ask;
    this.api = new Api(data.token);
    this.texts = data.texts;
    this.version = data.version;
    this.language = remembered() ?? (navigator.language.startsWith("zh") ? "zh" : "en");
    Object.assign(this, { studies: [], models: [], sample: false, open: null, sending: null, notice: "", tool: "crosshair", current: 0 });
    this.panes = [];
    this.parts = Object.fromEntries(["header", "worklist", "stage", "findings", "keys"].map((name) => [name, h("div", { class: name })]));
    this.parts.worklist.setAttribute("role", "navigation");
    this.frame = h("div", { class: "app", "data-testid": "medmtl" }, ...Object.values(this.parts));
    root.append(this.frame);
    this.listeners = [
      [window, "keydown", (event) => onKey(this, event), true],
      [window, "keyup", (event) => event.key.toLowerCase() === "h" && this.showAnswers()],
      [window, "blur", () => this.showAnswers()], // the key's release may be another window's
      [window, "resize", () => this.drawSoon()],
      [window, "dragover", (event) => event.preventDefault()],
      [window, "drop", (event) => this.onDrop(event)],
    ];
    for (const [target, ...rest] of this.listeners) target.addEventListener(...rest);
    this.resizes = new ResizeObserver(() => this.drawSoon());
    this.resizes.observe(this.frame);
    this.render();
    this.poll();
  }

  get t() {
    return translator(this.texts, this.language);
  }

  /** A text of the bundle in the page's language. */
  say(titles) {
    return titles?.[this.language] ?? titles?.en ?? "";
  }

  renew(data) {
    if (this.api.token === data.token) return;
    this.api.token = data.token;
    this.poll();
    if (this.open?.page) this.renewGrant();
  }

  /** Voxels stay; what is fetched from now on needs a grant of the new session. */
  async renewGrant() {
    const { grant } = await this.api.json(`studies/${this.open.study.id}`).catch(() => ({}));
    if (grant) this.open.grant = grant;
  }

  unmount() {
    clearTimeout(this.timer);
    this.leave?.abort();
    this.resizes.disconnect();
    for (const [target, ...rest] of this.listeners) target.removeEventListener(...rest);
    this.frame.remove();
  }

  async poll() {
    clearTimeout(this.timer);
    try {
      Object.assign(this, await this.api.json("worklist"), { lost: false });
    } catch (error) {
      this.lost = true;
      if (error.message === "not-found") this.ask();
    }
    const known = JSON.stringify([this.studies, this.lost]);
    if (known !== this.known) {
      this.known = known;
      await this.followOpen();
      this.renderWorklist();
    }
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.poll(), this.studies.some((study) => ACTIVE.has(study.state)) ? POLL_MS : IDLE_MS);
  }

  /** Keeps what is open in step with its row: progress, or its page once it is ready. */
  async followOpen() {
    if (!this.open) {
      const first = this.studies.find((study) => study.state === "ready");
      if (first && !this.visited) await this.show(first.id);
      else this.renderStage();
      return;
    }
    const row = this.studies.find((study) => study.id === this.open.study.id);
    if (!row) return this.close();
    const changed = row.state !== this.open.study.state;
    this.open.study = row;
    if (changed) await this.show(row.id);
    else if (!this.open.page) this.renderStage();
  }

  async show(id) {
    this.visited = true;
    this.leave?.abort();
    this.leave = new AbortController();
    const options = { signal: this.leave.signal };
    try {
      const opened = await this.api.json(`studies/${id}`, options);
      Object.assign(this, { open: opened, scene: null, panes: [], current: 0, maximised: null, loaded: 0 });
      if (opened.page) this.makeScene(opened.page.view);
      this.render();
      if (this.scene) await this.scene.load(this.api, opened.grant, options, (share) => this.loading(share));
      this.loading(1);
      if (this.scene) this.frame.dataset.ready = id;
    } catch (error) {
      if (error.name !== "AbortError") this.tell(this.t("cannot_open"));
    }
  }

  close() {
    this.leave?.abort();
    Object.assign(this, { open: null, scene: null, panes: [] });
    this.render();
  }

  makeScene(view) {
    this.scene = new Scene(view);
    const order = [this.scene.main, ...Object.keys(this.scene.planes).filter((name) => name !== this.scene.main)];
    const tools = {
      tool: () => this.tool,
      t: () => this.t,
      activate: (pane) => this.activate(pane),
      maximise: (pane) => this.maximise(pane),
      settled: () => this.renderHeader(),
    };
    this.panes = order.map((name) => new Pane(this.scene, name, tools));
    this.active = this.panes[0];
    this.scene.listeners.add((pane) => this.drawSoon(pane));
    const first = view.lesions[0]?.jump ?? view.structures[0]?.jump;
    if (first) this.scene.goTo(first);
  }

  activate(pane) {
    this.active = pane;
    for (const other of this.panes) other.canvas.classList.toggle("active", other === pane);
  }

  maximise(pane) {
    this.maximised = this.maximised === pane ? null : pane;
    this.renderStage();
  }

  /** Draws a pane, or all of them, with the next frame; what came since the last one is drawn once. */
  drawSoon(pane) {
    if (!this.stale) {
      this.stale = new Set();
      requestAnimationFrame(() => {
        const stale = this.stale;
        this.stale = null;
        for (const one of this.panes) if (stale.has(one)) one.draw();
      });
    }
    for (const one of pane ? [pane] : this.panes) this.stale.add(one);
  }

  loading(share) {
    this.loaded = share;
    const bar = this.parts.stage.querySelector(".loading");
    if (bar) {
      bar.style.width = `${Math.round(100 * share)}%`;
      bar.hidden = share >= 1;
    }
  }

  goToLesion(place) {
    const { lesions } = this.scene.view;
    if (!lesions.length) return;
    this.current = (place + lesions.length) % lesions.length;
    this.scene.goTo(lesions[this.current].jump);
    this.renderFindings();
  }

  toggle(what, on) {
    this.scene.show[what] = on ?? !this.scene.show[what];
    this.scene.changed();
    this.frame.classList.toggle("own-look", !this.scene.show.answers);
  }

  setPreset(row) {
    this.scene.setWindow(row.width, row.level);
    this.renderHeader();
  }

  resetView() {
    for (const pane of this.panes) pane.reset();
    this.setPreset(this.scene.view.windows[0]);
  }

  /** What the worklist calls a study. */
  title(study) {
    return study.sample ? this.t("sample_title") : study.summary.accession || study.title || this.t("new_study");
  }

  showAnswers() {
    if (this.scene && !this.scene.show.answers) this.toggle("answers", true);
  }

  setTool(tool) {
    this.tool = this.tool === tool ? "crosshair" : tool;
    this.renderHeader();
    this.frame.dataset.tool = this.tool;
  }

  setLanguage(language) {
    this.language = language;
    try {
      localStorage.setItem("medmtl-language", language);
    } catch { /* a private window keeps nothing */ }
    this.render();
    this.drawSoon();
  }

  async send(entries) {
    if (!entries.length) return;
    this.sending = 0;
    this.renderWorklist();
    try {
      const id = await upload(this.api, entries, (share) => {
        this.sending = share;
        this.renderWorklist();
      });
      await this.poll();
      await this.show(id);
    } catch (error) {
      this.tell(this.t("upload_failed", { reason: error.message }));
    } finally {
      this.sending = null;
      this.renderWorklist();
    }
  }

  async onDrop(event) {
    event.preventDefault();
    if (event.dataTransfer) await this.send(await dropped(event.dataTransfer));
  }

  async act(path, options) {
    try {
      const body = await this.api.json(path, options);
      await this.poll();
      if (body.study) await this.show(body.study);
    } catch {
      this.tell(this.t("not_possible"));
    }
  }

  remove(study) {
    if (window.confirm(this.t("remove_sure", { name: this.title(study) }))) this.act(`studies/${study.id}`, { method: "DELETE" });
  }

  async download() {
    const response = await this.api.send(`export/${this.open.grant}`);
    if (!response.ok) return this.tell(this.t("not_possible"));
    const url = URL.createObjectURL(await response.blob());
    h("a", { href: url, download: `${this.open.page.findings.case}.zip` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
  }

  async copyText() {
    await navigator.clipboard.writeText(this.open.page.findings.text[this.language]).then(
      () => this.tell(this.t("copied")),
      () => this.tell(this.t("not_possible")),
    );
  }

  /** A line that goes away by itself. */
  tell(text) {
    const line = h("div", { class: "notice", role: "status" }, text);
    this.frame.append(line);
    setTimeout(() => line.remove(), 4000);
  }

  showKeys() {
    const dialog = keysDialog(this);
    this.frame.append(dialog);
    dialog.addEventListener("close", () => dialog.remove());
    dialog.showModal();
  }

  render() {
    this.frame.lang = this.language === "zh" ? "zh-Hans" : "en";
    this.renderHeader();
    this.renderWorklist();
    this.renderStage();
    this.renderFindings();
    fill(this.parts.keys, keyLine(this));
  }

  renderHeader() {
    keepFocus(this.parts.header, () => fill(this.parts.header, header(this)));
  }

  renderWorklist() {
    keepFocus(this.parts.worklist, () => fill(this.parts.worklist, worklistPanel(this)));
  }

  renderStage() {
    fill(this.parts.stage, stage(this));
    this.drawSoon();
  }

  renderFindings() {
    keepFocus(this.parts.findings, () => fill(this.parts.findings, findingsPanel(this)));
    this.frame.classList.toggle("plain", !this.open?.page);
  }
}

function remembered() {
  try {
    return localStorage.getItem("medmtl-language");
  } catch {
    return null;
  }
}
