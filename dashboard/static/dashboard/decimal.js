// Exact decimals for amounts that are sent: text ↔ whole units in BigInt. Nothing here is ever a floating-point number.

const FORM = /^\d*(?:\.\d*)?$/;

/** Number of decimals of a step such as "0.010" → 2; of "1" → 0. */
export function decimalsOf(step) {
  const fraction = step.split(".")[1] ?? "";
  return fraction.replace(/0+$/, "").length;
}

/** Whole units of 10^-scale, rounded down; null when `text` is not a plain number. */
export function units(text, scale) {
  const cleaned = text.trim().replace(/[\s\u202f,_]/g, "");
  if (!FORM.test(cleaned) || !/\d/.test(cleaned)) return null;
  const [whole, fraction = ""] = cleaned.split(".");
  return BigInt((whole || "0") + fraction.slice(0, scale).padEnd(scale, "0"));
}

/** Whether `text` has more decimals than the scale can hold. */
export function isFiner(text, scale) {
  return (text.trim().split(".")[1] ?? "").replace(/0+$/, "").length > scale;
}

/** Plain decimal text of whole units. */
export function plain(value, scale) {
  const sign = value < 0n ? "-" : "", digits = (value < 0n ? -value : value).toString().padStart(scale + 1, "0");
  return sign + (scale ? `${digits.slice(0, -scale)}.${digits.slice(-scale)}` : digits);
}

/** Without zeros at the end of the fraction. */
export function trimmed(text) {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}
