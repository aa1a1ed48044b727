// A stream's states in words: each has a colour, a word and an icon, as colour alone tells some people nothing.

import { duration } from "./format.js";
import { h, icon, put } from "./dom.js";

/** By state: the word, and what it means for who looks at an empty picture. */
const WORDS = {
  connecting: ["connecting", "Connecting to the camera"],
  live: ["live", "Waiting for the picture"],
  stalled: ["stalled", "Connected, but no new pictures come"],
  backoff: ["retrying", "Not reachable; trying again"],
  failed: ["failed", "Given up"],
  ended: ["ended", "The recording is over"],
  stopped: ["stopped", "Not served at present"],
  paused: ["paused", "Paused: the camera has been let go of"],
};

const REASONS = {
  auth: "the camera refuses the user or password",
  refused: "the camera refuses the connection",
  unreachable: "there is no way to the camera",
  not_found: "the camera has no such stream",
  tls: "the encrypted connection failed",
  timeout: "the camera does not answer",
  no_video: "there is no video in it",
  codec: "its codec cannot be decoded here",
  corrupt: "what arrives cannot be read",
  stalled: "no new pictures came",
  frozen: "the picture did not change",
  changed: "its video became another one",
  lost: "the camera ended the connection",
  crash: "reading it ended a process",
  hung: "reading it did not return",
};

export const word = (state) => (WORDS[state] ?? [state])[0];

/** What is the matter with a stream, as a sentence. */
export function sentence(stream) {
  const meaning = (WORDS[stream.state] ?? [null, stream.state])[1];
  const why = stream.reason ? `: ${REASONS[stream.reason] ?? stream.reason}` : "";
  const again = stream.state === "backoff" && stream.retry_in ? `, in ${duration(stream.retry_in)}` : "";
  return `${meaning}${again}${why}`;
}

export const isTrouble = (state) => ["stalled", "backoff", "failed"].includes(state);

/** A badge that `showState` keeps true. */
export function stateBadge(state) {
  return showState(h("span", { class: "state" }), state);
}

export function showState(badge, state) {
  if (badge.dataset.state === state) return badge;
  badge.dataset.state = state;
  return put(badge, icon(state), h("span", {}, word(state)));
}
