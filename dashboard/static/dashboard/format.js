// How numbers and times look. The digits stay those that the exchange sent.

export const NONE = "–";

/** Thousands apart by a narrow space. */
export function grouped(text) {
  if (text == null) return NONE;
  const [whole, fraction] = text.split(".");
  return whole.replace(/\B(?=(\d{3})+$)/g, "\u202f") + (fraction === undefined ? "" : "." + fraction);
}

/** A large figure in few digits, for reading only: 1.24 M. */
export function short(text) {
  const value = Number(text);
  for (const [size, unit] of [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "K"]])
    if (Math.abs(value) >= size) return (value / size).toFixed(2) + "\u202f" + unit;
  return value.toFixed(2);
}

export function percent(text) {
  return text == null ? NONE : (Number(text) > 0 ? "+" : "") + text + "\u202f%";
}

/** "up", "down" or "": which way a signed figure points. */
export function direction(text) {
  const value = Number(text ?? 0);
  return value > 0 ? "up" : value < 0 ? "down" : "";
}

/** Time of day in UTC of an RFC 3339 moment. */
export const clock = moment => moment.slice(11, 19);

/** Day and time of day in UTC. */
export const dayAndClock = moment => `${moment.slice(5, 10)} ${moment.slice(11, 19)}`;

/** Length of an interval such as "15m". */
export const seconds = interval => ({ m: 60, h: 3600, d: 86400 })[interval.at(-1)] * parseInt(interval, 10);

/** The moment so many seconds ago, for a query. */
export const since = ago => encodeURIComponent(new Date(Date.now() - ago * 1000).toISOString());

export const inPath = symbol => symbol.replace("/", "-");
export const spoken = code => code.toLowerCase().replaceAll("_", " ");
