// An event in a list, and all that is known of it in a dialog.

import { address } from "./api.js";
import { button, h, icon, tell } from "./dom.js";
import { duration, fullTime, percent, time } from "./format.js";

const WORDS = {
  "track.started": "appeared",
  "track.updated": "better seen",
  "track.ended": "left the picture",
  "zone.entered": "entered",
  "zone.left": "left",
  "zone.dwell": "stays in",
  "zone.crowded": "makes a crowd in",
  "zone.stopped": "stopped in",
  "zone.moved": "moves again in",
  "zone.loitering": "loiters in",
  "zone.loitered": "no longer loiters in",
  "zone.abandoned": "was left behind in",
  "zone.cleared": "was taken from",
  "zone.speeding": "is too fast in",
  "line.crossed": "crossed",
  "zone.counted": "entered",
  "line.counted": "crossed",
};

// Pictures are written soon after the event that names them.
const PICTURE_MS = 4000;

const kindOf = (type) => (type.endsWith(".counted") ? "count" : type.split(".")[0]);
const mediaAddress = (key) => address(`api/v1/media/${key.split("/").map(encodeURIComponent).join("/")}`);

/** What happened, in words: "person 7 entered drive". */
export function sentenceOf(event) {
  const where = event.zone ?? event.line ?? null;
  if (event.counts) {
    const many = event.counts.reduce((sum, one) => sum + one.count, 0);
    return `${many} ${WORDS[event.type] ?? event.type} ${where}`;
  }
  const side = event.direction ? `, to the ${event.direction}` : "";
  return `${event.class_name} ${event.track_id} ${WORDS[event.type] ?? event.type}${where ? ` ${where}` : ""}${side}`;
}

/** A row of a timeline. */
export function eventCard(event, withStream) {
  const picture = event.media?.crop ?? event.media?.snapshot;
  const sign = h("span", { class: "event-sign" }, icon(kindOf(event.type)));
  if (picture) setTimeout(() => showPicture(sign, picture), Math.max(0, PICTURE_MS - (Date.now() - Date.parse(event.captured_at))));
  return h("li", { class: "event", "data-type": event.type, "data-kind": kindOf(event.type) },
    h("button", { type: "button", onclick: () => showEvent(event) },
      sign,
      h("span", { class: "event-words" }, h("span", { class: "event-what" }, sentenceOf(event)),
        h("span", { class: "event-when" }, h("time", { datetime: event.captured_at, title: fullTime(event.captured_at) }, time(event.captured_at)),
          withStream ? h("span", {}, event.stream) : null, event.duration_s ? h("span", {}, duration(event.duration_s)) : null)),
      event.media?.clip ? icon("play") : null));
}

/** In place of the icon, once it is there. */
function showPicture(sign, key) {
  if (!sign.isConnected) return;
  const image = h("img", { alt: "", loading: "lazy", onerror: () => image.remove() });
  image.src = mediaAddress(key);
  sign.append(image);
}

/** All of an event, over the page. */
export function showEvent(event) {
  const heading = h("h2", { id: "event-title" }, sentenceOf(event));
  const missing = h("p", { class: "help" });
  const lost = (element) => () => {
    element.remove();
    tell(missing, "Its picture or clip is not there yet, or not any more.");
  };
  const media = h("div", { class: "event-media" });
  if (event.media?.clip) {
    const clip = h("video", { src: mediaAddress(event.media.clip), controls: true, muted: true, loop: true, playsinline: true, "aria-label": "Clip of the event" });
    clip.addEventListener("error", lost(clip));
    media.append(clip);
  }
  const still = event.media?.snapshot ?? event.media?.crop;
  if (still) {
    const image = h("img", { src: mediaAddress(still), alt: `The picture of the event: ${sentenceOf(event)}` });
    image.addEventListener("error", lost(image));
    media.append(image);
  }
  const facts = [
    ["Camera", h("a", { href: `#/stream/${event.stream}`, onclick: () => dialog.close() }, event.stream)],
    ["When", fullTime(event.captured_at)],
    ["Known by", event.clock === "rtcp" ? "the camera's clock" : "its arrival"],
    ["Confidence", event.confidence === undefined ? null : percent(event.confidence)],
    ["Seen in", event.frames ? `${event.frames} frames` : null],
    ["Stayed", event.duration_s ? duration(event.duration_s) : null],
    ["In the zone after it", event.count ?? null],
    ["Why it ended", event.reason ?? null],
    ["Track", event.track_uid ?? null],
    ["Model", event.model ? `${event.model.name} (${event.model.runtime})` : null],
  ].filter(([, value]) => value !== null && value !== undefined);
  const close = button("Close", { name: "close", text: false, onclick: () => dialog.close() });
  const dialog = h("dialog", { class: "dialog", "aria-labelledby": "event-title", onclose: () => dialog.remove(), onclick: (click) => click.target === dialog && dialog.close() },
    h("div", { class: "dialog-body" }, h("header", {}, heading, close), media, missing,
      h("dl", { class: "facts" }, facts.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
      h("details", {}, h("summary", {}, "The message"), h("pre", { tabindex: "0" }, JSON.stringify(event, null, 2)))));
  document.body.append(dialog);
  dialog.showModal();
}

/** Shows the newest of a list that is too long to hold all. */
export function trimmed(list, most) {
  while (list.childElementCount > most) list.lastElementChild.remove();
  return list;
}
