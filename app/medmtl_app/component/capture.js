// A picture of one pane or of all of them, as they are on the screen: with scale bar and letters, and without a name.

const FOOT = 26; // CSS pixels

/** Saves `panes` as a PNG; `line` stands below them. */
export async function capture(panes, line) {
  const ratio = window.devicePixelRatio || 1;
  const boxes = panes.map((pane) => pane.canvas.getBoundingClientRect());
  const left = Math.min(...boxes.map((box) => box.left));
  const top = Math.min(...boxes.map((box) => box.top));
  const width = Math.max(...boxes.map((box) => box.right)) - left;
  const height = Math.max(...boxes.map((box) => box.bottom)) - top;
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width: Math.round(width * ratio), height: Math.round((height + FOOT) * ratio) });
  const context = canvas.getContext("2d");
  context.fillStyle = "#0a0d11";
  context.fillRect(0, 0, canvas.width, canvas.height);
  panes.forEach((pane, n) => context.drawImage(pane.canvas, (boxes[n].left - left) * ratio, (boxes[n].top - top) * ratio));
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.font = "12px system-ui, sans-serif";
  context.textBaseline = "middle";
  context.fillStyle = "#a3adb8";
  context.fillText(line, 8, height + FOOT / 2);
  const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  Object.assign(link, { href: url, download: `medmtl-${stamp(new Date())}.png` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

const stamp = (now) => [now.getFullYear(), now.getMonth() + 1, now.getDate(), now.getHours(), now.getMinutes(), now.getSeconds()]
  .map((part) => String(part).padStart(2, "0")).join("");
