// One viewing session by WHEP: an offer, an answer, a track, and a channel for what was seen.

import { ApiError, address, send } from "./api.js";

const GATHER_MS = 400;
const FIRST_FRAME_MS = 8000;
const LOST_MS = 3000;

let iceServers = null;

/** The STUN and TURN servers that `Link` headers name (RFC 9725, 4.6). */
export function serversOf(links) {
  const found = [];
  for (const [, url, rest] of (links ?? "").matchAll(/<([^>]*)>((?:\s*;\s*[\w-]+=(?:"(?:[^"\\]|\\.)*"|[^;,]*))*)/g)) {
    const given = Object.fromEntries([...rest.matchAll(/([\w-]+)=(?:"((?:[^"\\]|\\.)*)"|([^;,]*))/g)]
      .map(([, name, quoted, bare]) => [name, quoted?.replace(/\\(.)/g, "$1") ?? bare]));
    if (given.rel === "ice-server") found.push({ urls: url, username: given.username, credential: given.credential });
  }
  return found;
}

async function servers(stream) {
  if (iceServers === null) {
    const answer = await fetch(address(`whep/${encodeURIComponent(stream)}`), { method: "OPTIONS" }).catch(() => null);
    iceServers = answer?.ok ? serversOf(answer.headers.get("link")) : [];
  }
  return iceServers;
}

/** Why WebRTC gave no picture; `code` is the service's, or one of `page.…`. */
export class WhepError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/**
 * A session; `onTracks(message)` gets what was seen, `onLost(error)` is called once when it breaks after `open`.
 */
export class WhepSession {
  /** Which overlay the service chose: `client` or `burned`. */
  overlay = null;
  receiver = null;
  #connection = null;
  #resource = null;
  #closed = false;
  #lostTimer = null;
  #leaves = () => this.close();

  constructor(stream, { overlay = "auto", onTracks, onLost }) {
    this.stream = stream;
    this.wanted = overlay;
    this.onTracks = onTracks;
    this.onLost = onLost;
  }

  /** Connects, and shows the stream in a video element. Throws ApiError and WhepError. */
  async open(video) {
    const connection = new RTCPeerConnection({ iceServers: await servers(this.stream), bundlePolicy: "max-bundle" });
    this.#connection = connection;
    window.addEventListener("pagehide", this.#leaves);
    const channel = connection.createDataChannel("tracks", { ordered: false, maxRetransmits: 0 });
    channel.onmessage = (message) => this.onTracks(JSON.parse(message.data));
    const transceiver = connection.addTransceiver("video", { direction: "recvonly" });
    this.receiver = transceiver.receiver;
    connection.ontrack = (event) => {
      video.srcObject = new MediaStream([event.track]);
    };
    connection.onconnectionstatechange = () => this.#changed(connection.connectionState);
    await connection.setLocalDescription();
    await gathered(connection);
    this.#check();
    const answer = await send("POST", `whep/${encodeURIComponent(this.stream)}?overlay=${this.wanted}`, {
      headers: { "Content-Type": "application/sdp", Accept: "application/sdp" },
      body: connection.localDescription.sdp,
    });
    this.#resource = new URL(answer.headers.get("location"), answer.url).href;
    this.overlay = answer.headers.get("vigil-overlay") ?? "burned";
    const sdp = await answer.text();
    this.#check();
    await connection.setRemoteDescription({ type: "answer", sdp });
    await this.#firstFrame(video);
  }

  /** Ends it, on both sides. */
  close() {
    this.#closed = true;
    clearTimeout(this.#lostTimer);
    window.removeEventListener("pagehide", this.#leaves);
    const connection = this.#connection;
    const resource = this.#resource;
    this.#resource = null;
    if (!resource) connection?.close();
    // First the request: the service ends a session whose connection is closed, and would know no such session then.
    else fetch(resource, { method: "DELETE", credentials: "same-origin", keepalive: true }).catch(() => {}).finally(() => connection.close());
  }

  #check() {
    if (!this.#closed) return;
    this.close(); // the answer came after `close`, which knew no resource to DELETE
    throw new WhepError("page.closed", "closed while it was opened");
  }

  async #firstFrame(video) {
    await new Promise((resolve, reject) => {
      const connection = this.#connection;
      const timer = setTimeout(() => {
        const reached = connection.connectionState === "connected";
        reject(reached ? new WhepError("page.no_frame", "connected, but no picture came")
          : new WhepError("page.no_route", "the browser finds no way to Vigil's UDP ports (webrtc.udp_ports, webrtc.advertise)"));
      }, FIRST_FRAME_MS);
      const failed = () => {
        if (connection.connectionState !== "failed" && connection.connectionState !== "closed") return;
        clearTimeout(timer);
        reject(new WhepError("page.no_route", "the browser finds no way to Vigil's UDP ports (webrtc.udp_ports, webrtc.advertise)"));
      };
      connection.addEventListener("connectionstatechange", failed);
      video.requestVideoFrameCallback(() => {
        clearTimeout(timer);
        connection.removeEventListener("connectionstatechange", failed);
        resolve();
      });
    });
    this.#check();
  }

  #changed(state) {
    clearTimeout(this.#lostTimer);
    if (this.#closed) return;
    if (state === "failed" || state === "closed") this.#lost();
    if (state === "disconnected") this.#lostTimer = setTimeout(() => this.#lost(), LOST_MS);
  }

  #lost() {
    if (this.#closed) return;
    this.close();
    this.onLost(new WhepError("page.lost", "the connection broke"));
  }
}

/** All our addresses are known, or as many as there are after a while. */
function gathered(connection) {
  if (connection.iceGatheringState === "complete") return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, GATHER_MS);
    connection.addEventListener("icegatheringstatechange", () => {
      if (connection.iceGatheringState !== "complete") return;
      clearTimeout(timer);
      resolve();
    });
  });
}

/** Whether trying WebRTC again at once makes sense, or the service says that there is nothing to see yet. */
export function isWaiting(error) {
  return error instanceof ApiError && (error.status === 503 || error.status === 0);
}
