// How figures are written: thousands apart, times in three figures with their unit.

const thin = "\u202f";

/** A count with a space between thousands. */
export function count(n) {
  return Math.round(n).toString().replace(/\B(?=(\d{3})+$)/g, thin);
}

/** A rate, rounded to whole ones a second; "" where there is none yet. */
export function rate(n) {
  if (n === null || n === undefined || !Number.isFinite(n)) return "";
  return (n > 0 && n < 9.95 ? n.toFixed(1) : count(n)) + thin + "/s";
}

/** A time in seconds, in three figures. */
export function time(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  const units = [[1e-6, 1e9, "ns"], [1e-3, 1e6, "µs"], [1, 1e3, "ms"], [Infinity, 1, "s"]];
  const [, scale, unit] = units.find(([below]) => seconds < below);
  const value = seconds * scale;
  const digits = value === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return value.toFixed(digits) + thin + unit;
}

/** The time of day of a time in milliseconds, as on the plots' axes. */
export function clock(ms) {
  return new Date(ms).toLocaleTimeString([], {hour12: false});
}

/** How long something has lasted. */
export function span(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const at = parts.findIndex(([size]) => s >= size);
  if (at < 0) return "0" + thin + "s";
  const [size, unit] = parts[at];
  const text = Math.floor(s / size) + thin + unit;
  if (at + 1 === parts.length) return text;
  const [below, small] = parts[at + 1];
  const rest = Math.floor((s % size) / below);
  return rest > 0 ? text + " " + rest + thin + small : text;
}

/** Bytes in binary units. */
export function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB"];
  let at = 0;
  while (n >= 1024 && at < units.length - 1) { n /= 1024; at++; }
  return (at > 0 && n < 99.95 ? n.toFixed(1) : Math.round(n)) + thin + units[at];
}

/** Counts by name as "a 1, b 2", where lines break between these alone; between stands after each name. */
export function listed(counts, between = "") {
  return Object.keys(counts).sort().map((name) =>
    `${name}${between} ${count(counts[name])}`.replaceAll(" ", "\u00a0")).join(", ");
}

export function sum(counts) {
  return Object.values(counts).reduce((a, b) => a + b, 0);
}
