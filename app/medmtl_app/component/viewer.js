// What Streamlit mounts. The rest of the page is fetched once, as modules of the same server.
const live = new WeakMap();

export default function (component) {
  const { data, parentElement } = component;
  let entry = live.get(parentElement);
  if (!entry) {
    const source = new URL("medmtl/ui/app.js", document.baseURI).href;
    entry = { app: import(source).then((module) => module.mount(parentElement, data)) };
    live.set(parentElement, entry);
  } else {
    entry.app.then((app) => app.renew(data)); // the session began anew and has another token
  }
  return () => {
    live.delete(parentElement);
    entry.app.then((app) => app.unmount());
  };
}
