// The page's parts that need no browser.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Drawing } from "../../../publish/page/drawing.js";
import { contained, crosses, wrongWithPolygon } from "../../../publish/page/geometry.js";
import { Hold, RTP_HZ, ticks, Tracks } from "../../../publish/page/tracks.js";
import { serversOf } from "../../../publish/page/whep.js";

const FRAME = { width: 640, height: 360 };
const STEP = RTP_HZ / 10;
const seen = (rtp, x, track = 7, session = 1) => ({ rtp, session, frame: FRAME, objects: [{ track_id: track, class_id: 0, class_name: "person", confidence: 0.9, box: [x, 10, x + 50, 110] }] });
const left = (found) => found.objects[0].box[0];

test("a frame gets its own boxes, whatever came in between and in whichever order", () => {
  const tracks = new Tracks();
  for (const [rtp, x] of [[1000, 0], [1000 + 2 * STEP, 20], [1000 + STEP, 10], [1000 + 3 * STEP, 30]]) tracks.add(seen(rtp, x));
  for (const index of [0, 1, 2, 3]) {
    const found = tracks.at(1000 + index * STEP);
    assert.equal(left(found), 10 * index);
    assert.equal(found.exact, true);
  }
});

test("timestamps that wrap around go on", () => {
  const tracks = new Tracks();
  tracks.add(seen(2 ** 32 - STEP, 0));
  tracks.add(seen(0, 10));
  assert.equal(left(tracks.at(2 ** 32 - STEP)), 0);
  assert.equal(left(tracks.at(2 ** 32 - STEP / 2)), 5);
  assert.equal(ticks(2 ** 32 - 1, 1), 2);
  assert.equal(ticks(1, 2 ** 32 - 1), -2);
});

test("between results an object is between its places, and a little beyond the last one it goes on", () => {
  const tracks = new Tracks();
  tracks.add(seen(0, 0));
  tracks.add(seen(2 * STEP, 20));
  assert.equal(left(tracks.at(STEP)), 10);
  assert.equal(tracks.at(STEP).exact, false);
  assert.equal(left(tracks.at(3 * STEP)), 30);
  assert.equal(tracks.at(2 * STEP + 2 * RTP_HZ), null, "boxes of two seconds ago say nothing");
  assert.equal(tracks.at(2 ** 31 + 10), null, "nor do boxes of frames that are yet to come");
});

test("a new session has nothing of the old one", () => {
  const tracks = new Tracks();
  tracks.add(seen(0, 0));
  tracks.add(seen(50, 20, 7, 2));
  assert.equal(tracks.at(49), null);
  assert.equal(left(tracks.at(50)), 20);
});

test("the picture is held for as long as results take, up to a limit", () => {
  const hold = new Hold(400);
  let target = 0;
  const settle = (takesMs) => {
    for (let index = 0; index < 600; index += 1) target = hold.heard(takesMs - target) ?? target;
  };
  settle(80);
  assert.ok(target >= 80 && target <= 150, `${target}`);
  settle(20);
  assert.ok(target >= 20 && target <= 110, `${target}`);
  settle(2000);
  assert.equal(target, 400);
});

test("what is drawn is saved as a patch of what differs, and can be taken back", () => {
  const drive = { polygon: [[0, 0.5], [1, 0.5], [1, 1]], dwell: 30 };
  const exit = { from: [0, 0.6], to: [1, 0.6], hold: 0.5 };
  const drawing = new Drawing({ zones: { drive }, lines: { exit } });
  assert.equal(drawing.isChanged, false);
  const [zone, line] = drawing.shapes;
  drawing.change(zone.key, { name: "yard" });
  drawing.move(line.key, 1, [0.9, 1.4]);
  const key = drawing.add("zone", [[0.1, 0.1], [0.2, 0.1], [0.2, 0.3]]);
  assert.deepEqual(drawing.patch(), {
    zones: { drive: null, yard: drive, "zone-1": { polygon: [[0.1, 0.1], [0.2, 0.1], [0.2, 0.3]] } },
    lines: { exit: { from: [0, 0.6], to: [0.9, 1], hold: 0.5 } },
  });
  drawing.remove(key);
  for (let step = 0; step < 4; step += 1) drawing.undo();
  assert.equal(drawing.isChanged, false);
  assert.equal(drawing.canUndo, false);
  drawing.redo();
  assert.deepEqual(Object.keys(drawing.patch().zones), ["drive", "yard"]);
});

test("a setting that is taken out is taken out of what is saved", () => {
  const drawing = new Drawing({ zones: { drive: { polygon: [[0, 0], [1, 0], [1, 1]], dwell: 30 } }, lines: {} });
  drawing.change(drawing.shapes[0].key, { rest: {} });
  assert.deepEqual(drawing.patch().zones.drive, { polygon: [[0, 0], [1, 0], [1, 1]], dwell: null });
});

test("dragging is one step back, however many moves it took", () => {
  const drawing = new Drawing({ zones: { drive: { polygon: [[0, 0], [1, 0], [1, 1]] } }, lines: {} });
  const { key } = drawing.shapes[0];
  for (let step = 0; step < 20; step += 1) drawing.move(key, 0, [step / 100, 0.2], step > 0);
  drawing.undo();
  assert.deepEqual(drawing.get(key).points[0], [0, 0]);
});

test("shapes that the service would refuse are told before", () => {
  const drawing = new Drawing({ zones: {}, lines: {} });
  const bow = drawing.add("zone", [[0, 0], [1, 1], [1, 0], [0, 1]]);
  assert.match(drawing.wrong(drawing.get(bow)), /cross/);
  const edge = drawing.add("line", [[0, 0], [0, 1]]);
  assert.match(drawing.wrong(drawing.get(edge)), /edge/);
  drawing.change(edge, { points: [[0.1, 0], [0.1, 1]], name: "Exit" });
  assert.match(drawing.wrong(drawing.get(edge)), /lower-case/);
  drawing.change(edge, { name: "exit" });
  assert.equal(drawing.wrong(drawing.get(edge)), null);
  assert.equal(wrongWithPolygon([[0, 0], [1, 0], [1, 1], [0, 1]]), null);
  assert.equal(drawing.takeCorner(edge, 0), false, "a line keeps both its ends");
});

test("segments cross or do not", () => {
  assert.ok(crosses([[0, 0], [1, 1]], [[0, 1], [1, 0]]));
  assert.ok(crosses([[0, 0], [1, 0]], [[0.5, 0], [0.5, 1]]));
  assert.ok(!crosses([[0, 0], [1, 0]], [[0, 0.1], [1, 0.1]]));
});

test("a picture lies in the middle of a box of another shape", () => {
  assert.deepEqual(contained(160, 90, 640, 480), { left: 20, top: 0, width: 120, height: 90 });
  assert.deepEqual(contained(100, 200, 200, 100), { left: 0, top: 75, width: 100, height: 50 });
});

test("STUN and TURN servers come in Link headers", () => {
  const link = '<stun:stun.example.org:3478>; rel="ice-server", <turn:turn.example.org?transport=udp>; rel="ice-server"; username="a\\"b"; credential="c,d"; credential-type="password", <x>; rel="next"';
  assert.deepEqual(serversOf(link), [
    { urls: "stun:stun.example.org:3478", username: undefined, credential: undefined },
    { urls: "turn:turn.example.org?transport=udp", username: 'a"b', credential: "c,d" },
  ]);
  assert.deepEqual(serversOf(null), []);
});
