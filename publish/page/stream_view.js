// One camera: its picture, what happened there, its figures, its zones and lines.

import { address, post, remove, streamPath } from "./api.js";
import { button, h, icon, put, tell } from "./dom.js";
import { editor } from "./editor.js";
import { counts, fps, latency, number } from "./format.js";
import { notice } from "./frame.js";
import { LivePicture } from "./picture.js";
import { forgetRules, rulesOf } from "./rules.js";
import { showState, stateBadge } from "./states.js";
import { StreamCharts } from "./stream_charts.js";
import { Timeline } from "./timeline.js";

const OVERLAYS = { auto: "Best overlay", client: "Drawn by this page", burned: "Drawn by Vigil" };
const MEANS = { client: "own video", burned: "drawn video", mjpeg: "JPEGs", still: "stills", waiting: "–" };

export function streamView(app, [id]) {
  const { store } = app;
  const picture = new LivePicture(store, id);
  const timeline = new Timeline(store, id);
  const charts = new StreamCharts(store, id);
  const state = stateBadge(store.streams.get(id)?.state ?? "connecting");
  const detail = h("p", { class: "stream-detail" });
  const now = h("p", { class: "stream-now" });
  let editing = null;

  const overlay = h("select", { "aria-label": "How what was seen is drawn", onchange: () => picture.restart(overlay.value) },
    Object.entries(OVERLAYS).map(([value, text]) => h("option", { value }, text)));
  const layer = (name, label) => {
    const toggle = h("button", { type: "button", class: "button small", "aria-pressed": "true", onclick: () => {
      picture.overlay[name] = !picture.overlay[name];
      toggle.setAttribute("aria-pressed", String(picture.overlay[name]));
      picture.redraw();
    } }, label);
    return toggle;
  };
  const layers = h("div", { class: "buttons", role: "group", "aria-label": "Shown on the picture" }, layer("boxes", "Boxes"), layer("shapes", "Zones"));
  const edit = button("Zones and lines", { name: "edit", kind: "edits", onclick: () => (editing ? finish(false) : begin()) });
  const pause = button("Pause", { name: "paused", kind: "edits", onclick: () => pauseOrResume() });
  const snapshot = h("a", { class: "button bare", href: address(`${streamPath(id, "/snapshot.jpg")}?boxes=true`), target: "_blank", rel: "noopener", title: "Snapshot in a new tab", "aria-label": "Snapshot in a new tab" }, icon("picture"));
  const full = button("Full screen", { name: "full", text: false, onclick: () => (document.fullscreenElement ? document.exitFullscreen() : stage.requestFullscreen()) });
  const stage = h("div", { class: "stream-stage" }, picture.element);
  const side = h("div", { class: "stream-side" }, timeline.element);
  const figures = figureStrip();
  const element = h("section", { class: "stream-view", "aria-label": `Camera ${id}` },
    h("div", { class: "bar" }, h("a", { class: "button bare", href: "#/", "aria-label": "Back to the wall" }, icon("back")), h("h1", {}, id), state, detail, h("span", { class: "space" }),
      edit, pause, h("a", { class: "button edits", href: `#/edit/${id}` }, icon("gear"), h("span", {}, "Settings")), removeButton(id, store, picture)),
    h("div", { class: "stream-columns" },
      h("div", { class: "stream-main" }, stage, h("div", { class: "stage-bar" }, now, h("span", { class: "space" }), layers, overlay, snapshot, full), figures.element, charts.element),
      side));

  const begin = async () => {
    try {
      forgetRules(id);
      const rules = await rulesOf(id);
      picture.show({ zones: {}, lines: {} });
      editing = editor(id, rules, picture.stage, finish);
      element.classList.add("editing");
      edit.setAttribute("aria-pressed", "true");
      put(side, editing.element);
    } catch (error) {
      notice(error.message, true);
    }
  };
  const finish = (saved) => {
    editing?.leave();
    editing = null;
    element.classList.remove("editing");
    edit.setAttribute("aria-pressed", "false");
    put(side, timeline.element);
    edit.focus();
    showRules();
    if (saved) charts.rules();
  };
  const showRules = () => rulesOf(id).then((rules) => editing || picture.show(rules)).catch(() => {});
  const pauseOrResume = async () => {
    const paused = store.streams.get(id)?.state === "paused";
    pause.disabled = true;
    await post(streamPath(id, paused ? "/resume" : "/pause")).catch((error) => notice(error.message, true));
    pause.disabled = false;
    store.refresh();
  };
  const follow = () => {
    const stream = store.streams.get(id);
    if (!stream) {
      if (store.connection === "live") put(element, gone(id));
      return;
    }
    showState(state, stream.state);
    const paused = stream.state === "paused";
    tell(pause.lastElementChild, paused ? "Resume" : "Pause");
    tell(detail, stream.state === "live" ? stream.description ?? "" : stream.detail ?? "");
  };
  const leaving = (event) => {
    if (editing?.isChanged) event.preventDefault();
  };

  let toldAt = 0;
  picture.addEventListener("seen", (news) => {
    if (performance.now() - toldAt < 500) return;
    toldAt = performance.now();
    const found = {};
    for (const one of news.detail.objects) if (one.track_id !== null) found[one.class_name] = (found[one.class_name] ?? 0) + 1;
    tell(now, `In the picture: ${counts(found)}`);
  });
  picture.addEventListener("mode", (news) => {
    layers.hidden = news.detail !== "client";
    figures.means(MEANS[news.detail] ?? "–");
  });
  const forget = [store.on(["status", "streams", "connection"], follow, id), store.on(["system"], () => figures.show(store.figures(id)))];
  window.addEventListener("beforeunload", leaving);
  follow();
  showRules();
  figures.show(store.figures(id));
  picture.start();
  return {
    element,
    title: id,
    leave() {
      window.removeEventListener("beforeunload", leaving);
      forget.forEach((one) => one());
      editing?.leave();
      picture.stop();
      timeline.leave();
      charts.leave();
    },
  };
}

