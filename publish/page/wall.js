// All cameras at once. Only tiles that can be seen are connected.

import { button, h, icon, put, tell, unique } from "./dom.js";
import { isTrouble } from "./states.js";
import { Tile } from "./tile.js";

const SIZES = { small: "Small tiles", medium: "Medium tiles", large: "Large tiles" };
// A tile that was scrolled past is let go of after a while, and not at once.
const LINGER_MS = 1500;
const HIDDEN_MS = 15_000;

export function wallView({ store }) {
  const tiles = new Map();
  const grid = h("ul", { class: "wall", "aria-label": "Cameras" });
  const search = h("input", { type: "search", placeholder: "Find a camera", "aria-label": "Find a camera by name", oninput: () => sift() });
  const troubled = h("input", { type: "checkbox", id: unique("troubled"), onchange: () => sift() });
  const found = h("p", { class: "unseen", role: "status" });
  const sizes = h("div", { class: "segments", role: "group", "aria-label": "Size of the tiles" },
    Object.entries(SIZES).map(([size, label]) => h("button", { type: "button", "data-size": size, title: label, "aria-label": label, onclick: () => resize(size) }, h("i"), h("i"), h("i"), h("i"))));
  const nothing = h("div", { class: "empty" });
  const element = h("section", { class: "wall-view", "aria-label": "Wall" },
    h("div", { class: "bar" }, h("h1", {}, "Cameras"), h("div", { class: "search" }, icon("search"), search),
      h("label", { class: "check", for: troubled.id }, troubled, h("span", {}, "Only troubled")), h("span", { class: "space" }), sizes),
    grid, nothing, found);

  const lingering = new Map();
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const tile = entry.target.tile;
      clearTimeout(lingering.get(tile));
      if (entry.isIntersecting && !document.hidden) tile.start();
      else lingering.set(tile, setTimeout(() => tile.stop(), LINGER_MS));
      tile.onScreen = entry.isIntersecting;
    }
  }, { rootMargin: "80px" });

  const rebuild = () => {
    for (const [id, tile] of tiles) {
      if (store.streams.has(id)) continue;
      seen.unobserve(tile.element);
      tile.leave();
      tiles.delete(id);
    }
    for (const id of store.streams.keys()) {
      if (tiles.has(id)) continue;
      const tile = new Tile(store, id);
      tile.element.tile = tile;
      tiles.set(id, tile);
      grid.append(tile.element);
      seen.observe(tile.element);
    }
    sift();
  };

  const sift = () => {
    const asked = search.value.trim().toLowerCase();
    let shown = 0;
    for (const [id, tile] of tiles) {
      const state = store.streams.get(id)?.state;
      const hidden = !id.includes(asked) || (troubled.checked && !isTrouble(state));
      tile.element.hidden = hidden;
      shown += hidden ? 0 : 1;
    }
    nothing.hidden = shown > 0;
    if (shown) return;
    if (store.connection === "connecting") put(nothing, h("p", { class: "loading" }, "Asking Vigil for its cameras…"));
    else if (!tiles.size) {
      put(nothing, icon("camera"), h("h2", {}, "No cameras yet"), h("p", {}, "Add one here, or name it in the config: Vigil follows both while it runs."),
        h("a", { class: "button primary edits", href: "#/add" }, icon("plus"), h("span", {}, "Add a camera")));
    } else {
      put(nothing, icon("search"), h("h2", {}, troubled.checked && !asked ? "No camera is in trouble" : "No camera is called so"),
        button("Show all", { onclick: () => {
          search.value = "";
          troubled.checked = false;
          sift();
        } }));
    }
    tell(found, `${shown} cameras`);
  };

  const resize = (size) => {
    grid.dataset.size = size;
    localStorage.setItem("vigil.tiles", size);
    for (const one of sizes.children) one.setAttribute("aria-pressed", String(one.dataset.size === size));
  };

  let asleep = null;
  const visibility = () => {
    clearTimeout(asleep);
    if (document.hidden) asleep = setTimeout(() => tiles.forEach((tile) => tile.stop()), HIDDEN_MS);
    else tiles.forEach((tile) => tile.onScreen && tile.start());
  };
  document.addEventListener("visibilitychange", visibility);
  resize(SIZES[localStorage.getItem("vigil.tiles")] ? localStorage.getItem("vigil.tiles") : "medium");
  rebuild();
  const forget = [store.on(["streams", "connection"], rebuild), store.on(["status"], () => troubled.checked && sift())];
  return {
    element,
    leave() {
      forget.forEach((one) => one());
      document.removeEventListener("visibilitychange", visibility);
      clearTimeout(asleep);
      seen.disconnect();
      lingering.forEach((timer) => clearTimeout(timer));
      tiles.forEach((tile) => tile.leave());
    },
  };
}
