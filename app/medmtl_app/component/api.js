// Requests to the server this page came from, each with the session's token. There are no others.

export class Api {
  constructor(token) {
    this.token = token;
  }

  async send(path, options = {}) {
    const url = new URL(`medmtl/${path}`, document.baseURI).href;
    const headers = { ...options.headers, "x-medmtl-token": this.token };
    return fetch(url, { ...options, headers, credentials: "omit", redirect: "error", referrerPolicy: "no-referrer" });
  }

  async json(path, options) {
    const response = await this.send(path, options);
    const body = await response.json().catch(() => ({}));
    if (!response.ok) throw new Error(body.error ?? `http-${response.status}`);
    return body;
  }

  post(path, body) {
    return this.json(path, { method: "POST", body: JSON.stringify(body ?? {}) });
  }

  /** The body as bytes, written into one buffer as it comes; `progress(share)` is called meanwhile. */
  async bytes(path, length, options, progress) {
    const response = await this.send(path, options);
    if (!response.ok) throw new Error(`http-${response.status}`);
    const buffer = new Uint8Array(length);
    const reader = response.body.getReader();
    let at = 0;
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      if (at + part.value.length > length) throw new Error("too many voxels");
      buffer.set(part.value, at);
      at += part.value.length;
      progress?.(at / length);
    }
    if (at !== length) throw new Error("voxels are missing");
    return buffer;
  }
}

/** Sends files one at a time, in three lanes; `progress(share)` is of bytes. */
export async function upload(api, entries, progress) {
  const { upload: name } = await api.post("uploads");
  const total = entries.reduce((sum, entry) => sum + entry.file.size, 0) || 1;
  const waiting = [...entries];
  let sent = 0;
  const lane = async () => {
    for (let entry = waiting.shift(); entry; entry = waiting.shift()) {
      const path = `uploads/${name}/files?path=${encodeURIComponent(entry.path)}`;
      await api.json(path, { method: "PUT", body: entry.file });
      sent += entry.file.size;
      progress(sent / total);
    }
  };
  await Promise.all([lane(), lane(), lane()]);
  return (await api.post(`uploads/${name}/finish`)).study;
}

/** Files of a drop, folders opened, each with its path. */
export async function dropped(transfer) {
  const roots = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!roots.length) return [...transfer.files].map((file) => ({ file, path: file.name }));
  const found = [];
  for (const root of roots) await walk(root, found);
  return found;
}

async function walk(entry, found) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    found.push({ file, path: entry.fullPath.replace(/^\//, "") });
    return;
  }
  const reader = entry.createReader();
  const next = () => new Promise((resolve, reject) => reader.readEntries(resolve, reject));
  for (let part = await next(); part.length; part = await next()) {
    for (const child of part) await walk(child, found);
  }
}
