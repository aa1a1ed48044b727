// How the service and its machine are doing, and what is wrong.

import { get } from "./api.js";
import { h, icon, put } from "./dom.js";
import { bytes, duration, fps, latency, number, percent } from "./format.js";
import { isTrouble, sentence, stateBadge } from "./states.js";

const ASK_MS = 5000;
// The part of the time in which a detector works, from which on it cannot keep up.
const BUSY = 0.97;
// In the order in which a frame comes through them.
const STAGES = {
  decode: "Decoding", motion: "Looking for motion", letterbox: "Resizing", wait: "Waiting for the detector", infer: "Detecting", post: "Reading boxes",
  track: "Tracking", publish: "Publishing", media: "Snapshots and clips", preview: "Drawing for viewers",
};
const DROPS = { ring: "without a slot", stale: "too old", detector: "without a detector", error: "by errors", busy: "while busy" };

export function systemView({ store }) {
  const verdict = h("section", { class: "card verdict-card", "aria-label": "What is wrong" });
  const facts = h("dl", { class: "figures", "aria-label": "Service" });
  const detectors = table("Detectors", ["Detector", "Model", "Runs on", "Frames", "Busy"]);
  const devices = table("Devices", ["Device", "What it is", "Busy", "Memory"]);
  const processes = table("Processes", ["Process", "Pid", "Cores", "Memory"]);
  const stages = h("div", { class: "stages" });
  const streams = table("Cameras", ["Camera", "State", "Analysed", "Camera", "Latency", "Worst 1 %", "Dropped"]);
  const element = h("section", { class: "system-view", "aria-label": "System" },
    h("div", { class: "bar" }, h("h1", {}, "System")), verdict, facts,
    h("div", { class: "system-columns" }, streams.element, h("section", { class: "card", "aria-labelledby": "stages-title" }, h("h2", { id: "stages-title" }, "Stages of a frame"), stages),
      detectors.element, processes.element, devices.element));
  let nats = null;
  let config = null;

  const show = () => {
    const system = store.system;
    judge(verdict, store, nats, config);
    if (!system) return;
    put(facts, ...[
      ["Version", system.version], ["Running for", duration(Math.round(system.uptime_s))], ["NATS", system.nats], ["Waiting for NATS", `${number(system.outbox_pending)} events`],
      ["Cores in use", number(system.processes.reduce((sum, one) => sum + (one.cpu ?? 0), 0))],
      ["Memory", bytes(system.processes.reduce((sum, one) => sum + one.memory_bytes, 0))],
      ["Viewers", number(Object.values(system.viewers).reduce((sum, many) => sum + many, 0))],
    ].map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
    detectors.rows(system.detectors.map((one) => [one.name, one.ready ? `${one.model}, ${one.image_size} px` : h("span", { class: "loading" }, "loading"),
      one.ready ? `${one.device}, ${one.runtime} ${one.precision}` : "–", fps(one.fps), meter(one.utilisation)]));
    processes.rows(system.processes.map((one) => [one.name, one.pid, number(one.cpu), bytes(one.memory_bytes)]));
    devices.rows(system.devices.map((one) => [one.name, one.description, meter(one.utilisation),
      one.memory_bytes ? `${bytes(one.memory_used_bytes)} of ${bytes(one.memory_bytes)}` : "–"]));
    streams.rows(system.streams.map((one) => {
      const dropped = Object.entries(one.dropped).filter(([, many]) => many > 0);
      const many = h("span", { title: dropped.map(([reason, count]) => `${DROPS[reason] ?? reason}: ${count}`).join(", ") }, dropped.length ? dropped.map(([reason, count]) => `${count} ${DROPS[reason] ?? reason}`).join(", ") : "none");
      return [h("a", { href: `#/stream/${one.id}` }, one.id), stateBadge(one.state), fps(one.analysed_fps), fps(one.camera_fps), latency(one.latency_p50_s), latency(one.latency_p99_s), many];
    }));
    put(stages, stageBars(system.stages));
  };

  const ask = async () => {
    [nats, config] = await Promise.all([get("api/v1/nats").catch(() => null), get("api/v1/config").catch(() => null)]);
    show();
  };
  const asking = setInterval(ask, ASK_MS);
  const forget = store.on(["system", "status", "connection"], show);
  show();
  ask();
  return { element, leave() {
    clearInterval(asking);
    forget();
  } };
}

/** Everything that is wrong, with its mend; or that nothing is. */
function judge(verdict, store, nats, config) {
  const wrong = [];
  if (store.connection === "offline") wrong.push(["Vigil does not answer", "What is below is from before that.", "Is it running? Is this machine connected?"]);
  for (const trouble of nats?.troubles ?? []) wrong.push([trouble.code, trouble.message, trouble.mend ?? null]);
  for (const problem of config?.problems ?? []) wrong.push([`${problem.code}: ${problem.path}`, problem.message, "The config file is not followed until this is mended; what ran before goes on."]);
  for (const stream of store.streams.values()) if (isTrouble(stream.state)) wrong.push([stream.id, `${sentence(stream)}${stream.detail ? ` (${stream.detail})` : ""}`, null]);
  for (const one of store.system?.detectors ?? []) if (!one.ready) wrong.push([one.name, "The detector is not ready.", null]);
  const drops = (store.system?.streams ?? []).some((one) => one.dropped.stale || one.dropped.ring);
  for (const one of store.system?.detectors ?? []) {
    if (one.utilisation >= BUSY && drops) wrong.push([one.name, "The detector has more to do than it can: frames are dropped, as many of each camera as its weight says.", "Lower the cameras' fps, set attention, or take a smaller model; `vigil plan` says what fits."]);
  }
  for (const one of store.system?.streams ?? []) {
    if (one.state === "live" && one.camera_fps && one.analysed_fps === 0) wrong.push([one.id, "The camera sends, and none of its frames are analysed.", "Look at the detectors below."]);
  }
  const text = JSON.stringify(wrong);
  if (verdict.dataset.text === text) return;
  verdict.dataset.text = text;
  verdict.classList.toggle("bad", wrong.length > 0);
  put(verdict, h("h2", {}, icon(wrong.length ? "warning" : "check"), wrong.length ? `${wrong.length} ${wrong.length === 1 ? "thing is" : "things are"} wrong` : "Nothing is wrong"),
    wrong.length ? h("ul", {}, wrong.map(([what, why, mend]) => h("li", {}, h("strong", {}, what), " ", why, mend ? h("span", { class: "mend" }, icon("edit"), mend) : null))) : null);
}

function table(title, columns) {
  const body = h("tbody");
  const id = `table-${title.toLowerCase()}`;
  const nothing = h("p", { class: "help" }, "None.");
  const element = h("section", { class: "card", "aria-labelledby": id }, h("h2", { id }, title),
    h("div", { class: "scrolls", tabindex: "0", role: "region", "aria-labelledby": id }, h("table", {}, h("thead", {}, h("tr", {}, columns.map((column) => h("th", { scope: "col" }, column)))), body)), nothing);
  return {
    element,
    rows(rows) {
      nothing.hidden = rows.length > 0;
      put(body, rows.map(([first, ...cells]) => h("tr", {}, h("th", { scope: "row" }, first), cells.map((cell) => h("td", {}, cell)))));
    },
  };
}

function meter(part) {
  if (part === null || part === undefined) return "–";
  const bar = h("i");
  bar.style.width = `${Math.min(100, part * 100)}%`;
  return h("span", { class: "meter" }, h("span", { class: "meter-bar", "aria-hidden": "true" }, bar), percent(part));
}

/** Where a frame's time goes: the median, and what 95 of 100 stay within. */
function stageBars(stages) {
  const order = Object.keys(STAGES);
  const known = stages.filter((stage) => stage.p50_s !== null);
  known.sort((one, other) => order.indexOf(one.stage) - order.indexOf(other.stage));
  const most = Math.max(1e-6, ...known.map((stage) => stage.p95_s ?? 0));
  if (!known.length) return h("p", { class: "help" }, "No frame has come through yet.");
  return h("dl", {}, known.map((stage) => {
    const [p95, p50] = [h("i", { class: "p95" }), h("i", { class: "p50" })];
    p95.style.width = `${(stage.p95_s ?? 0) / most * 100}%`;
    p50.style.width = `${(stage.p50_s ?? 0) / most * 100}%`;
    return [h("dt", {}, STAGES[stage.stage] ?? stage.stage), h("dd", {}, h("span", { class: "stage-bar-track", "aria-hidden": "true" }, p95, p50),
      h("span", { class: "stage-times" }, `${milliseconds(stage.p50_s)} · 95 %: ${milliseconds(stage.p95_s)}`))];
  }));
}

function milliseconds(seconds) {
  return seconds === null || seconds === undefined ? "–" : `${number(Math.round(seconds * 10_000) / 10)} ms`;
}
