// The page: who may see it, which view is shown, and what they share.

import { get, onUnauthorised } from "./api.js";
import { cameraView } from "./camera_form.js";
import { h, put } from "./dom.js";
import { eventsView } from "./events_view.js";
import { showFrame } from "./frame.js";
import { loginView } from "./login.js";
import { Store } from "./store.js";
import { streamView } from "./stream_view.js";
import { systemView } from "./system_view.js";
import { wallView } from "./wall.js";

/** By the first word after `#/`: the view's name in titles, and what makes it of `(app, rest)`. */
const VIEWS = {
  "": ["Wall", wallView],
  stream: ["Camera", streamView],
  events: ["Events", eventsView],
  system: ["System", systemView],
  add: ["Add a camera", cameraView],
  edit: ["Camera settings", cameraView],
};

const app = { store: new Store(), may: "all", refresh: () => show() };
const main = document.getElementById("main");
let leave = null;

/** A view is `{element, title, leave}`; `leave` lets go of whatever it holds. */
function show() {
  const [name, ...rest] = decodeURIComponent(location.hash.replace(/^#\/?/, "")).split("/");
  const [title, make] = VIEWS[name] ?? ["Not found", notFound];
  leave?.();
  const view = make(app, rest);
  leave = view.leave ?? null;
  document.title = `${view.title ?? title} · Vigil`;
  put(main, view.element);
  frame.at(name);
  window.scrollTo(0, 0);
}

function notFound() {
  return { element: h("section", { class: "empty" }, h("h1", {}, "There is no such view"), h("p", {}, h("a", { href: "#/" }, "To the wall"))) };
}

function askForLogin() {
  if (main.querySelector(".login")) return;
  app.store.stop();
  leave?.();
  leave = null;
  put(main, loginView(begin).element);
}

async function begin() {
  const session = await get("api/v1/session").catch((error) => (error.status === 401 ? { may: "nothing" } : { may: "all" }));
  if (session.may === "nothing") {
    askForLogin();
    return;
  }
  app.may = session.may;
  document.documentElement.dataset.may = session.may;
  frame.session(session);
  const started = app.store.start();
  show();
  await started;
}

const frame = showFrame(app, askForLogin);
onUnauthorised(askForLogin);
window.addEventListener("hashchange", () => {
  if (!location.hash || location.hash.startsWith("#/")) {
    show();
    main.focus({ preventScroll: true });
  }
});
begin();
