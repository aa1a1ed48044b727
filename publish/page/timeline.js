// What happened, newest first: what JetStream keeps, and more as it happens.

import { get } from "./api.js";
import { button, h, icon, put, tell } from "./dom.js";
import { eventCard, trimmed } from "./event_card.js";

const PAGE = 40;
const MOST = 400;
/** What can be chosen: the words for it, and the types or kinds of types that the service is asked for. */
const CHOICES = {
  all: ["All events", ["track.started", "track.ended", "zone", "line"]],
  rules: ["Zones and lines", ["zone", "line"]],
  zones: ["Zones", ["zone"]],
  lines: ["Lines", ["line"]],
  tracks: ["Tracks", ["track"]],
};

/** `stream` is one camera's id, or null for all. */
export class Timeline {
  #cursor = null;
  #shown = new Set();
  #forget;
  #asked = 0;

  constructor(store, stream = null) {
    this.store = store;
    this.stream = stream;
    this.list = h("ol", { class: "events", "aria-label": "Events, newest first" });
    this.note = h("p", { class: "events-note", role: "status" });
    this.more = button("Earlier ones", { kind: "small", hidden: true, onclick: () => this.#load() });
    this.choice = h("select", { "aria-label": "Which events", onchange: () => this.reload() }, Object.entries(CHOICES).map(([value, [text]]) => h("option", { value }, text)));
    this.element = h("section", { class: "card timeline", "aria-label": "Events" }, h("div", { class: "card-head" }, h("h2", {}, "Events"), this.choice),
      this.note, this.list, this.more);
    this.#forget = store.on(["event"], (event) => this.#happened(event), stream);
    this.reload();
  }

  leave() {
    this.#forget();
    this.#asked += 1;
  }

  reload() {
    this.#cursor = null;
    this.#shown.clear();
    put(this.list);
    this.#load();
  }

  #wanted(type) {
    return CHOICES[this.choice.value][1].some((one) => one === type || one === type.split(".")[0]);
  }

  async #load() {
    this.#asked += 1;
    const asked = this.#asked;
    const query = new URLSearchParams({ limit: PAGE });
    if (this.stream) query.set("stream", this.stream);
    for (const type of CHOICES[this.choice.value][1]) query.append("type", type);
    if (this.#cursor) query.set("cursor", this.#cursor);
    this.more.disabled = true;
    if (!this.list.childElementCount) put(this.note, "Asking for what happened…");
    try {
      const { events, next } = await get(`api/v1/events?${query}`);
      if (asked !== this.#asked) return;
      for (const event of events) this.#add(event, false);
      this.#cursor = next;
      this.more.hidden = !next || this.list.childElementCount >= MOST;
      this.#tellNothing();
    } catch (error) {
      if (asked === this.#asked) put(this.note, icon("warning"), `Earlier events cannot be had: ${error.message}`);
    } finally {
      this.more.disabled = false;
    }
  }

  #happened(event) {
    if (!this.#wanted(event.type)) return;
    this.#add(event, true);
    trimmed(this.list, MOST);
    this.#tellNothing();
  }

  #add(event, first) {
    if (this.#shown.has(event.event_id)) return;
    this.#shown.add(event.event_id);
    if (this.#shown.size > 2 * MOST) this.#shown.delete(this.#shown.values().next().value);
    const card = eventCard(event, this.stream === null);
    if (first) {
      card.classList.add("new");
      this.list.prepend(card);
    } else this.list.append(card);
  }

  #tellNothing() {
    tell(this.note, this.list.childElementCount ? "" : "Nothing has happened yet.");
  }
}
