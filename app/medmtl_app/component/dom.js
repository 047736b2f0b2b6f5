// Elements in one call, and the two kinds of text that need care.

/** An element: `on…` are listeners, true and false set and leave out an attribute, the rest are attributes. */
export function h(tag, props, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Puts `children` in the place of what `element` held; text is never read as markup. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
}

/** Draws `element` anew and gives the keyboard back to the place in it that had it. */
export function keepFocus(element, draw) {
  const held = element.getRootNode().activeElement;
  const place = [...element.querySelectorAll("button, input, select, textarea")].indexOf(held);
  const caret = place >= 0 && held.type === "search" ? held.selectionStart : null;
  draw();
  if (place < 0) return;
  const next = element.querySelectorAll("button, input, select, textarea")[place];
  next?.focus({ preventScroll: true });
  if (caret !== null) next?.setSelectionRange?.(caret, caret);
}

const PATHS = {
  eye: "M1.5 8S4 3.5 8 3.5 14.5 8 14.5 8 12 12.5 8 12.5 1.5 8 1.5 8ZM8 10a2 2 0 1 0 0-4 2 2 0 0 0 0 4Z",
  closed: "M1.5 7.5S4 11 8 11s6.5-3.5 6.5-3.5M3.5 10 2.4 11.6M8 11v2M12.5 10l1.1 1.6",
  plus: "M8 3v10M3 8h10",
  cross: "M4 4l8 8M12 4l-8 8",
  warn: "M8 2 14.5 13.5h-13ZM8 6.5v3.2M8 11.6v.2",
  info: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12ZM8 7.2v3.8M8 4.9v.2",
  copy: "M5.5 5.5h7v8h-7ZM3.5 10.5v-8h7",
  logo: "M8 1v4M8 11v4M1 8h4M11 8h4M8 13.2A5.2 5.2 0 1 0 8 2.8a5.2 5.2 0 0 0 0 10.4Z",
  crosshair: "M8 1.5v5M8 9.5v5M1.5 8h5M9.5 8h5",
  window: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12ZM8 2v12M8 5h4.6M8 8h6M8 11h4.6",
  pan: "M8 1.5v13M1.5 8h13M6 3.5l2-2 2 2M6 12.5l2 2 2-2M3.5 6l-2 2 2 2M12.5 6l2 2-2 2",
  measure: "M1.8 10.6 10.6 1.8l3.6 3.6-8.8 8.8ZM4.4 8l1.4 1.4M6.7 5.7l2 2M9 3.4l1.4 1.4",
  diameters: "M2 12 14 4M5.6 4.4l4.8 7.2M1.4 11l1.2 2M13.4 3l1.2 2M4.7 5l1.8-1.2M9.5 12.2l1.8-1.2",
  camera: "M2 5h3l1-1.7h4L11 5h3v8H2ZM8 11.2a2.4 2.4 0 1 0 0-4.8 2.4 2.4 0 0 0 0 4.8Z",
  keys: "M1.5 4h13v8.5h-13ZM4 6.6h.1M6.7 6.6h.1M9.3 6.6h.1M12 6.6h.1M4.5 10h7",
  person: "M8 8a2.7 2.7 0 1 0 0-5.4A2.7 2.7 0 0 0 8 8ZM2.8 14c.4-3 2.4-4.3 5.2-4.3s4.8 1.3 5.2 4.3",
  brush: "M13.8 2.2c-3 1-6.2 4-7.4 6.3l1.9 1.9c2.3-1.2 5.2-4.4 6.2-7.4ZM5.8 9.2c-2 .2-2 2.8-4.2 3.6 2.2 1.2 5.8.8 6-1.9",
  eraser: "M9.2 2.6 13.6 7 8.2 12.6H5.4L2.6 9.8Zm-3.4 3.5 4.2 4.3M8 12.6h6",
  tick: "M3.2 8.6 6.5 12 12.8 4.4",
  undo: "M6 3 2.8 6.2 6 9.4M3 6.2h6.4a3.6 3.6 0 0 1 0 7.2H6.6",
  redo: "M10 3l3.2 3.2L10 9.4M13 6.2H6.6a3.6 3.6 0 0 0 0 7.2h2.8",
  unfold: "M4 6.2l4 4 4-4",
  dots: "M3.5 8h.1M8 8h.1M12.5 8h.1",
};

/** A line drawing of 16 x 16. */
export function icon(name, label) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", `icon icon-${name}`);
  if (label) svg.setAttribute("aria-label", label);
  else svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

/** Texts of the catalogue in one language; `{name}` is replaced by `values.name`. */
export function translator(texts, language) {
  return (key, values) => {
    const entry = texts[key];
    if (!entry) throw new Error(`no text ${key}`);
    return (entry[language] ?? entry.en).replace(/\{(\w+)\}/g, (all, name) => values?.[name] ?? all);
  };
}

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** A clause as a sentence. */
export const sentence = (text) => (text ? `${capital(text)}.` : "");

/** Seconds as "40 s" or "3 min". */
export function duration(seconds) {
  return seconds < 90 ? `${Math.max(1, Math.round(seconds))} s` : `${Math.round(seconds / 60)} min`;
}
