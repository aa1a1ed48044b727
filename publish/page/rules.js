// Streams' zones and lines, as their settings have them; asked for once, and again after a change.

import { get, streamPath } from "./api.js";

const known = new Map();

/** A stream's `{zones, lines}`, and all its settings under `settings`. */
export function rulesOf(id) {
  if (!known.has(id)) {
    const asked = get(streamPath(id)).then(({ settings }) => ({ zones: settings.zones ?? {}, lines: settings.lines ?? {}, settings }));
    asked.catch(() => known.delete(id));
    known.set(id, asked);
  }
  return known.get(id);
}

/** Someone has changed the stream. */
export function forgetRules(id) {
  known.delete(id);
}
