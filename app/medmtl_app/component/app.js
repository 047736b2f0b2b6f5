// The page: worklist, planes, findings. Holds what is open; the parts draw it.
import { Api, dropped, upload } from "./api.js";
import { correctionBar } from "./correction.js";
import { Brush, BRUSHES } from "./brush.js";
import { fill, h, keepFocus, translator } from "./dom.js";
import { exportDialog } from "./export.js";
import { findingsPanel } from "./findings.js";
import { header, keyLine, keysDialog } from "./header.js";
import { onKey } from "./keys.js";
import { OwnLook } from "./ownlook.js";
import { Pane } from "./pane.js";
import { Reading } from "./reading.js";
import { Review, saveDialog } from "./review.js";
import { Scene } from "./scene.js";
import { Thumbs } from "./series.js";
import { stage } from "./stage.js";
import { worklistPanel } from "./worklist.js";

const ACTIVE = new Set(["waiting", "running"]);
const ANSWERED = new Set(["ready", "reviewed"]);
const POLL_MS = 500;
const IDLE_MS = 5000;

/** @param ask `renew()` asks for the token of a new session, `signOut()` ends the reader's. */
export function mount(root, data, ask) {
  return new App(root, data, ask);
}

class App extends Reading {
  constructor(root, data, ask) {
    super();
    this.ask = ask;
    this.api = new Api(data.token);
    this.texts = JSON.parse(data.texts);
    this.version = data.version;
    this.reader = data.reader ?? null;
    this.language = remembered() ?? (navigator.language.startsWith("zh") ? "zh" : "en");
    Object.assign(this, { studies: [], models: [], sample: false, open: null, sending: null, notice: "", tool: "crosshair", current: 0 });
    this.panes = [];
    this.ownLook = new OwnLook();
    this.thumbs = new Thumbs(this.api, () => this.renderWorklist());
    this.parts = Object.fromEntries(["header", "worklist", "stage", "findings", "keys"].map((name) => [name, h("div", { class: name })]));
    this.parts.worklist.setAttribute("role", "navigation");
    this.frame = h("div", { class: "app", "data-testid": "medmtl" }, ...Object.values(this.parts));
    root.append(this.frame);
    this.listeners = [
      [window, "keydown", (event) => onKey(this, event), true],
      [window, "keyup", (event) => event.key.toLowerCase() === "h" && this.showAnswers()],
      [window, "blur", () => this.showAnswers()], // the key's release may be another window's
      [window, "resize", () => this.drawSoon()],
      [window, "beforeunload", (event) => (this.review?.changed || this.brush?.dirty) && event.preventDefault()],
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
    this.thumbs.end();
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
      if (error.message === "not-found") this.ask.renew();
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
      const first = this.studies.find((study) => ANSWERED.has(study.state));
      if (first && !this.visited) await this.show(first.id);
      else this.renderStage();
      return;
    }
    const row = this.studies.find((study) => study.id === this.open.study.id);
    if (!row) return this.close();
    const { state } = this.open.study;
    const changed = row.state !== state && !(ANSWERED.has(state) && ANSWERED.has(row.state));
    this.open.study = row;
    if (changed) await this.show(row.id);
    else if (!this.open.page) this.renderStage();
  }

  /** Leaves what was drawn and said unsaved only if the reader agrees. */
  mayLeave() {
    return !(this.review?.changed || this.brush?.dirty) || window.confirm(this.t("leave_sure"));
  }

  /** Opens a study where nothing unsaved is lost by it. */
  async visit(id) {
    if (id === this.open?.study.id || this.mayLeave()) await this.show(id);
  }

