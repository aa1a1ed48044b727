// Elements without templates: text is text, so nothing that a camera or a config says can become markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element. `on…` are listeners, `class` and attributes are set as given; false and null leave one out. */
export function h(tag, properties = {}, ...children) {
  return filled(document.createElement(tag), properties, children);
}

/** The same for SVG. */
export function s(tag, properties = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), properties, children);
}

function filled(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Makes an element hold just these. */
export function put(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Sets text only where it differs, as screen readers and layout notice every change. */
export function tell(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const ICONS = {
  wall: "M3 4h8v7H3zM13 4h8v7h-8zM3 13h8v7H3zM13 13h8v7h-8z",
  events: "M4 6h3M4 12h3M4 18h3M10 6h10M10 12h10M10 18h10",
  system: "M3 12h4l2.5-7 5 14 2.5-7h4",
  plus: "M12 5v14M5 12h14",
  close: "M6 6l12 12M18 6 6 18",
  back: "M14 6l-6 6 6 6",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8ZM12 2v2.5M12 19.5V22M2 12h2.5M19.5 12H22M5 5l1.8 1.8M17.2 17.2 19 19M19 5l-1.8 1.8M6.8 17.2 5 19",
  moon: "M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5Z",
  auto: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18ZM12 3v18",
  live: "M12 8.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7ZM5.6 5.6a9 9 0 0 0 0 12.8M18.4 5.6a9 9 0 0 1 0 12.8",
  connecting: "M12 3a9 9 0 0 1 9 9M3 12a9 9 0 0 1 3-6.7M12 21a9 9 0 0 1-6.7-3M21 12a9 9 0 0 1-3 6.7",
  stalled: "M7 3h10M7 21h10M8 3v3.5L12 12l4-5.5V3M8 21v-3.5L12 12l4 5.5V21",
  backoff: "M4 12a8 8 0 1 0 2.6-5.9M4 4v4.5h4.5M12 8v4l3 2",
  failed: "M8.2 3h7.6L21 8.2v7.6L15.8 21H8.2L3 15.8V8.2zM9 9l6 6M15 9l-6 6",
  paused: "M9 5v14M15 5v14",
  ended: "M6 6h12v12H6z",
  stopped: "M6 6h12v12H6z",
  offline: "M3 3l18 18M8.5 15.5a5 5 0 0 1 7 0M5 12a10 10 0 0 1 4-2.4M19 12a10 10 0 0 0-4.5-2.6M12 19.2h.01",
  track: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8ZM4.5 21c.6-4.2 3.4-6.3 7.500-6.300s6.900 2.100 7.500 6.300",
  zone: "M4 8l7-4 9 5-2 9-11 2z",
  line: "M5 19 19 5M3.500 19a1.500 1.500 0 1 0 3 0 1.500 1.500 0 0 0-3 0M17.500 5a1.500 1.500 0 1 0 3 0 1.500 1.500 0 0 0-3 0",
  count: "M5 20V10M12 20V4M19 20v-7",
  edit: "M4 20h4L19 9l-4-4L4 16zM13 7l4 4",
  undo: "M8 5 4 9l4 4M4 9h10a6 6 0 0 1 0 12h-3",
  redo: "M16 5l4 4-4 4M20 9H10a6 6 0 0 0 0 12h3",
  trash: "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v5M14 11v5",
  check: "M5 12.500 10 17.500 19 7",
  warning: "M12 4 2.500 20h19zM12 10v4.500M12 17.200h.01",
  full: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  camera: "M3 7h12v10H3zM15 11l6-3v8l-6-3",
  play: "M7 4.500v15l12-7.500z",
  picture: "M3 5h18v14H3zM3 16l5-5 4 4 3-3 6 6M15.500 9.500h.01",
  key: "M8 11a4 4 0 1 0 0 8 4 4 0 0 0 0-8ZM11 12l9-9M16 7l3 3",
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14ZM16 16l5 5",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  gear: "M12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6ZM12 2.500v3M12 18.500v3M2.500 12h3M18.500 12h3M5.300 5.300l2.100 2.100M16.600 16.600l2.100 2.100M18.700 5.300l-2.100 2.100M7.400 16.600l-2.100 2.100",
};

/** A line icon, for eyes only: a word stands beside it, or its control has a label. */
export function icon(name) {
  return s("svg", { class: `icon icon-${name}`, viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false" },
    s("path", { d: ICONS[name] ?? ICONS.more }));
}

/** A button with an icon; without `text` the label is told to screen readers and shown as a tip. */
export function button(label, { name = null, text = true, kind = "", ...properties } = {}) {
  return h("button", { type: "button", class: `button ${kind} ${text ? "" : "bare"}`.trim(), "aria-label": text ? null : label,
    title: text ? null : label, ...properties }, name ? icon(name) : null, text ? h("span", {}, label) : null);
}

/** Says something to screen readers, without showing it. */
export function announce(text) {
  tell(document.getElementById("announcer"), text);
}

let named = 0;

/** An id that nothing else has. */
export function unique(prefix) {
  named += 1;
  return `${prefix}-${named}`;
}