function figureStrip() {
  const made = {};
  const one = (name, title, tip) => {
    made[name] = h("dd", {}, "–");
    return h("div", { title: tip }, h("dt", {}, title), made[name]);
  };
  const element = h("dl", { class: "figures", "aria-label": "Figures" },
    one("fps", "Analysed", "Frames a second that the detector or the tracks answer for"),
    one("camera", "Camera", "Frames a second that it sends"),
    one("p50", "Latency", "From a frame's arrival to its result: half of them within"),
    one("p99", "Worst 1 %", "99 of 100 within"),
    one("tracks", "Objects", "Tracked now"),
    one("dropped", "Dropped", "Frames that there was no room or time for, since the start"),
    one("means", "Shown as", "The camera's own video with boxes drawn by this page, video that Vigil has drawn on, or JPEG pictures"));
  return {
    element,
    means: (text) => tell(made.means, text),
    show(figures) {
      tell(made.fps, fps(figures?.analysed_fps));
      tell(made.camera, fps(figures?.camera_fps));
      tell(made.p50, latency(figures?.latency_p50_s));
      tell(made.p99, latency(figures?.latency_p99_s));
      tell(made.tracks, number(figures?.tracks));
      const dropped = Object.entries(figures?.dropped ?? {}).filter(([, many]) => many > 0);
      tell(made.dropped, figures ? number(dropped.reduce((sum, [, many]) => sum + many, 0)) : "–");
      made.dropped.title = dropped.map(([reason, many]) => `${reason}: ${many}`).join(", ");
    },
  };
}

/** Asks before it removes. */
function removeButton(id, store, picture) {
  const ask = h("dialog", { class: "dialog small", "aria-labelledby": "remove-title" },
    h("form", { method: "dialog", class: "dialog-body" }, h("h2", { id: "remove-title" }, `Remove ${id}?`),
      h("p", {}, "Vigil lets go of the camera and forgets its settings. Events that were told stay."),
      h("div", { class: "buttons end" }, h("button", { class: "button", value: "no", autofocus: true }, "Keep it"), h("button", { class: "button danger", value: "yes" }, icon("trash"), h("span", {}, "Remove")))));
  ask.addEventListener("close", async () => {
    if (ask.returnValue !== "yes") return;
    picture.stop(); // a viewer's session ends before its stream does
    try {
      await remove(streamPath(id));
      await store.refresh();
      notice(`${id} is removed.`);
      location.hash = "#/";
    } catch (error) {
      notice(error.message, true);
      picture.start();
    }
  });
  return h("span", { class: "edits" }, button("Remove the camera", { name: "trash", text: false, onclick: () => ask.showModal() }), ask);
}

function gone(id) {
  return h("div", { class: "empty" }, icon("camera"), h("h1", {}, `There is no camera ${id}`), h("p", {}, h("a", { href: "#/" }, "To the wall")));
}
