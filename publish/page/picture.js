// A stream's live picture: by WebRTC, with what was seen in step; where that fails by simpler means, and it says so.

import { ApiError, address, streamPath } from "./api.js";
import { button, h, put, tell } from "./dom.js";
import { contained } from "./geometry.js";
import { Overlay } from "./overlay.js";
import { sentence } from "./states.js";
import { Hold, Tracks } from "./tracks.js";
import { isWaiting, WhepSession } from "./whep.js";

const RETRY_MS = [500, 1000, 2000, 4000, 8000, 15000];
// So many failures in a row, and simpler means are taken; WebRTC is tried again after a while.
const FAILURES = 3;
const AGAIN_MS = 60_000;
const STILL_MS = 1000;
const FRAMES_KEPT = 120;

/**
 * The picture of one stream. `element.dataset.mode` tells how it comes: `waiting`, `client`, `burned`, `mjpeg`, `still`.
 *
 * `compact`, for tiles: fewer words, and stills instead of MJPEG, as a browser has six connections to a server.
 */
export class LivePicture extends EventTarget {
  tracks = new Tracks();
  #session = null;
  #running = false;
  #failures = 0;
  #timer = null;
  #attempt = 0;
  #hold = new Hold();
  #arrived = new Map();
  #shown = new Map();
  #shownRtp = null;
  #frameSize = { width: 16, height: 9 };
  #forget = [];
  #still = null;
  #state = null;

