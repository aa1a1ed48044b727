// What is around every view: the name, the ways to go, how all cameras are, and the theme.

import { get, remove } from "./api.js";
import { announce, button, h, icon, put, tell } from "./dom.js";
import { duration } from "./format.js";
import { isTrouble, word } from "./states.js";

const WAYS = [["", "Wall", "wall"], ["events", "Events", "events"], ["system", "System", "system"]];
const THEMES = { auto: "as the system", dark: "dark", light: "light" };

export function showFrame(app, loggedOut) {
  const { store } = app;
  const ways = WAYS.map(([name, title, sign]) => h("a", { href: `#/${name}`, "data-name": name }, icon(sign), h("span", {}, title)));
  const site = h("span", { class: "site" });
  const tally = h("p", { class: "tally", "aria-label": "Cameras by state" });
  const logout = button("Log out", { name: "key", text: false, hidden: true, onclick: async () => {
    await remove("api/v1/session").catch(() => {});
    loggedOut();
  } });
  put(document.getElementById("top"),
    h("a", { class: "brand", href: "#/", "aria-label": "Vigil: to the wall" }, mark(), h("span", {}, "Vigil")), site,
    h("nav", { "aria-label": "Views" }, ways), tally, logout, themeButton(),
    h("a", { class: "button primary edits", href: "#/add" }, icon("plus"), h("span", {}, "Add camera")));

  const states = new Map();
  const count = () => {
    const found = {};
    for (const stream of store.streams.values()) {
      found[stream.state] = (found[stream.state] ?? 0) + 1;
      const before = states.get(stream.id);
      if (before !== undefined && before !== stream.state) announce(`${stream.id} is ${word(stream.state)}`);
      states.set(stream.id, stream.state);
    }
    const shown = Object.entries(found).sort(([a], [b]) => (a === "live" ? -1 : b === "live" ? 1 : a.localeCompare(b)));
    put(tally, shown.map(([state, many]) => h("span", { class: "state", "data-state": state }, icon(state), h("span", {}, `${many} ${word(state)}`))));
    const troubled = [...store.streams.values()].filter((stream) => isTrouble(stream.state)).length;
    document.getElementById("top").dataset.troubled = troubled;
  };
  store.on(["streams", "status"], count);
  store.on(["connection"], () => offline(store));
  get("api/v1/config").then((config) => tell(site, config.site)).catch(() => {});
  return {
    at(name) {
      const here = ["stream", "add", "edit"].includes(name) ? "" : name;
      for (const way of ways) way.toggleAttribute("data-here", way.dataset.name === here);
      for (const way of ways) way.dataset.name === name ? way.setAttribute("aria-current", "page") : way.removeAttribute("aria-current");
    },
    session({ token_needed: needed }) {
      logout.hidden = !needed;
      get("api/v1/config").then((config) => tell(site, config.site)).catch(() => {});
    },
  };
}

function mark() {
  const image = h("img", { src: document.querySelector("link[rel=icon]").href, alt: "", width: 28, height: 28 });
  return image;
}

function themeButton() {
  const order = Object.keys(THEMES);
  const made = h("button", { type: "button", class: "button bare" });
  const follow = () => {
    const theme = document.documentElement.dataset.theme ?? "auto";
    made.setAttribute("aria-label", `Theme: ${THEMES[theme]}. Change`);
    made.title = `Theme: ${THEMES[theme]}`;
    put(made, icon({ auto: "auto", dark: "moon", light: "sun" }[theme]));
  };
  made.addEventListener("click", () => {
    const now = document.documentElement.dataset.theme ?? "auto";
    const next = order[(order.indexOf(now) + 1) % order.length];
    if (next === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    localStorage.setItem("vigil.theme", next);
    follow();
  });
  follow();
  return made;
}

let ticking = null;

/** A bar that says since when nothing is heard of the service, while that is so. */
function offline(store) {
  clearInterval(ticking);
  const notices = document.getElementById("notices");
  if (store.connection !== "offline") {
    put(notices);
    return;
  }
  const since = h("span", { "aria-hidden": "true" });
  put(notices, h("p", { class: "notice bad" }, icon("offline"), h("span", {}, "No connection to Vigil: what is shown is old. Trying again."), since));
  const count = () => tell(since, store.lastHeard === null ? "" : `Last heard ${duration(Math.round((performance.now() - store.lastHeard) / 1000))} ago`);
  ticking = setInterval(count, 1000);
  count();
}

/** Says for a while that something was done or was not. */
export function notice(text, bad = false) {
  const shown = h("p", { class: `notice ${bad ? "bad" : "good"}` }, icon(bad ? "warning" : "check"), h("span", {}, text));
  document.getElementById("notices").append(shown);
  setTimeout(() => shown.remove(), bad ? 10_000 : 4000);
}
