// What the page knows of the service, kept true by /api/v1/live; parts of the page listen for what they show.

import { ApiError, address, get } from "./api.js";

const EVENTS_KEPT = 200;
const SECONDS_KEPT = 300;
// A connection that says nothing for so long is taken for dead: `system` comes every second.
const SILENCE_MS = 8000;
const RETRY_MS = [500, 1000, 2000, 4000, 8000];

/**
 * Kinds of news: `streams` (one came or went), `status` (a stream's state), `event`, `system` (the figures of a
 * second) and `connection` (of the page to the service).
 */
export class Store extends EventTarget {
  streams = new Map();
  events = [];
  system = null;
  /** Of each stream its figures in the last minutes, with `at`, ms since the epoch; oldest first. */
  history = new Map();
  connection = "connecting";
  lastHeard = null;
  #source = null;
  #timer = null;
  #watchdog = null;
  #failures = 0;

  async start() {
    await this.refresh();
    this.#listen();
    this.#watchdog = setInterval(() => this.#watch(), 1000);
  }

  stop() {
    clearInterval(this.#watchdog);
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  /** Asks for the list of streams. */
  async refresh() {
    try {
      const listed = await get("api/v1/streams");
      const known = new Map(listed.map((stream) => [stream.id, stream]));
      for (const id of this.history.keys()) if (!known.has(id)) this.history.delete(id);
      this.streams = known;
      this.#heard();
      this.#news("streams");
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (error.code === "page.offline") this.#connection("offline");
    }
  }

  /** Hears of news; returns what ends that. `only`, a stream's id, leaves out what concerns others. */
  on(kinds, hear, only = null) {
    const heard = (news) => {
      const of = news.detail?.stream;
      if (only === null || of === undefined || of === only) hear(news.detail);
    };
    for (const kind of kinds) this.addEventListener(kind, heard);
    return () => kinds.forEach((kind) => this.removeEventListener(kind, heard));
  }

  /** The figures of one stream, of the last second; null while there are none. */
  figures(id) {
    return this.system?.streams.find((stream) => stream.id === id) ?? null;
  }

  #listen() {
    this.#source?.close();
    const source = new EventSource(address("api/v1/live"));
    this.#source = source;
    source.addEventListener("open", () => {
      this.#failures = 0;
      this.#heard();
    });
    source.addEventListener("status", (message) => this.#status(JSON.parse(message.data)));
    source.addEventListener("event", (message) => this.#event(JSON.parse(message.data)));
    source.addEventListener("system", (message) => this.#system(JSON.parse(message.data)));
    source.addEventListener("error", () => {
      if (this.#source !== source) return;
      source.close();
      this.#connection("offline");
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#again(), RETRY_MS[Math.min(this.#failures, RETRY_MS.length - 1)]);
      this.#failures += 1;
    });
  }

  async #again() {
    await this.refresh(); // asks for a login as well, where one has run out, which an EventSource cannot tell
    this.#listen();
  }

  #watch() {
    if (this.connection === "live" && performance.now() - this.lastHeard > SILENCE_MS) this.#again();
  }

  #heard() {
    this.lastHeard = performance.now();
    this.#connection("live");
  }

  #connection(state) {
    if (this.connection === state) return;
    this.connection = state;
    this.#news("connection");
  }

  #status(told) {
    this.#heard();
    const known = this.streams.get(told.stream);
    if (!known || told.state === "removed") {
      this.refresh();
      return;
    }
    const { stream: id, ...rest } = told;
    // What a state does not tell of any more is not so any more: a live stream has no reason.
    this.streams.set(id, { ...known, reason: undefined, detail: undefined, retry_in: undefined, ...rest, id, heardAt: performance.now() });
    this.#news("status", { stream: id });
  }

  #event(event) {
    this.#heard();
    this.events.unshift(event);
    this.events.length = Math.min(this.events.length, EVENTS_KEPT);
    this.#news("event", event);
  }

  #system(system) {
    this.#heard();
    this.system = system;
    // A list that was asked for may arrive after news that are newer than it: what differs is asked for again.
    const differs = ({ id, state }) => this.streams.get(id)?.state !== state;
    if (system.streams.length !== this.streams.size || system.streams.some(differs)) this.refresh();
    for (const figures of system.streams) {
      const seconds = this.history.get(figures.id) ?? [];
      seconds.push({ at: Date.now(), ...figures });
      if (seconds.length > SECONDS_KEPT) seconds.shift();
      this.history.set(figures.id, seconds);
    }
    this.#news("system");
  }

  #news(kind, detail = undefined) {
    this.dispatchEvent(new CustomEvent(kind, { detail }));
  }
}
