// What happened at all cameras.

import { h } from "./dom.js";
import { Timeline } from "./timeline.js";

export function eventsView({ store }) {
  const timeline = new Timeline(store);
  return { element: h("section", { class: "events-view", "aria-label": "Events of all cameras" }, h("div", { class: "bar" }, h("h1", {}, "Events")), timeline.element), leave: () => timeline.leave() };
}
