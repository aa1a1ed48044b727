// Zones and lines while they are edited: what there is, what was before, and what of it the service has to be told.

import { rounded, wrongWithPolygon } from "./geometry.js";

const NAME = /^[a-z0-9][a-z0-9_-]{0,63}$/;
const LEAST_CORNERS = { zone: 3, line: 2 };

/**
 * Shapes that never change, in a history that can be gone back in.
 *
 * A shape: {key, kind: "zone"|"line", name, points (parts), rest (its other settings), was (its name as saved, or null)}.
 */
export class Drawing extends EventTarget {
  selected = null;
  #past = [];
  #future = [];
  #keys = 0;

  constructor({ zones, lines }) {
    super();
    this.saved = { zones, lines };
    this.shapes = [
      ...Object.entries(zones).map(([name, { polygon, ...rest }]) => this.#made("zone", name, polygon, rest, name)),
      ...Object.entries(lines).map(([name, { from, to, ...rest }]) => this.#made("line", name, [from, to], rest, name)),
    ];
  }

  get(key) {
    return this.shapes.find((shape) => shape.key === key) ?? null;
  }

  get canUndo() {
    return this.#past.length > 0;
  }

  get canRedo() {
    return this.#future.length > 0;
  }

  get isChanged() {
    const { zones, lines } = this.patch();
    return Object.keys(zones).length + Object.keys(lines).length > 0;
  }

  /** A new shape, with a name that nobody has. */
  add(kind, points) {
    let number = 1;
    while (this.shapes.some((shape) => shape.kind === kind && shape.name === `${kind}-${number}`)) number += 1;
    const made = this.#made(kind, `${kind}-${number}`, points.map(rounded), {}, null);
    this.#become([...this.shapes, made], made.key);
    return made.key;
  }

  remove(key) {
    this.#become(this.shapes.filter((shape) => shape.key !== key), null);
  }

  /** Changes `name`, `points` or `rest` of a shape. With `join` it is one step with the change before. */
  change(key, changes, join = false) {
    const shapes = this.shapes.map((shape) => (shape.key === key ? { ...shape, ...changes } : shape));
    this.#become(shapes, key, join);
  }

  /** Moves a corner; `join` as above. */
  move(key, index, to, join = false) {
    const points = this.get(key).points.map((point, at) => (at === index ? rounded(to) : point));
    this.change(key, { points }, join);
  }

  insert(key, index, point) {
    const points = [...this.get(key).points];
    points.splice(index, 0, rounded(point));
    this.change(key, { points });
  }

  /** Takes a corner away; false where there would be too few left. */
  takeCorner(key, index) {
    const shape = this.get(key);
    if (shape.points.length <= LEAST_CORNERS[shape.kind]) return false;
    this.change(key, { points: shape.points.filter((_, at) => at !== index) });
    return true;
  }

  select(key) {
    this.selected = key;
    this.#tell();
  }

  undo() {
    this.#go(this.#past, this.#future);
  }

  redo() {
    this.#go(this.#future, this.#past);
  }

  /** What is wrong with a shape, as a sentence; null: nothing. */
  wrong(shape) {
    if (!NAME.test(shape.name)) return "a name has lower-case letters, digits, - and _, and begins with a letter or digit";
    if (this.shapes.some((other) => other.key !== shape.key && other.kind === shape.kind && other.name === shape.name)) return "another one has this name";
    if (shape.kind === "zone") return wrongWithPolygon(shape.points);
    const [[x1, y1], [x2, y2]] = shape.points;
    if (Math.hypot(x2 - x1, y2 - y1) < 0.01) return "both ends are the same place";
    if ((x1 === x2 && (x1 === 0 || x1 === 1)) || (y1 === y2 && (y1 === 0 || y1 === 1))) return "it lies on the picture's edge, where nothing can cross it";
    return null;
  }

  /** The merge patch of the stream's settings: what differs from what is saved, and null for what is gone. */
  patch() {
    const patch = { zones: {}, lines: {} };
    for (const [kind, where] of [["zone", "zones"], ["line", "lines"]]) {
      const now = new Map(this.shapes.filter((shape) => shape.kind === kind).map((shape) => [shape.name, settings(shape)]));
      for (const name of Object.keys(this.saved[where])) if (!now.has(name)) patch[where][name] = null;
      for (const [name, wanted] of now) {
        const before = this.saved[where][name];
        if (JSON.stringify(sorted(wanted)) === JSON.stringify(sorted(before))) continue;
        const gone = Object.keys(before ?? {}).filter((key) => !(key in wanted)).map((key) => [key, null]);
        patch[where][name] = { ...wanted, ...Object.fromEntries(gone) };
      }
    }
    return patch;
  }

  #made(kind, name, points, rest, was) {
    this.#keys += 1;
    return { key: this.#keys, kind, name, points, rest, was };
  }

  #become(shapes, selected, join = false) {
    if (!join) this.#past.push(this.shapes);
    this.#future = [];
    this.shapes = shapes;
    this.selected = selected;
    this.#tell();
  }

  #go(from, to) {
    if (!from.length) return;
    to.push(this.shapes);
    this.shapes = from.pop();
    if (!this.get(this.selected)) this.selected = null;
    this.#tell();
  }

  #tell() {
    this.dispatchEvent(new CustomEvent("change"));
  }
}

function settings({ kind, points, rest }) {
  return kind === "zone" ? { ...rest, polygon: points } : { ...rest, from: points[0], to: points[1] };
}

function sorted(value) {
  return value && Object.fromEntries(Object.entries(value).sort(([a], [b]) => a.localeCompare(b)));
}
