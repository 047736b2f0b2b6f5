// What a reader does with the open study. The page (app.js) is one of these, with everything around it.
import { capture } from "./capture.js";

export class Reading {
  goToLesion(place) {
    const { lesions } = this.scene.view;
    if (!lesions.length) return;
    this.current = (place + lesions.length) % lesions.length;
    this.showChannel(this.scene.lesionChannel);
    this.scene.goTo(lesions[this.current].jump);
    this.renderFindings();
  }

  /** Brings the planes to a structure, on the channel that it is drawn on. */
  goToStructure(row) {
    this.showChannel(row.channel);
    this.scene.goTo(row.jump ?? row.low);
  }

  /** Another channel of the image, with the masks that are drawn on it; the brush takes one of them in hand. */
  showChannel(number) {
    const { scene, brush } = this;
    if (number === scene.channel) return;
    scene.showChannel(number);
    if (brush && !scene.isHere(brush.target ?? {})) brush.target = scene.structures.find((row) => scene.isHere(row)) ?? brush.target;
    this.renderFindings();
    this.renderCorrection();
  }

  nextChannel() {
    this.showChannel((this.scene.channel + 1) % this.scene.channels.length);
  }

  toggle(what, on) {
    this.scene.show[what] = on ?? !this.scene.show[what];
    this.scene.changed();
    this.frame.classList.toggle("own-look", !this.scene.show.answers && !this.kept);
  }

  setPreset(row) {
    this.scene.setWindow(row.width, row.level);
    this.renderHeader();
  }

  resetView() {
    for (const pane of this.panes) pane.reset();
    this.setPreset(this.scene.windows[0]);
  }

  /** Whether what the model says is kept back until the reader's own look. */
  get kept() {
    return Boolean(this.open?.page?.findings) && this.ownLook.pending(this.open.study);
  }

  /** The reader has looked: shows what the model says. */
  reveal() {
    if (!this.kept) return;
    this.ownLook.reveal(this.open.study);
    this.toggle("answers", true);
    this.render();
  }

  setOwnLook(wanted) {
    this.ownLook.set(wanted);
    if (wanted && this.open) this.ownLook.reveal(this.open.study); // it has been seen already
    else if (this.scene) this.toggle("answers", true);
    this.render();
  }

  showAnswers() {
    if (this.kept) return;
    if (this.scene && !this.scene.show.answers) this.toggle("answers", true);
  }

  /** Both ways of drawing the structures, off and on. */
  toggleSegmentation() {
    const { show } = this.scene;
    const on = !(show.contours || show.fill);
    Object.assign(show, { contours: on, fill: on });
    this.scene.changed();
    this.renderWorklist();
  }

  /** The map of probability of `structure`; none where it is shown already. */
  async toggleHeat(structure = this.scene.heat.structure ?? this.scene.structures.find((row) => row.heat && this.scene.isHere(row))) {
    const { heat } = this.scene;
    if (!structure?.heat) return this.tell(this.t("no_heat"));
    this.showChannel(structure.channel);
    const get = (file, length) => this.api.bytes(`voxels/${this.open.grant}/${file}`, length);
    await heat.choose(heat.structure === structure ? null : structure, get).catch(() => this.tell(this.t("not_possible")));
    this.renderFindings();
  }

  /** A picture of `panes`, of all that are on the screen where null. */
  async capture(panes) {
    const model = this.open.page.findings?.model;
    const line = [`medmtl ${this.version}`, model && `${model.name} ${model.version}`, this.t("research_short")].filter(Boolean).join(" · ");
    await capture(panes ?? this.panes.filter((pane) => pane.canvas.isConnected), line);
    this.tell(this.t("captured"));
  }

  /** The series of the study that is open. */
  async listSeries() {
    const { study, grant } = this.open;
    const { series } = await this.api.json(`series/${grant}`).catch(() => ({}));
    if (!series) return this.tell(this.t("not_possible"));
    if (this.open?.study.upload !== study.upload) return;
    this.others = series;
    this.renderWorklist();
  }

  /** Name, ID and birth date of the patient, until asked for again. */
  async togglePerson() {
    const { grant } = this.open;
    this.person = this.person ? null : await this.api.json(`person/${grant}`).catch(() => ({}));
    if (this.open?.grant !== grant) this.person = null;
    this.renderHeader();
  }

  setTool(tool) {
    this.tool = this.tool === tool ? "crosshair" : tool;
    this.renderHeader();
    this.renderCorrection();
    this.frame.dataset.tool = this.tool;
    this.drawSoon();
  }

  /** What the brush draws from now on. */
  drawOn(row) {
    if (this.scene.absent.includes(row)) {
      this.scene.add(row);
      this.renderFindings();
    }
    this.brush.target = row;
    this.showChannel(row.channel);
    this.renderCorrection();
    this.drawSoon();
  }

  /** Says of the lesion in hand what the reader decides; the same again takes it back. */
  decide(decision) {
    const lesion = this.scene.view.lesions[this.current];
    if (this.review && lesion && !this.kept) this.review.say("lesions", lesion.id, { decision });
  }
}
