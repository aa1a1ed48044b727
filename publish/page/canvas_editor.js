// Drawing on the live picture, with a pointer or the keyboard: new shapes, corners that move, shapes that move.

import { announce, put, s } from "./dom.js";
import { clamp, middle } from "./geometry.js";

// Less far than this and a press was a click, px.
const CLICK_PX = 6;
// So near the first corner a click closes the zone, px.
const CLOSE_PX = 12;
const STEP = 0.01;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** An SVG over the picture's stage. `tool` is `select`, `zone` or `line`; `ontool(tool)` hears that it changed. */
export class CanvasEditor {
  tool = "select";
  #pending = [];
  #cursor = [0.5, 0.5];
  #pointer = null;
  #drag = null;
  #pressed = {};

  constructor(drawing, ontool) {
    this.drawing = drawing;
    this.ontool = ontool;
    this.element = s("svg", { class: "drawing", tabindex: "0", role: "application", "aria-label": "Zones and lines on the picture" });
    this.element.addEventListener("pointerdown", (event) => this.#down(event));
    this.element.addEventListener("pointermove", (event) => this.#move(event));
    this.element.addEventListener("pointerup", (event) => this.#up(event));
    this.element.addEventListener("pointercancel", () => this.#end());
    this.element.addEventListener("dblclick", () => this.#double());
    this.element.addEventListener("keydown", (event) => this.#key(event));
    this.resizing = new ResizeObserver(() => this.render());
    this.resizing.observe(this.element);
    drawing.addEventListener("change", () => this.render());
  }

  leave() {
    this.resizing.disconnect();
    this.element.remove();
  }

  use(tool) {
    this.tool = tool;
    this.#pending = [];
    this.#cursor = [0.5, 0.5];
    this.element.dataset.tool = tool;
    if (tool !== "select") {
      this.drawing.select(null);
      this.element.focus();
    }
    this.ontool(tool);
    this.render();
  }

  /** Closes the shape that is being drawn, if it has corners enough. */
  finish() {
    const least = this.tool === "zone" ? 3 : 2;
    if (this.tool === "select" || this.#pending.length < least) return;
    const points = this.#pending;
    const kind = this.tool;
    this.use("select");
    const key = this.drawing.add(kind, points);
    announce(`${this.drawing.get(key).name} drawn`);
  }

  render() {
    const { width, height } = this.#size();
    if (!width) return;
    this.element.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const focused = document.activeElement?.dataset?.corner;
    const shapes = this.drawing.shapes.map((shape) => this.#shape(shape));
    put(this.element, shapes, this.#unfinished());
    if (focused) this.element.querySelector(`[data-corner="${focused}"]`)?.focus();
  }

  #size() {
    return { width: this.element.clientWidth, height: this.element.clientHeight };
  }

  #px([x, y]) {
    const { width, height } = this.#size();
    return [x * width, y * height];
  }

  #part(event) {
    const box = this.element.getBoundingClientRect();
    return [clamp((event.clientX - box.left) / box.width), clamp((event.clientY - box.top) / box.height)];
  }

  #far(a, b) {
    const [[x1, y1], [x2, y2]] = [this.#px(a), this.#px(b)];
    return Math.hypot(x2 - x1, y2 - y1);
  }

  #shape(shape) {
    const selected = shape.key === this.drawing.selected;
    const points = shape.points.map((point) => this.#px(point));
    const text = points.map((point) => point.join(",")).join(" ");
    const wrong = this.drawing.wrong(shape);
    const [x, y] = shape.kind === "zone" ? middle(points) : points[1];
    const group = s("g", { class: `shape ${shape.kind} ${selected ? "selected" : ""} ${wrong ? "wrong" : ""}` },
      s(shape.kind === "zone" ? "polygon" : "polyline", { class: "outline", points: text, "data-shape": shape.key }),
      shape.kind === "line" ? [s("polyline", { class: "grip", points: text, "data-shape": shape.key }), this.#sides(points)] : null,
      s("text", { x, y: shape.kind === "line" ? y - 12 : y, class: "shape-name" }, shape.name));
    if (selected && this.tool === "select") {
      if (shape.kind === "zone") {
        points.forEach(([x1, y1], index) => {
          const [x2, y2] = points[(index + 1) % points.length];
          group.append(s("circle", { class: "between", cx: (x1 + x2) / 2, cy: (y1 + y2) / 2, r: 5, "data-shape": shape.key, "data-after": index }));
        });
      }
      points.forEach(([cx, cy], index) => group.append(s("circle", {
        class: "corner", cx, cy, r: 8, tabindex: "0", role: "button", "data-shape": shape.key, "data-index": index, "data-corner": `${shape.key}.${index}`,
        "aria-label": `Corner ${index + 1} of ${shape.name}, ${Math.round(shape.points[index][0] * 100)} % from the left, ${Math.round(shape.points[index][1] * 100)} % from the top`,
      })));
    }
    return group;
  }

  /** Which side of a line is its left: crossings are told by that. */
  #sides([[x1, y1], [x2, y2]]) {
    const length = Math.hypot(x2 - x1, y2 - y1) || 1;
    // Words are wider than high, so they stand further off beside a line than above it.
    const [nx, ny] = [(y2 - y1) / length * 26, -(x2 - x1) / length * 14];
    const [x, y] = [(x1 + x2) / 2, (y1 + y2) / 2];
    return [s("text", { x: x + nx, y: y + ny, class: "side" }, "left"), s("text", { x: x - nx, y: y - ny, class: "side" }, "right")];
  }

  #unfinished() {
    if (this.tool === "select") return [];
    const corners = this.#pending.map((point) => this.#px(point));
    const next = this.#pointer ?? (document.activeElement === this.element ? this.#cursor : null);
    const [x, y] = next ? this.#px(next) : [0, 0];
    const band = this.#drag?.rectangle ?? [...this.#pending, ...(next && corners.length ? [next] : [])];
    return [
      s(this.#drag?.rectangle ? "polygon" : "polyline", { class: "outline pending", points: band.map((point) => this.#px(point).join(",")).join(" ") }),
      corners.map(([cx, cy], index) => s("circle", { class: `corner ${index ? "" : "first"}`, cx, cy, r: 6 })),
      next ? s("path", { class: "cursor", d: `M${x - 10} ${y}h20M${x} ${y - 10}v20` }) : null,
    ];
  }

  #down(event) {
    if (event.button !== 0) return;
    const at = this.#part(event);
    this.#pressed = { ...event.target.dataset };
    this.element.setPointerCapture(event.pointerId);
    if (this.tool !== "select") {
      this.element.focus();
      this.#drag = { from: at };
      return;
    }
    const { shape, index, after } = event.target.dataset;
    if (shape === undefined) {
      this.drawing.select(null);
      return;
    }
    const key = Number(shape);
    if (index !== undefined) this.#drag = { key, index: Number(index), moved: false };
    else if (after !== undefined) {
      this.drawing.insert(key, Number(after) + 1, at);
      this.#drag = { key, index: Number(after) + 1, moved: true };
    } else {
      this.drawing.select(key);
      this.#drag = { key, from: at, points: this.drawing.get(key).points, moved: false };
    }
  }

  #move(event) {
    const at = this.#part(event);
    this.#pointer = at;
    const drag = this.#drag;
    if (this.tool !== "select") {
      if (drag && !this.#pending.length && this.#far(drag.from, at) > CLICK_PX) {
        const [[x1, y1], [x2, y2]] = [drag.from, at];
        drag.rectangle = this.tool === "zone" ? [[x1, y1], [x2, y1], [x2, y2], [x1, y2]] : [drag.from, at];
      }
      this.render();
    } else if (drag?.index !== undefined) {
      this.drawing.move(drag.key, drag.index, at, drag.moved);
      drag.moved = true;
    } else if (drag && (drag.moved || this.#far(drag.from, at) > CLICK_PX)) {
      // All of it stays within the picture.
      const within = (axis) => {
        const values = drag.points.map((point) => point[axis]);
        return clamp(at[axis] - drag.from[axis], -Math.min(...values), 1 - Math.max(...values));
      };
      const [dx, dy] = [within(0), within(1)];
      this.drawing.change(drag.key, { points: drag.points.map(([x, y]) => [Math.round((x + dx) * 1000) / 1000, Math.round((y + dy) * 1000) / 1000]) }, drag.moved);
      drag.moved = true;
    }
  }

  #up(event) {
    const drag = this.#drag;
    this.#end();
    if (this.tool === "select" || !drag) return;
    const at = this.#part(event);
    if (drag.rectangle) {
      this.#pending = drag.rectangle;
      this.finish();
    } else this.#place(at);
  }

  #end() {
    this.#drag = null;
  }

  #place(at) {
    const closes = this.tool === "zone" && this.#pending.length >= 3 && this.#far(this.#pending[0], at) < CLOSE_PX;
    if (!closes) this.#pending.push(at);
    if (closes || (this.tool === "line" && this.#pending.length === 2)) this.finish();
    else {
      announce(`Corner ${this.#pending.length} placed`);
      this.render();
    }
  }

  #double() {
    const { shape, index } = this.#pressed; // with the pointer captured, the event's own target is the whole drawing
    if (this.tool === "zone") {
      this.#pending.pop(); // the second click placed one more
      this.finish();
    } else if (index !== undefined) this.drawing.takeCorner(Number(shape), Number(index));
  }

  #key(event) {
    const arrow = ARROWS[event.key];
    const step = STEP * (event.shiftKey ? 5 : 1);
    const { shape, index } = event.target.dataset;
    if (event.key === "Escape" && this.tool !== "select") this.use("select");
    else if (index !== undefined && arrow) {
      const [x, y] = this.drawing.get(Number(shape)).points[Number(index)];
      this.drawing.move(Number(shape), Number(index), [x + arrow[0] * step, y + arrow[1] * step]);
    } else if (index !== undefined && (event.key === "Delete" || event.key === "Backspace")) {
      if (!this.drawing.takeCorner(Number(shape), Number(index))) announce("No corner can be spared");
    } else if (this.tool !== "select" && arrow) {
      this.#pointer = null;
      this.#cursor = [clamp(this.#cursor[0] + arrow[0] * step), clamp(this.#cursor[1] + arrow[1] * step)];
      announce(`${Math.round(this.#cursor[0] * 100)} % from the left, ${Math.round(this.#cursor[1] * 100)} % from the top`);
      this.render();
    } else if (this.tool !== "select" && event.key === " ") this.#place([...this.#cursor]);
    else if (this.tool !== "select" && event.key === "Enter") {
      if (this.#pending.length >= (this.tool === "zone" ? 3 : 2)) this.finish();
      else this.#place([...this.#cursor]);
    } else if (this.tool !== "select" && event.key === "Backspace") {
      this.#pending.pop();
      this.render();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
