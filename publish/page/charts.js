// Small charts of our own: a line over time, and bars. Each says in words what it shows.

import { h, put, s, tell, unique } from "./dom.js";
import { number } from "./format.js";

const WIDTH = 320;
const HEIGHT = 64;
const GAP_MS = 5000;

/** A value over the last minutes. `add(at, value)`; values that are missing leave a gap. */
export class Line {
  #points = [];

  constructor(title, { spanMs = 300_000, show = number, steps = false } = {}) {
    this.title = title;
    this.spanMs = spanMs;
    this.show = show;
    this.steps = steps;
    this.now = h("strong", {}, "–");
    this.id = unique("chart");
    this.area = s("path", { class: "chart-area" });
    this.line = s("path", { class: "chart-line" });
    this.most = h("span", { class: "chart-most" });
    this.svg = s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-labelledby": this.id }, s("title", { id: this.id }, title), this.area, this.line);
    this.element = h("figure", { class: "chart" }, h("figcaption", {}, h("span", {}, title), this.now), h("div", { class: "chart-body" }, this.svg, this.most),
      h("div", { class: "chart-axis", "aria-hidden": "true" }, h("span", {}, `${Math.round(spanMs / 60_000)} min ago`), h("span", {}, "now")));
  }

  add(at, value) {
    this.#points.push([at, value ?? null]);
  }

  draw(until = Date.now()) {
    const since = until - this.spanMs;
    while (this.#points.length > 1 && this.#points[1][0] < since) this.#points.shift();
    const known = this.#points.filter(([, value]) => value !== null);
    const most = Math.max(1e-9, ...known.map(([, value]) => value));
    const x = (at) => Math.max(0, (at - since) / this.spanMs) * WIDTH;
    const y = (value) => HEIGHT - 2 - value / (most * 1.1) * (HEIGHT - 6);
    let line = "";
    let area = "";
    let start = null;
    let last = null;
    const close = () => {
      if (start !== null) area += `L${x(last[0])} ${HEIGHT}H${x(start)}Z`;
      start = null;
    };
    const points = this.steps && known.length ? [...known, [until, known.at(-1)[1]]] : this.#points;
    for (const [at, value] of points) {
      if (value === null || (last && !this.steps && at - last[0] > GAP_MS)) close();
      if (value === null) continue;
      const to = `${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
      if (start === null) {
        line += `M${to}`;
        area += `M${to}`;
        start = at;
      } else {
        const step = this.steps ? `H${x(at).toFixed(1)}` : "";
        line += `${step}L${to}`;
        area += `${step}L${to}`;
      }
      last = [at, value];
    }
    close();
    this.line.setAttribute("d", line);
    this.area.setAttribute("d", area);
    const now = points.at(-1)?.[1] ?? null;
    tell(this.now, now === null ? "–" : this.show(now));
    tell(this.most, known.length ? this.show(most) : "");
    tell(this.svg.querySelector("title"), known.length ? `${this.title}: now ${this.show(now)}, at most ${this.show(most)}` : `${this.title}: nothing yet`);
  }
}

/** Counts per stretch of time, of one or two kinds stacked. `add(at, kind)`. */
export class Bars {
  #counts = new Map();

  constructor(title, kinds, { stretchMs = 60_000, many = 30 } = {}) {
    this.title = title;
    this.kinds = kinds;
    this.stretchMs = stretchMs;
    this.many = many;
    this.total = h("strong", {}, "0");
    this.id = unique("chart");
    this.bars = s("g");
    this.svg = s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-labelledby": this.id }, s("title", { id: this.id }, title), this.bars);
    this.most = h("span", { class: "chart-most" });
    this.element = h("figure", { class: "chart" },
      h("figcaption", {}, h("span", {}, title), kinds.length > 1 ? h("span", { class: "legend" }, kinds.map((kind, index) => h("span", { class: `kind-${index}` }, kind))) : null, this.total),
      h("div", { class: "chart-body" }, this.svg, this.most),
      h("div", { class: "chart-axis", "aria-hidden": "true" }, h("span", {}, `${Math.round(stretchMs * many / 60_000)} min ago`), h("span", {}, "now")));
  }

  add(at, kind = this.kinds[0]) {
    const stretch = Math.floor(at / this.stretchMs);
    const counts = this.#counts.get(stretch) ?? {};
    counts[kind] = (counts[kind] ?? 0) + 1;
    this.#counts.set(stretch, counts);
  }

  draw(until = Date.now()) {
    const last = Math.floor(until / this.stretchMs);
    for (const stretch of this.#counts.keys()) if (stretch <= last - this.many) this.#counts.delete(stretch);
    const sum = (counts) => this.kinds.reduce((total, kind) => total + (counts[kind] ?? 0), 0);
    const most = Math.max(1, ...[...this.#counts.values()].map(sum));
    const width = WIDTH / this.many;
    const bars = [];
    for (const [stretch, counts] of this.#counts) {
      let top = HEIGHT;
      this.kinds.forEach((kind, index) => {
        const height = (counts[kind] ?? 0) / most * (HEIGHT - 6);
        top -= height;
        if (height) bars.push(s("rect", { class: `kind-${index}`, x: (stretch - last + this.many - 1) * width + 0.5, y: top, width: width - 1, height }));
      });
    }
    put(this.bars, bars);
    const total = [...this.#counts.values()].reduce((all, counts) => all + sum(counts), 0);
    const words = this.kinds.length > 1
      ? this.kinds.map((kind) => `${[...this.#counts.values()].reduce((all, counts) => all + (counts[kind] ?? 0), 0)} ${kind}`).join(", ") : String(total);
    tell(this.total, words);
    tell(this.most, total ? String(most) : "");
    tell(this.svg.querySelector("title"), `${this.title}, last ${Math.round(this.stretchMs * this.many / 60_000)} minutes: ${words}`);
  }
}
