// What the tests of the page's manners ask the page; evaluated in it.
({
  root: [...document.querySelectorAll("*")].map((one) => one.shadowRoot).find((one) => one?.querySelector(".app")),
  overflow() {
    const { root } = this;
    const wide = innerWidth, high = innerHeight, wrong = [];
    const boxes = [...root.querySelectorAll(".header button, .header .research, canvas, .lesion, .structure, .row")];
    for (const one of boxes) {
        const { left, right, top, width, height } = one.getBoundingClientRect();
        if (!width || !height) continue;
        if (left < -1 || right > wide + 1 || top < -1) wrong.push(`${one.className || one.tagName} ${left} ${right}`);
    }
    for (const one of root.querySelectorAll(".header, .stage, .findings, .worklist")) {
        if (one.scrollWidth > one.clientWidth + 1) wrong.push(`${one.className} scrolls sideways`);
    }
    const bars = [...root.querySelectorAll(".header > *")].map((one) => one.getBoundingClientRect()).filter((box) => box.width);
    for (let n = 1; n < bars.length; n++) if (bars[n].left < bars[n - 1].right - 1) wrong.push(`header ${n} overlaps`);
    const panes = [...root.querySelectorAll("canvas")].map((one) => one.getBoundingClientRect());
    if (panes.some((box) => box.bottom > high || box.width < 180 || box.height < 150)) wrong.push("a pane is small or cut");
    return { wrong, text: parseFloat(getComputedStyle(root.querySelector(".app")).fontSize) };
  },
  contrast() {
    const { root } = this;
    const parse = (text) => { const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number); return [r, g, b, a]; };
    const over = ([r, g, b, a], under) => [r, g, b].map((value, n) => value * a + under[n] * (1 - a));
    const light = (color) => color.map((value) => value / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0);
    const low = [];
    let count = 0;
    for (const one of root.querySelectorAll(".app *")) {
        const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
        const style = getComputedStyle(one);
        if (!own || !one.getClientRects().length || style.visibility === "hidden" || one.disabled) continue;
        const chain = [];
        for (let at = one; at && at !== root; at = at.parentElement) chain.unshift(at);
        let back = [0, 0, 0], opacity = 1;
        for (const at of chain) {
            const found = getComputedStyle(at);
            back = over(parse(found.backgroundColor), back);
            opacity *= Number(found.opacity);
        }
        const color = parse(style.color);
        const front = over([...color.slice(0, 3), color[3] * opacity], back);
        const [p, q] = [light(front), light(back)].sort((m, n) => n - m);
        const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && Number(style.fontWeight) >= 700);
        const ratio = (p + 0.05) / (q + 0.05);
        count++;
        if (ratio < (large ? 3 : 4.5)) low.push(`${one.className || one.tagName}: ${one.textContent.trim().slice(0, 30)} ${ratio.toFixed(2)}`);
    }
    return { low, count };
  },
  held() {
    const { root } = this;
    const held = root.activeElement;
    const all = [...root.querySelectorAll("button, input, canvas, select, textarea, a[href]")]
        .filter((one) => one.getClientRects().length && !one.disabled && getComputedStyle(one).visibility !== "hidden");
    const style = held && getComputedStyle(held);
    const seen = held && (parseFloat(style.outlineWidth) > 0 && style.outlineStyle !== "none" || style.boxShadow !== "none");
    const name = held && (held.getAttribute("aria-label") || held.textContent.trim() || held.title || held.placeholder ||
        held.closest("label")?.textContent.trim() || held.dataset.plane);
    return { place: all.indexOf(held), count: all.length, seen, name, tag: held?.outerHTML.slice(0, 120) };
  },
})
