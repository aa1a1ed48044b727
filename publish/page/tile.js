// One camera on the wall: its picture, its name and how it is doing.

import { h, put, tell } from "./dom.js";
import { fps, latency } from "./format.js";
import { colourOf } from "./overlay.js";
import { LivePicture } from "./picture.js";
import { rulesOf } from "./rules.js";
import { showState, stateBadge } from "./states.js";

const COUNTS_EVERY_MS = 500;

export class Tile {
  #forget;
  #countedAt = 0;

  constructor(store, id) {
    this.store = store;
    this.id = id;
    this.picture = new LivePicture(store, id, { compact: true });
    this.picture.element.setAttribute("aria-hidden", "true"); // the link around it has the name
    this.state = stateBadge(store.streams.get(id).state);
    this.fps = h("span", { title: "Analysed frames a second" });
    this.latency = h("span", { title: "From a frame's arrival to its result, half of them within" });
    this.counts = h("ul", { class: "counts", "aria-label": "In the picture now" });
    this.element = h("li", { class: "tile", "data-stream": id },
      h("a", { href: `#/stream/${id}`, "aria-label": `${id}: open` }, this.picture.element),
      h("div", { class: "tile-foot" },
        h("div", { class: "tile-name" }, h("strong", {}, id), this.state),
        h("div", { class: "tile-figures" }, this.counts, h("span", { class: "space" }), this.fps, this.latency)));
    this.picture.addEventListener("seen", (news) => this.#count(news.detail.objects));
    this.picture.addEventListener("mode", () => this.#tracked());
    this.#forget = [store.on(["status", "streams"], () => this.#follow(), id), store.on(["system"], () => this.#figures())];
    this.#follow();
    this.#figures();
  }

  start() {
    rulesOf(this.id).then((rules) => this.picture.show(rules)).catch(() => {});
    this.picture.start();
  }

  stop() {
    this.picture.stop();
  }

  leave() {
    this.#forget.forEach((forget) => forget());
    this.stop();
    this.element.remove();
  }

  #follow() {
    const stream = this.store.streams.get(this.id);
    if (!stream) return;
    showState(this.state, stream.state);
    this.element.dataset.state = stream.state;
    if (stream.state !== "live") put(this.counts);
  }

  #figures() {
    const figures = this.store.figures(this.id);
    tell(this.fps, fps(figures?.analysed_fps));
    tell(this.latency, latency(figures?.latency_p50_s));
    this.#tracked();
  }

  #count(objects) {
    const now = performance.now();
    if (now - this.#countedAt < COUNTS_EVERY_MS) return;
    this.#countedAt = now;
    const found = new Map();
    for (const one of objects) {
      if (one.track_id === null) continue;
      found.set(one.class_name, (found.get(one.class_name) ?? 0) + 1);
    }
    put(this.counts, [...found].sort(([, a], [, b]) => b - a).slice(0, 4).map(([name, count]) => {
      const dot = h("i", { "aria-hidden": "true" });
      dot.style.background = colourOf(name);
      return h("li", {}, dot, `${name} ${count}`);
    }));
  }

  /** Without a channel for what is seen, at least how many there are. */
  #tracked() {
    if (performance.now() - this.#countedAt < 3000) return;
    const tracks = this.store.figures(this.id)?.tracks ?? this.store.streams.get(this.id)?.tracks;
    put(this.counts, tracks ? h("li", {}, `${tracks} tracked`) : null);
  }
}
