// The panel beside the picture in which zones and lines are named, set up, taken back and saved.

import { patch, streamPath } from "./api.js";
import { CanvasEditor } from "./canvas_editor.js";
import { Drawing } from "./drawing.js";
import { announce, button, h, icon, tell, unique } from "./dom.js";
import { notice } from "./frame.js";
import { forgetRules } from "./rules.js";

const HELP = {
  select: "Choose a shape on the picture or below. Drag its corners; the small dots make new ones. A double click, or Delete, takes one away.",
  zone: "Click corner after corner and close at the first, or drag a rectangle. By keyboard: arrows move, space places a corner, Enter closes, Escape ends.",
  line: "Press at its beginning and release at its end. By keyboard: arrows move, space places an end, Escape ends.",
};

/** Edits a stream's zones and lines on its picture. `done(saved)` is called at the end. */
export function editor(stream, rules, stage, done) {
  const drawing = new Drawing(rules);
  const help = h("p", { class: "help", role: "status" });
  const tools = {
    zone: button("New zone", { name: "zone", onclick: () => canvas.use(canvas.tool === "zone" ? "select" : "zone") }),
    line: button("New line", { name: "line", onclick: () => canvas.use(canvas.tool === "line" ? "select" : "line") }),
  };
  const undo = button("Undo", { name: "undo", text: false, onclick: () => drawing.undo() });
  const redo = button("Redo", { name: "redo", text: false, onclick: () => drawing.redo() });
  const list = h("ul", { class: "shapes", "aria-label": "Zones and lines" });
  const problem = h("p", { class: "field-error", role: "alert" });
  const save = button("Save", { name: "check", kind: "primary", onclick: () => send() });
  const cancel = button("Cancel", { onclick: () => done(false) });
  const panel = h("section", { class: "card editor", "aria-label": "Edit zones and lines" },
    h("h2", {}, "Zones and lines"), h("div", { class: "buttons" }, tools.zone, tools.line, h("span", { class: "space" }), undo, redo),
    help, list, problem, h("div", { class: "buttons end" }, cancel, save));
  const canvas = new CanvasEditor(drawing, (tool) => {
    tell(help, HELP[tool]);
    for (const [name, made] of Object.entries(tools)) made.setAttribute("aria-pressed", String(name === tool));
  });
  stage.append(canvas.element);

  const rows = new Map();
  const follow = () => {
    undo.disabled = !drawing.canUndo;
    redo.disabled = !drawing.canRedo;
    save.disabled = !drawing.isChanged || drawing.shapes.some((shape) => drawing.wrong(shape));
    for (const [key, row] of rows) if (!drawing.get(key)) {
      row.element.remove();
      rows.delete(key);
    }
    for (const shape of drawing.shapes) {
      if (!rows.has(shape.key)) {
        const row = shapeRow(drawing, shape.key);
        rows.set(shape.key, row);
        list.append(row.element);
      }
      rows.get(shape.key).follow(drawing.get(shape.key));
    }
    let nothing = list.querySelector(".nothing");
    if (!drawing.shapes.length && !nothing) list.append(h("li", { class: "nothing" }, "There are none yet."));
    else if (drawing.shapes.length) nothing?.remove();
  };

  const send = async () => {
    save.disabled = true;
    tell(problem, "");
    const { zones, lines } = drawing.patch();
    const changes = { ...(Object.keys(zones).length ? { zones } : {}), ...(Object.keys(lines).length ? { lines } : {}) };
    try {
      await patch(streamPath(stream), changes);
      forgetRules(stream);
      notice("Saved. The camera is connected anew with them.");
      announce("Zones and lines saved");
      done(true);
    } catch (error) {
      tell(problem, error.problems.map((one) => `${one.path}: ${one.message}${one.mend ? ` (${one.mend})` : ""}`).join("; ") || error.message);
      save.disabled = false;
    }
  };

  const keys = (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z" || event.target.tagName === "INPUT") return;
    event.preventDefault();
    event.shiftKey ? drawing.redo() : drawing.undo();
  };
  document.addEventListener("keydown", keys);
  drawing.addEventListener("change", follow);
  follow();
  canvas.use("select");
  return {
    element: panel,
    get isChanged() {
      return drawing.isChanged;
    },
    leave() {
      document.removeEventListener("keydown", keys);
      canvas.leave();
    },
  };
}

/** One shape of the list: chosen, it shows what can be set of it. */
function shapeRow(drawing, key) {
  const { kind, rest } = drawing.get(key);
  const fields = [];
  const wrong = h("p", { class: "field-error", id: unique("wrong") });
  const change = (changes) => drawing.change(key, changes);
  const name = h("input", { type: "text", value: drawing.get(key).name, "aria-label": `Name of the ${kind}`, "aria-describedby": wrong.id, spellcheck: "false", autocomplete: "off",
    onchange: () => change({ name: name.value.trim() }), onfocus: () => drawing.selected === key || drawing.select(key) });
  const setting = (label, field, read, show, properties) => {
    const id = unique(field);
    const input = h("input", { id, value: show(rest[field]), ...properties, onchange: () => {
      const { [field]: _, ...others } = drawing.get(key).rest;
      const value = read(input.value.trim());
      change({ rest: value === null ? others : { ...others, [field]: value } });
    } });
    fields.push(() => {
      if (document.activeElement !== input) input.value = show(drawing.get(key).rest[field]);
    });
    return h("div", { class: "field" }, h("label", { for: id }, label), input);
  };
  const seconds = (text) => (text === "" || !(Number(text) > 0) ? null : Number(text));
  const whole = (text) => (text === "" || !(Number(text) >= 1) ? null : Math.round(Number(text)));
  const words = (text) => (text === "" ? null : text.split(/[\s,]+/).filter(Boolean));
  const plain = (value) => (value === undefined || value === null ? "" : String(value));
  const joined = (value) => (value ? value.join(", ") : "");
  const details = h("div", { class: "shape-details" },
    setting("Only these classes", "classes", words, joined, { type: "text", placeholder: "all", spellcheck: "false" }),
    kind === "zone" ? [
      setting("Tell of stays longer than, s", "dwell", seconds, plain, { type: "number", min: "0", step: "any", placeholder: "never" }),
      setting("Tell when so many are in it", "crowd", whole, plain, { type: "number", min: "1", step: "1", placeholder: "never" }),
    ] : button("Turn around: swap left and right", { name: "redo", kind: "small", onclick: () => change({ points: [...drawing.get(key).points].reverse() }) }));
  const remove = button(`Delete the ${kind}`, { name: "trash", text: false, onclick: () => drawing.remove(key) });
  const head = h("div", { class: "shape-head", onclick: (event) => event.target === name || drawing.selected === key || drawing.select(key) }, icon(kind), name, remove);
  const element = h("li", { class: "shape-row" }, head, wrong, details);
  return {
    element,
    follow(shape) {
      if (document.activeElement !== name) name.value = shape.name;
      for (const field of fields) field();
      const selected = drawing.selected === key;
      element.classList.toggle("selected", selected);
      details.hidden = !selected;
      const found = drawing.wrong(shape);
      tell(wrong, found ?? "");
      name.setAttribute("aria-invalid", String(found !== null));
    },
  };
}
