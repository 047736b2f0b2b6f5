// What Streamlit mounts. The rest of the page is fetched once, as modules of the same server.
const live = new WeakMap();

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  // after the server began anew, a run of the page's script brings the token of the new session
  const ask = { renew: () => setTriggerValue("renew", Date.now()), signOut: () => setTriggerValue("sign_out", Date.now()) };
  let entry = live.get(parentElement);
  if (!entry) {
    const source = new URL("medmtl/ui/app.js", document.baseURI).href;
    entry = { app: import(source).then((module) => module.mount(parentElement, data, ask)) };
    live.set(parentElement, entry);
  } else {
    entry.app.then((app) => app.renew(data));
  }
  return () => {
    live.delete(parentElement);
    entry.app.then((app) => app.unmount());
  };
}
