// A page for React: the document and the window that it needs, and Node's own fetch.
import { Window } from "happy-dom";

export function makePage() {
  const window = new Window({ url: "http://localhost:3000" });
  globalThis.window = window;
  globalThis.document = window.document;
  globalThis.navigator ??= window.navigator;
  for (const name of ["HTMLElement", "HTMLIFrameElement", "Node", "Element"]) globalThis[name] = window[name];
}
