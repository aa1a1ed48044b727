// Numbers and times as people read them.

const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const DAY = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });
const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** A number with one decimal below ten, none above; an en dash for none. */
export function number(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  return Math.abs(value) < 10 && !Number.isInteger(value) ? value.toFixed(1) : String(Math.round(value));
}

export function fps(value) {
  return value === null || value === undefined ? "–" : `${number(value)} fps`;
}

/** From seconds. */
export function latency(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  return value < 1 ? `${Math.round(value * 1000)} ms` : `${value.toFixed(1)} s`;
}

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${number(value)} ${units[unit]}`;
}

/** From seconds: the two largest units. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 60) return `${number(seconds)} s`;
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const first = parts.findIndex(([size]) => seconds >= size);
  const [size, name] = parts[first];
  const whole = Math.floor(seconds / size);
  const [next, nextName] = parts[first + 1];
  const rest = Math.floor((seconds - whole * size) / next);
  return rest ? `${whole} ${name} ${rest} ${nextName}` : `${whole} ${name}`;
}

/** Of an ISO time: the time of day, with the day where that is not today. */
export function time(iso) {
  const at = new Date(iso);
  const today = at.toDateString() === new Date().toDateString();
  return today ? TIME.format(at) : `${DAY.format(at)} ${TIME.format(at)}`;
}

export function fullTime(iso) {
  return FULL.format(new Date(iso));
}

export function percent(part) {
  return part === null || part === undefined ? "–" : `${number(part * 100)} %`;
}

/** `{person: 2, car: 1}` as words. */
export function counts(byClass) {
  const found = Object.entries(byClass);
  return found.length ? found.map(([name, count]) => `${count} ${name}`).join(", ") : "nothing";
}
