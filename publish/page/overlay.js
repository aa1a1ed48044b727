// What was seen, drawn over a picture: boxes, names, where objects came from, zones and lines.

import { middle } from "./geometry.js";

// Told apart by people who see few colours as well, and against streets, lawns and night (after Okabe and Ito, 2008).
const COLOURS = ["#4cc9f0", "#f2b84b", "#58d68d", "#ff7a66", "#c792ea", "#ffd166", "#7aa2ff", "#ff9ecb", "#9be15d", "#e0aa7a"];
const TRAIL_POINTS = 40;
const TRAIL_LIVES_MS = 3000;
const SHAPE = "#f2b84b";

/** The same class has the same colour everywhere. */
export function colourOf(className) {
  let sum = 0;
  for (const letter of className) sum = (sum * 31 + letter.codePointAt(0)) >>> 0;
  return COLOURS[sum % COLOURS.length];
}

/** Draws onto a canvas that lies over the picture and has its shape. */
export class Overlay {
  boxes = true;
  shapes = true;
  /** `{zones, lines}` as in the stream's settings. */
  rules = { zones: {}, lines: {} };
  #trails = new Map();
  #session = null;

  constructor(canvas, compact) {
    this.canvas = canvas;
    this.compact = compact;
    this.context = canvas.getContext("2d");
  }

  /** `width`, `height`: CSS pixels that the picture takes. */
  resize(width, height) {
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.width = width;
    this.height = height;
  }

  clear() {
    this.context.clearRect(0, 0, this.width, this.height);
  }

  /** `seen`: a result of `Tracks.at`, or null where nothing is known of the frame. */
  draw(seen) {
    if (!this.width) return;
    this.clear();
    if (this.shapes) this.#drawRules();
    if (!seen || !this.boxes) return;
    if (seen.session !== this.#session) {
      this.#trails.clear();
      this.#session = seen.session;
    }
    const scale = [this.width / seen.frame.width, this.height / seen.frame.height];
    const now = performance.now();
    for (const one of seen.objects) if (one.track_id !== null) this.#follow(one, scale, now);
    for (const [id, trail] of this.#trails) {
      if (now - trail.at > TRAIL_LIVES_MS) this.#trails.delete(id);
      else if (!this.compact) this.#drawTrail(trail);
    }
    for (const one of seen.objects) this.#drawBox(one, scale);
  }

  #follow(one, [scaleX, scaleY], now) {
    const trail = this.#trails.get(one.track_id) ?? { points: [], colour: colourOf(one.class_name) };
    trail.at = now;
    trail.points.push([(one.box[0] + one.box[2]) / 2 * scaleX, one.box[3] * scaleY]);
    if (trail.points.length > TRAIL_POINTS) trail.points.shift();
    this.#trails.set(one.track_id, trail);
  }

  #drawTrail({ points, colour }) {
    const context = this.context;
    context.lineWidth = 2;
    context.strokeStyle = colour;
    for (let index = 1; index < points.length; index += 1) {
      context.globalAlpha = 0.75 * (index / points.length);
      context.beginPath();
      context.moveTo(...points[index - 1]);
      context.lineTo(...points[index]);
      context.stroke();
    }
    context.globalAlpha = 1;
  }

  #drawBox(one, [scaleX, scaleY]) {
    const context = this.context;
    const [x1, y1, x2, y2] = [one.box[0] * scaleX, one.box[1] * scaleY, one.box[2] * scaleX, one.box[3] * scaleY];
    const colour = colourOf(one.class_name);
    const known = one.track_id !== null;
    context.strokeStyle = colour;
    context.lineWidth = this.compact ? 1.5 : 2;
    context.setLineDash(known ? [] : [4, 4]);
    context.strokeRect(x1, y1, x2 - x1, y2 - y1);
    context.setLineDash([]);
    if (!known) return;
    const text = this.compact ? one.class_name : `${one.class_name} ${one.track_id}  ${Math.round(one.confidence * 100)}%`;
    context.font = `600 ${this.compact ? 10 : 12}px system-ui, sans-serif`;
    const height = this.compact ? 14 : 18;
    const width = context.measureText(text).width + 8;
    const top = y1 - height >= 0 ? y1 - height : y1;
    context.fillStyle = colour;
    context.fillRect(x1 - context.lineWidth / 2, top, width, height);
    context.fillStyle = "#0b0e12";
    context.textBaseline = "middle";
    context.fillText(text, x1 + 4 - context.lineWidth / 2, top + height / 2 + 0.5);
  }

  #drawRules() {
    const context = this.context;
    const at = ([x, y]) => [x * this.width, y * this.height];
    context.lineWidth = this.compact ? 1 : 1.5;
    context.strokeStyle = SHAPE;
    for (const [name, zone] of Object.entries(this.rules.zones)) {
      context.beginPath();
      zone.polygon.forEach((corner, index) => (index ? context.lineTo(...at(corner)) : context.moveTo(...at(corner))));
      context.closePath();
      context.globalAlpha = 0.1;
      context.fillStyle = SHAPE;
      context.fill();
      context.globalAlpha = 0.9;
      context.stroke();
      context.globalAlpha = 1;
      if (!this.compact) this.#label(name, at(middle(zone.polygon)));
    }
    for (const [name, line] of Object.entries(this.rules.lines)) {
      const [from, to] = [at(line.from), at(line.to)];
      context.setLineDash([8, 5]);
      context.beginPath();
      context.moveTo(...from);
      context.lineTo(...to);
      context.stroke();
      context.setLineDash([]);
      if (!this.compact) this.#label(name, [(from[0] + to[0]) / 2, (from[1] + to[1]) / 2]);
    }
  }

  #label(text, [x, y]) {
    const context = this.context;
    context.font = "600 12px system-ui, sans-serif";
    context.textBaseline = "middle";
    const width = context.measureText(text).width + 10;
    context.fillStyle = "rgb(11 14 18 / 72%)";
    context.fillRect(x - width / 2, y - 9, width, 18);
    context.fillStyle = SHAPE;
    context.fillText(text, x - width / 2 + 5, y + 0.5);
  }
}
