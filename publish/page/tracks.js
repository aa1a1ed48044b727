// Which boxes belong on the frame that is shown: by RTP timestamps, which wrap around after 2^32.

const WRAP = 2 ** 32;
export const RTP_HZ = 90_000;
const KEPT = 150;
// Boxes are carried on for so long when the next result is not here, or not every frame is analysed.
const CARRIED_S = 0.6;
// Older ones say nothing any more, and are not shown.
const OLDEST_S = 1.5;

/** From one RTP timestamp to another, in ticks: negative when `to` is before `from`. */
export function ticks(from, to) {
  const distance = (((to - from) % WRAP) + WRAP) % WRAP;
  return distance >= WRAP / 2 ? distance - WRAP : distance;
}

/** The last results of a stream, in the order of their frames. */
export class Tracks {
  #results = [];

  add(result) {
    const last = this.#results.at(-1);
    if (last && last.session !== result.session) this.#results = [];
    let place = this.#results.length;
    while (place > 0 && ticks(this.#results[place - 1].rtp, result.rtp) < 0) place -= 1;
    this.#results.splice(place, 0, result);
    if (this.#results.length > KEPT) this.#results.shift();
  }

  get newest() {
    return this.#results.at(-1) ?? null;
  }

  /**
   * What to draw on the frame with this RTP timestamp: {frame, objects, exact}, or null.
   *
   * `exact`: it is that very frame's result. Else each object is where it must be by the results around the frame.
   */
  at(rtp) {
    let index = this.#results.length - 1;
    while (index >= 0 && ticks(this.#results[index].rtp, rtp) < 0) index -= 1;
    if (index < 0) return null;
    const before = this.#results[index];
    const age = ticks(before.rtp, rtp);
    if (age === 0) return { ...before, exact: true };
    if (age > OLDEST_S * RTP_HZ) return null;
    const other = this.#results[index + 1] ?? this.#results[index - 1];
    if (!other || age > CARRIED_S * RTP_HZ) return { ...before, exact: false };
    const span = ticks(before.rtp, other.rtp);
    if (!span || Math.abs(span) > CARRIED_S * RTP_HZ) return { ...before, exact: false };
    return { ...before, objects: moved(before.objects, other.objects, age / span), exact: false };
  }
}

/** Objects part of the way (0 to 1, or beyond) from where they were to where they are in `other`. */
function moved(objects, other, part) {
  const there = new Map(other.filter((one) => one.track_id !== null).map((one) => [one.track_id, one.box]));
  return objects.map((one) => {
    const to = there.get(one.track_id);
    return to ? { ...one, box: one.box.map((value, index) => value + (to[index] - value) * part) } : one;
  });
}

/**
 * How long to hold the picture so that results are there when their frames are shown, in ms.
 *
 * Fed with how late each result came (positive: its frame had been shown already), as measured here.
 */
export class Hold {
  #late = [];
  target = 0;

  constructor(most = 400) {
    this.most = most;
  }

  /** `lateMs`: from the frame's display to the result's arrival. Returns the new target, or null if it stays. */
  heard(lateMs) {
    this.#late.push(lateMs);
    if (this.#late.length < 15) return null;
    const worst = [...this.#late].sort((a, b) => a - b)[Math.floor(this.#late.length * 0.95)];
    this.#late = [];
    // A margin of a frame and a half at 60 Hz; down slowly, as each change makes the picture stutter.
    const wanted = Math.min(this.most, Math.max(0, this.target + worst + 25));
    if (wanted > this.target + 5) this.target = wanted;
    else if (wanted < this.target - 40) this.target -= 20;
    else return null;
    return this.target;
  }
}
