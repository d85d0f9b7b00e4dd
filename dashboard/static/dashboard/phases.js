// Why a market does not trade as usual, and until when: what `/phases` tells, in words and as a countdown.

import { trimmed } from "./decimal.js";
import { grouped, spoken } from "./format.js";
import { call } from "./rest.js";

const CAUSES = {
  COMMAND: "by an operator", SCHEDULE: "opening", PRICE_BAND: "price beyond its band", AUCTION_BAND: "auction beyond its band", HALT_OVER: "after a halt",
};
export const hasPhase = status => status === "AUCTION" || status === "HALTED";

/** {symbol: {status, cause, ends_at, auction, lagMs}}; `lagMs`: how far the exchange's clock is ahead of this computer's. */
export async function readPhases() {
  const { at, results } = await call("GET", "/phases"), lagMs = Date.parse(at) - Date.now();
  return Object.fromEntries(results.map(phase => [phase.symbol, { ...phase, lagMs }]));
}

export const causeOf = phase => (phase.cause ? CAUSES[phase.cause] ?? spoken(phase.cause) : "");

/** "0:42", "2:05:00"; "" when nobody knows the end. */
export function remaining({ ends_at: endsAt, lagMs }) {
  if (!endsAt) return "";
  const left = Math.max(0, Math.ceil((Date.parse(endsAt) - Date.now() - lagMs) / 1000)), two = value => String(value).padStart(2, "0");
  const [hours, minutes, seconds] = [Math.floor(left / 3600), Math.floor(left / 60) % 60, left % 60];
  return hours ? `${hours}:${two(minutes)}:${two(seconds)}` : `${minutes}:${two(seconds)}`;
}

/** What an auction would come to, in a sentence. */
export function indicated(auction, { base, quote }) {
  if (!auction?.price) return "Nothing would trade yet.";
  const left = auction.surplus_side ? `; ${trimmed(auction.surplus)} ${base} more to ${auction.surplus_side.toLowerCase()}` : "";
  return `Indicative ${grouped(auction.price)} ${quote}, ${trimmed(auction.quantity)} ${base} would trade${left}.`;
}