  /** Opens a study, or another version of the one that is open, which then stays where it was. */
  async show(id, version) {
    this.visited = true;
    this.leave?.abort();
    this.leave = new AbortController();
    const options = { signal: this.leave.signal };
    try {
      const opened = await this.api.json(`studies/${id}${version === undefined ? "" : `?version=${version}`}`, options);
      const former = version !== undefined && this.open?.study.id === id && this.scene?.voxels ? { scene: this.scene, panes: this.panes, radius: this.brush?.radius } : null;
      const sibling = this.open?.study;
      if (sibling?.upload !== opened.study.upload || sibling.number !== opened.study.number) this.others = null;
      delete this.frame.dataset.ready;
      delete this.frame.dataset.surface;
      Object.assign(this, { open: opened, scene: null, panes: [], current: 0, maximised: null, loaded: 0, person: null, unfolded: new Set() });
      Object.assign(this, { brush: null, review: null });
      if (opened.page) this.makeScene(opened.page, former);
      this.render();
      if (this.scene) await this.scene.load(this.api, opened.grant, options, (share) => this.loading(share), former?.scene);
      if (this.review) this.review.hideRejected();
      this.loading(1);
      if (this.scene) this.frame.dataset.ready = id;
      if (this.scene?.structures.some((row) => row.mesh)) await this.addSurfaces(options);
    } catch (error) {
      if (error.name !== "AbortError") this.tell(this.t("cannot_open"));
    }
  }

  close() {
    this.leave?.abort();
    Object.assign(this, { open: null, scene: null, panes: [], brush: null, review: null });
    this.render();
  }

  makeScene(page, former) {
    const { view } = page;
    this.scene = new Scene(view);
    if (page.review) Object.assign(this, { brush: new Brush(this.scene), review: new Review(this, page) });
    if (this.brush && former?.radius) this.brush.radius = former.radius;
    if (this.brush) this.brush.listeners.add(() => this.brushTold());
    else if (BRUSHES.includes(this.tool)) this.setTool("crosshair");
    const order = [this.scene.main, ...Object.keys(this.scene.planes).filter((name) => name !== this.scene.main)];
    this.tools = {
      tool: () => this.tool,
      t: () => this.t,
      brush: () => this.brush,
      structureName: (structure) => this.say(structure?.title) || structure?.name || "",
      activate: (pane) => this.activate(pane),
      maximise: (pane) => this.maximise(pane),
      settled: () => this.renderHeader(),
    };
    this.scene.show.answers = !this.kept;
    this.panes = order.map((name) => new Pane(this.scene, name, this.tools));
    this.active = this.panes[0];
    this.scene.listeners.add((pane) => this.drawSoon(pane));
    const first = view.lesions[0]?.jump ?? view.structures[0]?.jump;
    if (first && !this.kept) this.scene.goTo(first);
    if (former) this.stay(former);
  }

  /** Slice, window and place are those of the version that was shown before. */
  stay({ scene, panes }) {
    for (const [number, { width, level }] of scene.channels.entries()) Object.assign(this.scene.channels[number], { width, level });
    this.scene.showChannel(scene.channel);
    this.scene.goTo(scene.cross);
    for (const pane of this.panes) {
      const { zoom, pan } = panes.find((one) => one.name === pane.name);
      Object.assign(pane, { zoom, pan });
    }
  }

  /** The 3D pane, once the planes can be read. */
  async addSurfaces(options) {
    const { scene, open } = this;
    const { SurfacePane } = await import("./surface3d.js");
    if (this.scene !== scene) return;
    const pane = new SurfacePane(scene, this.tools);
    this.panes.push(pane);
    options.signal.addEventListener("abort", () => pane.end());
    this.renderStage();
    await pane.load(this.api, open.grant, options);
    this.frame.dataset.surface = open.study.id;
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

  /** What the worklist calls a study. */
  title(study) {
    const name = study.sample ? this.t("sample_title") : study.summary.accession || study.title || this.t("new_study");
    return study.series && study.summary.series ? `${name} · ${study.summary.series}` : name;
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

  openDialog(dialog) {
    this.frame.append(dialog);
    dialog.addEventListener("close", () => dialog.remove());
    dialog.showModal();
  }

  askSave() {
    if (this.review && !this.kept) this.openDialog(saveDialog(this));
  }

  askExport() {
    this.openDialog(exportDialog(this));
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
    this.openDialog(keysDialog(this));
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

  brushTold() {
    this.renderCorrection();
    if (this.parts.findings.classList.toggle("drawn-on", this.brush.dirty) !== this.wasDirty) this.renderFindings();
    this.wasDirty = this.brush.dirty;
  }

  /** The bar of the brush. */
  renderCorrection() {
    const place = this.parts.stage.querySelector(".correction-place");
    if (place) keepFocus(place, () => fill(place, [correctionBar(this)]));
    this.renderHeader();
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
