// A camera's figures over time: how it is served, who is in its zones, who crosses its lines.

import { get } from "./api.js";
import { Bars, Line } from "./charts.js";
import { h, put } from "./dom.js";
import { latency } from "./format.js";
import { rulesOf } from "./rules.js";

const EARLIER = 500;
const SPAN_MS = 30 * 60_000;

export class StreamCharts {
  #forget;
  #zones = new Map();
  #lines = new Map();
  #timer;

  constructor(store, stream) {
    this.store = store;
    this.stream = stream;
    this.tracks = new Line("Objects in the picture");
    this.fps = new Line("Analysed frames a second");
    this.latency = new Line("Latency, median", { show: latency });
    this.happened = new Bars("Tracks begun a minute", ["track.started"]);
    this.served = [this.tracks, this.happened, this.fps, this.latency];
    this.element = h("div", { class: "charts" });
    for (const second of store.history.get(stream) ?? []) this.#second(second);
    this.#forget = [
      store.on(["system"], () => this.#system()),
      store.on(["event"], (event) => this.#event(event), stream),
    ];
    this.#timer = setInterval(() => this.draw(), 1000);
    this.rules();
  }

  leave() {
    clearInterval(this.#timer);
    this.#forget.forEach((forget) => forget());
  }

  /** Follows the stream's zones and lines. */
  async rules() {
    const { zones, lines } = await rulesOf(this.stream).catch(() => ({ zones: {}, lines: {} }));
    this.#zones = new Map(Object.keys(zones).map((name) => [name, new Line(`In ${name}`, { spanMs: SPAN_MS, steps: true })]));
    this.#lines = new Map(Object.keys(lines).map((name) => [name, new Bars(`Across ${name}`, ["left", "right"])]));
    put(this.element, [...this.served, ...this.#zones.values(), ...this.#lines.values()].map((chart) => chart.element));
    await this.#earlier();
    this.draw();
  }

  draw() {
    for (const chart of [...this.served, ...this.#zones.values(), ...this.#lines.values()]) chart.draw();
  }

  async #earlier() {
    const query = new URLSearchParams({ stream: this.stream, limit: EARLIER, since: new Date(Date.now() - SPAN_MS).toISOString() });
    for (const type of ["track.started", "zone.entered", "zone.left", "line.crossed"]) query.append("type", type);
    const { events } = await get(`api/v1/events?${query}`).catch(() => ({ events: [] }));
    for (const event of events.reverse()) this.#event(event);
  }

  #system() {
    const second = this.store.history.get(this.stream)?.at(-1);
    if (second) this.#second(second);
  }

  #second(second) {
    this.tracks.add(second.at, second.tracks);
    this.fps.add(second.at, second.analysed_fps);
    this.latency.add(second.at, second.latency_p50_s);
  }

  #event(event) {
    const at = Date.parse(event.captured_at);
    if (event.type === "track.started") this.happened.add(at);
    if (event.type === "zone.entered" || event.type === "zone.left") this.#zones.get(event.zone)?.add(at, event.count);
    if (event.type === "line.crossed") this.#lines.get(event.line)?.add(at, event.direction);
  }
}