  constructor(store, stream, { compact = false, overlay = "auto" } = {}) {
    super();
    this.store = store;
    this.stream = stream;
    this.compact = compact;
    this.wantedOverlay = overlay;
    this.video = h("video", { muted: true, playsinline: true, autoplay: true, disablepictureinpicture: true, "aria-hidden": "true", tabindex: "-1" });
    this.video.muted = true; // the attribute alone is only the default
    this.image = h("img", { alt: "", hidden: true });
    this.canvas = h("canvas", { "aria-hidden": "true" });
    this.note = h("p", { class: "picture-note", hidden: true });
    this.means = h("p", { class: "picture-means", hidden: true });
    this.stage = h("div", { class: "picture-stage" }, this.image, this.video, this.canvas);
    this.element = h("div", { class: `picture ${compact ? "compact" : ""}`, "data-mode": "waiting", role: "img", "aria-label": `Live picture of ${stream}` },
      this.stage, this.note, this.means);
    this.overlay = new Overlay(this.canvas, compact);
    this.resizing = new ResizeObserver(() => this.#layout());
  }

  start() {
    if (this.#running) return;
    this.#running = true;
    this.resizing.observe(this.element);
    this.#forget = [this.store.on(["status", "streams"], () => this.#heard(), this.stream)];
    this.#state = this.store.streams.get(this.stream)?.state;
    this.#poster();
    this.#stateChanged();
    this.#connect();
  }

  stop() {
    this.#running = false;
    this.#attempt += 1;
    clearTimeout(this.#timer);
    this.#forget.forEach((forget) => forget());
    this.resizing.disconnect();
    this.#drop();
    this.#mode("waiting");
  }

  /** Begins anew, with another overlay if that is given. */
  restart(overlay = this.wantedOverlay) {
    this.wantedOverlay = overlay;
    this.#failures = 0;
    if (!this.#running) return;
    this.#drop();
    this.#connect();
  }

  /** Zones and lines to draw; a service that burns boxes in draws these as well. */
  show(rules) {
    this.overlay.rules = rules;
    this.redraw();
  }

  redraw() {
    if (this.#shownRtp !== null && this.element.dataset.mode === "client") this.overlay.draw(this.tracks.at(this.#shownRtp));
    else if (this.element.dataset.mode !== "client") this.overlay.clear();
  }

  /** Where the picture lies within the element, px. */
  get place() {
    return contained(this.element.clientWidth, this.element.clientHeight, this.#frameSize.width, this.#frameSize.height);
  }

  #drop() {
    this.#session?.close();
    this.#session = null;
    this.video.srcObject = null;
    this.#shownRtp = null;
    this.#arrived.clear();
    this.#shown.clear();
    clearTimeout(this.#timer);
    if (this.#still) URL.revokeObjectURL(this.#still);
    this.#still = null;
    if (this.element.dataset.mode === "mjpeg") this.image.removeAttribute("src");
    this.overlay.clear();
  }

  async #connect() {
    clearTimeout(this.#timer);
    this.#attempt += 1;
    const attempt = this.#attempt;
    if (!this.#isLive) return; // `#heard` begins anew when it is
    if (!window.RTCPeerConnection || !HTMLVideoElement.prototype.requestVideoFrameCallback) {
      this.#simpler("this browser has no WebRTC");
      return;
    }
    const session = new WhepSession(this.stream, {
      overlay: this.wantedOverlay,
      onTracks: (message) => this.#seen(message),
      onLost: (error) => this.#failed(error, attempt),
    });
    this.#session = session;
    try {
      await session.open(this.video);
    } catch (error) {
      session.close();
      this.#failed(error, attempt);
      return;
    }
    if (attempt !== this.#attempt) {
      session.close();
      return;
    }
    this.#failures = 0;
    if (this.#hold.target) session.receiver.jitterBufferTarget = this.#hold.target;
    this.#mode(session.overlay);
    this.#follow(attempt);
  }

  #failed(error, attempt) {
    if (attempt !== this.#attempt || !this.#running) return;
    this.#drop();
    const waiting = isWaiting(error);
    if (!waiting) this.#failures += 1;
    if (error instanceof ApiError && [404, 405, 422].includes(error.status)) this.#failures = FAILURES;
    if (this.#failures >= FAILURES) {
      this.#simpler(error.message);
      return;
    }
    this.#mode("waiting");
    const wait = RETRY_MS[Math.min(this.#failures, RETRY_MS.length - 1)];
    this.#timer = setTimeout(() => this.#connect(), Math.max(wait, (error.retryAfterS ?? 0) * 1000) * (0.8 + 0.4 * Math.random()));
  }

  /** Motion JPEG, or stills; and WebRTC again later. */
  #simpler(why) {
    this.#attempt += 1;
    const attempt = this.#attempt;
    const retry = button("Try WebRTC again", { kind: "small", onclick: () => this.restart() });
    put(this.means, h("span", { title: why }, this.compact ? "Stills, without WebRTC" : `Without WebRTC: ${why}`), this.compact ? null : retry);
    this.#timer = setTimeout(() => this.restart(), AGAIN_MS);
    if (this.compact) this.#stills(attempt);
    else this.#motionJpeg(attempt);
  }

  #motionJpeg(attempt) {
    this.image.onload = () => {
      if (attempt !== this.#attempt) return;
      this.#sized(this.image.naturalWidth, this.image.naturalHeight);
      this.#mode("mjpeg");
    };
    this.image.onerror = () => {
      if (attempt === this.#attempt) this.#stills(attempt);
    };
    this.image.src = address(`${streamPath(this.stream, "/preview.mjpg")}?t=${Date.now()}`);
  }

  async #stills(attempt) {
    this.image.onload = null;
    this.image.onerror = null;
    while (attempt === this.#attempt && this.#running) {
      if (!this.#isLive) {
        this.#mode("waiting");
        return;
      }
      const side = this.compact ? 640 : 1280;
      const answer = await fetch(address(`${streamPath(this.stream, "/snapshot.jpg")}?boxes=true&max_side=${side}`), { cache: "no-store" }).catch(() => null);
      const picture = answer?.ok ? await answer.blob() : null;
      if (attempt !== this.#attempt) return;
      if (picture) {
        if (this.#still) URL.revokeObjectURL(this.#still);
        this.#still = URL.createObjectURL(picture);
        this.image.src = this.#still;
        await this.image.decode().catch(() => {});
        this.#sized(this.image.naturalWidth, this.image.naturalHeight);
      }
      this.#mode(picture ? "still" : "waiting");
      await new Promise((resolve) => setTimeout(resolve, STILL_MS));
    }
  }

  /** Whether there is something to see, as far as is known. */
  get #isLive() {
    return ["live", "stalled"].includes(this.store.streams.get(this.stream)?.state);
  }

  /** Something to look at until the video is there. */
  #poster() {
    if (!this.#isLive) return;
    const image = new Image();
    image.onload = () => {
      if (this.element.dataset.mode !== "waiting" || !this.#running) return;
      this.#sized(image.naturalWidth, image.naturalHeight);
      this.image.src = image.src;
      this.image.hidden = false;
      this.element.dataset.poster = "";
    };
    image.src = address(`${streamPath(this.stream, "/snapshot.jpg")}?max_side=${this.compact ? 480 : 960}&t=${Date.now()}`);
  }

  #follow(attempt) {
    const onFrame = (now, frame) => {
      if (attempt !== this.#attempt) return;
      this.video.requestVideoFrameCallback(onFrame);
      this.#sized(frame.width, frame.height);
      if (frame.rtpTimestamp === undefined) {
        // A browser that does not say which frame it shows: Vigil has to draw.
        if (this.element.dataset.mode === "client") this.restart("burned");
        return;
      }
      this.#shownRtp = frame.rtpTimestamp;
      this.#remember(this.#shown, frame.rtpTimestamp, frame.expectedDisplayTime);
      const arrived = this.#arrived.get(frame.rtpTimestamp);
      if (arrived !== undefined) this.#late(arrived - frame.expectedDisplayTime);
      this.redraw();
    };
    this.video.requestVideoFrameCallback(onFrame);
  }

  #seen(message) {
    this.tracks.add(message);
    const now = performance.now();
    this.#remember(this.#arrived, message.rtp, now);
    const shown = this.#shown.get(message.rtp);
    if (shown !== undefined) this.#late(now - shown);
    if (this.#shownRtp === message.rtp) this.redraw();
    this.dispatchEvent(new CustomEvent("seen", { detail: message }));
  }

  /** Results come after their frames: the picture is held for as long as they mostly take. */
  #late(ms) {
    if (this.#session?.overlay !== "client") return;
    const target = this.#hold.heard(ms);
    if (target !== null && "jitterBufferTarget" in this.#session.receiver) this.#session.receiver.jitterBufferTarget = target;
  }

  #remember(times, rtp, at) {
    times.set(rtp, at);
    if (times.size > FRAMES_KEPT) times.delete(times.keys().next().value);
  }

  #mode(mode) {
    if (!this.#running) mode = "waiting";
    this.element.dataset.mode = mode;
    const simple = mode === "mjpeg" || mode === "still";
    this.image.hidden = !(simple || (mode === "waiting" && "poster" in this.element.dataset));
    this.video.hidden = !(mode === "client" || mode === "burned");
    this.means.hidden = !simple;
    if (mode !== "waiting") delete this.element.dataset.poster;
    this.#stateChanged();
    this.#layout();
    this.dispatchEvent(new CustomEvent("mode", { detail: mode }));
  }

  #stateChanged() {
    const stream = this.store.streams.get(this.stream);
    const live = stream?.state === "live";
    const waiting = this.element.dataset.mode === "waiting";
    const shown = Boolean(stream) && !(live && !waiting);
    this.note.hidden = !shown;
    this.element.classList.toggle("dim", shown && !live);
    if (shown) tell(this.note, sentence(stream));
  }

  #heard() {
    const state = this.store.streams.get(this.stream)?.state;
    const came = state === "live" && this.#state !== "live";
    this.#state = state;
    this.#stateChanged();
    // What was waited for is there: at once, and not when the time is up.
    if (came && this.element.dataset.mode === "waiting" && this.#session === null) this.restart();
  }

  #sized(width, height) {
    if (!width || (width === this.#frameSize.width && height === this.#frameSize.height)) return;
    this.#frameSize = { width, height };
    this.#layout();
  }

  #layout() {
    const place = this.place;
    for (const side of ["left", "top", "width", "height"]) this.stage.style[side] = `${place[side]}px`;
    if (Math.abs((this.overlay.width ?? 0) - place.width) > 0.5 || Math.abs((this.overlay.height ?? 0) - place.height) > 0.5) {
      this.overlay.resize(place.width, place.height);
      this.redraw();
    }
    this.dispatchEvent(new CustomEvent("layout"));
  }
}
