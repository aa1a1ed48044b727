// Adding a camera, or changing one: tried out before it is saved.

import { get, patch, post, streamPath } from "./api.js";
import { button, h, icon, put, tell, unique } from "./dom.js";
import { duration } from "./format.js";
import { notice } from "./frame.js";
import { forgetRules } from "./rules.js";

const NAME = "[a-z0-9][a-z0-9_\\-]{0,63}";
const SCHEMES_WITH_LOGIN = /^(rtsps?|rtmps?|https?):\/\//i;
// What the form has fields for; all else is in the text below them. Zones are drawn on the picture.
const FIELDS = ["url", "fps", "transport", "attention", "snapshots", "clips"];
const ELSEWHERE = ["zones", "lines", "paused"];

export function cameraView(app, [id]) {
  const form = new CameraForm(app, id ?? null);
  return { element: form.element, title: id ? `Settings of ${id}` : "Add a camera", leave: () => form.leave() };
}

class CameraForm {
  #settings = {};
  #asked = 0;

  constructor(app, id) {
    this.app = app;
    this.id = id;
    this.name = h("input", { type: "text", required: true, pattern: NAME, placeholder: "gate", autocomplete: "off", spellcheck: "false", disabled: id !== null, value: id ?? "" });
    this.url = h("input", { type: "text", required: true, placeholder: "rtsp://10.0.0.12/stream1", autocomplete: "off", spellcheck: "false", inputmode: "url" });
    this.user = h("input", { type: "text", autocomplete: "off", spellcheck: "false" });
    this.password = h("input", { type: "password", autocomplete: "new-password" });
    this.fps = h("input", { type: "number", min: "0.1", max: "240", step: "any", placeholder: "every frame" });
    this.transport = select({ auto: "auto: TCP, or UDP where TCP is refused", tcp: "TCP", udp: "UDP" });
    this.attention = select({ off: "all frames", motion: "those in which something moves", adaptive: "as many as the tracks need" });
    this.snapshots = h("input", { type: "checkbox" });
    this.clips = h("input", { type: "checkbox" });
    this.rest = h("textarea", { rows: 5, spellcheck: "false", class: "code" });
    this.result = h("div", { class: "probe", role: "status", "aria-live": "polite" });
    this.problem = h("div", { class: "field-error", role: "alert" });
    this.test = button("Test", { name: "play", onclick: () => this.#probe() });
    this.save = h("button", { type: "submit", class: "button primary" }, icon("check"), h("span", {}, id ? "Save" : "Add camera"));
    const form = h("form", { class: "card form", onsubmit: (event) => this.#save(event) },
      field("Name", this.name, "Lower-case letters, digits, - and _. It is part of addresses and of NATS subjects, and stays."),
      field("Address", this.url, "rtsp://, rtmp://, http:// (HLS, MJPEG), srt://, udp://, whip://, or a file on Vigil's machine."),
      h("div", { class: "pair" }, field("User", this.user), field("Password", this.password, "Kept by Vigil, and shown nowhere.")),
      h("div", { class: "pair" }, field("Analyse at most, frames a second", this.fps), field("RTSP over", this.transport)),
      field("The detector looks at", this.attention),
      h("div", { class: "pair" }, check("Keep snapshots of events", this.snapshots), check("Keep clips of events", this.clips)),
      h("details", {}, h("summary", {}, "All other settings"), field("As JSON", this.rest, "By the names that the config has, such as {\"read_timeout\": 10}.")),
      this.problem,
      h("div", { class: "buttons end" }, h("a", { class: "button", href: id ? `#/stream/${id}` : "#/" }, "Cancel"), this.test, this.save));
    this.element = h("section", { class: "camera-view", "aria-label": id ? `Settings of ${id}` : "Add a camera" },
      h("div", { class: "bar" }, h("a", { class: "button bare", href: id ? `#/stream/${id}` : "#/", "aria-label": "Back" }, icon("back")), h("h1", {}, id ? `Settings of ${id}` : "Add a camera")),
      h("div", { class: "camera-columns" }, form, h("aside", { class: "card", "aria-label": "Test" }, h("h2", {}, "Test"), this.result)));
    put(this.result, h("p", { class: "help" }, "Connects as Vigil will, and shows the first picture, or what is wrong and how to mend it."));
    if (id) this.#fill();
  }

  leave() {
    this.#asked += 1;
  }

  async #fill() {
    try {
      const { settings } = await get(streamPath(this.id));
      this.#settings = settings;
      this.url.value = settings.url;
      this.fps.value = settings.fps ?? "";
      this.transport.value = settings.transport ?? "auto";
      this.attention.value = settings.attention?.mode ?? settings.attention ?? "off";
      this.snapshots.checked = Boolean(settings.snapshots);
      this.clips.checked = Boolean(settings.clips);
      const rest = this.#rest();
      this.rest.value = Object.keys(rest).length ? JSON.stringify(rest, null, 2) : "";
    } catch (error) {
      tell(this.problem, error.message);
    }
  }

  #rest() {
    return Object.fromEntries(Object.entries(this.#settings).filter(([name]) => !FIELDS.includes(name) && !ELSEWHERE.includes(name)));
  }

  /** What the form says, as settings of a stream. Throws SyntaxError for what is no JSON. */
  #given() {
    const before = this.#settings;
    const given = { ...(this.rest.value.trim() ? JSON.parse(this.rest.value) : {}), url: this.#address() };
    if (this.fps.value) given.fps = Number(this.fps.value);
    if (this.transport.value !== "auto" || before.transport) given.transport = this.transport.value;
    const attention = before.attention?.mode ?? before.attention ?? "off";
    if (this.attention.value === attention) {
      if (before.attention !== undefined) given.attention = before.attention;
    } else given.attention = typeof before.attention === "object" ? { ...before.attention, mode: this.attention.value } : this.attention.value;
    if (this.snapshots.checked) given.snapshots = before.snapshots ?? {};
    if (this.clips.checked) given.clips = before.clips ?? {};
    return given;
  }

  #address() {
    const text = this.url.value.trim();
    if (!this.user.value || !SCHEMES_WITH_LOGIN.test(text)) return text;
    const login = `${encodeURIComponent(this.user.value)}:${encodeURIComponent(this.password.value)}`;
    return text.replace(/^([a-z]+:\/\/)(?:[^@/]*@)?/i, `$1${login}@`);
  }

  #read() {
    try {
      return this.#given();
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      tell(this.problem, `All other settings: not JSON: ${error.message}`);
      return null;
    }
  }

  async #probe() {
    if (!this.url.reportValidity()) return;
    tell(this.problem, "");
    const given = this.#read();
    if (!given) return;
    this.#asked += 1;
    const asked = this.#asked;
    this.test.disabled = true;
    put(this.result, h("p", { class: "loading" }, "Connecting…"));
    try {
      // Of a camera that is known only what differs: its password is kept where this page cannot read it.
      const told = await (this.id ? post(`api/v1/probe?stream=${encodeURIComponent(this.id)}`, this.#changes(given)) : post("api/v1/probe", given));
      if (asked === this.#asked) put(this.result, told.ok ? worked(told) : failed(told));
    } catch (error) {
      if (asked === this.#asked) put(this.result, failed({ code: error.code, detail: problems(error), mend: error.mend }));
    } finally {
      this.test.disabled = false;
    }
  }

  async #save(event) {
    event.preventDefault();
    tell(this.problem, "");
    const given = this.#read();
    if (!given) return;
    this.save.disabled = true;
    try {
      if (this.id) await patch(streamPath(this.id), this.#changes(given));
      else await post("api/v1/streams", { id: this.name.value, ...given });
      forgetRules(this.id ?? this.name.value);
      await this.app.store.refresh();
      notice(this.id ? "Saved." : `${this.name.value} is added.`);
      location.hash = `#/stream/${this.id ?? this.name.value}`;
    } catch (error) {
      tell(this.problem, problems(error));
    } finally {
      this.save.disabled = false;
    }
  }

  /** What differs from what is saved, as a merge patch; an address with its password hidden is the same. */
  #changes(given) {
    const before = this.#settings;
    const changes = {};
    for (const name of Object.keys(before)) if (!(name in given) && !ELSEWHERE.includes(name)) changes[name] = null;
    for (const [name, value] of Object.entries(given)) if (JSON.stringify(value) !== JSON.stringify(before[name])) changes[name] = value;
    return changes;
  }
}

function problems(error) {
  if (!error.problems?.length) return error.message;
  return error.problems.map((one) => `${one.path}: ${one.message}${one.mend ? ` → ${one.mend}` : ""}`).join("\n");
}

function worked(told) {
  const facts = [["Video", told.description], ["Size", told.width ? `${told.width} × ${told.height}` : null], ["Rate", told.fps ? `${told.fps} fps` : null], ["Took", duration(told.seconds)]];
  return [
    h("p", { class: "verdict good" }, icon("check"), h("span", {}, "It works")),
    told.picture ? h("img", { src: told.picture, alt: "The camera's first picture" }) : null,
    h("dl", { class: "facts" }, facts.filter(([, value]) => value).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
  ];
}

function failed(told) {
  return [
    h("p", { class: "verdict bad" }, icon("failed"), h("span", {}, "No picture: ", h("code", {}, told.code))),
    h("p", {}, told.detail),
    told.mend ? h("p", { class: "mend" }, icon("edit"), h("span", {}, told.mend)) : null,
  ];
}

function select(choices) {
  return h("select", {}, Object.entries(choices).map(([value, text]) => h("option", { value }, text)));
}

function field(label, input, help = null) {
  input.id = unique("field");
  const hint = help ? h("p", { class: "help", id: `${input.id}-help` }, help) : null;
  if (hint) input.setAttribute("aria-describedby", hint.id);
  return h("div", { class: "field" }, h("label", { for: input.id }, label), input, hint);
}

function check(label, input) {
  input.id = unique("field");
  return h("label", { class: "check", for: input.id }, input, h("span", {}, label));
}
