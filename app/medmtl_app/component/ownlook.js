// "My own look first": a study opens without what the model says, until the reader asks for it.
import { h, icon } from "./dom.js";

const KEY = "medmtl-own-look";

export class OwnLook {
  constructor() {
    this.wanted = read(KEY) === "yes";
    this.seen = new Set(); // studies whose answers were asked for
  }

  set(wanted) {
    this.wanted = wanted;
    try {
      localStorage.setItem(KEY, wanted ? "yes" : "no");
    } catch { /* a private window keeps nothing */ }
  }

  /** Whether the answers of a study are still to be kept back. */
  pending(study) {
    return this.wanted && study.state === "ready" && !this.seen.has(study.id);
  }

  reveal(study) {
    this.seen.add(study.id);
  }
}

/** In the place of the findings. */
export function ownLookPanel(app) {
  const { t } = app;
  return [
    h("div", { class: "trust plain", "data-testid": "own-look" }, icon("closed"),
      h("div", {}, h("strong", {}, t("own_look")), h("p", {}, t("own_look_why")))),
    h("button", { class: "primary wide-primary", "data-testid": "reveal", onclick: () => app.reveal() }, t("reveal")),
    h("div", { class: "foot" }, ownLookSwitch(app)),
  ];
}

export function ownLookSwitch(app) {
  return h("label", { class: "switch" },
    h("input", { type: "checkbox", checked: app.ownLook.wanted, "data-testid": "own-look-switch", onchange: (event) => app.setOwnLook(event.target.checked) }),
    app.t("own_look_setting"));
}

function read(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}
