// What a refusal means to the person who sent the order, and what to do next. Codes are those of the contract.

import { grouped, spoken } from "./format.js";
import { trimmed } from "./decimal.js";
import { NoAnswer } from "./rest.js";

const nice = text => grouped(trimmed(text));

const TOLD = {
  INSUFFICIENT_FUNDS: () => "Not enough available for this order. Lower the amount, or cancel an open order to free what it holds.",
  OFF_TICK: rules => `Prices go in steps of ${trimmed(rules.tick_size)}. Round the price and send again.`,
  OFF_LOT: rules => `Amounts go in steps of ${trimmed(rules.lot_size)} ${rules.base}. Round the amount and send again.`,
  QUANTITY_TOO_SMALL: rules => `The smallest order is ${nice(rules.min_quantity)} ${rules.base}. Raise the amount.`,
  QUANTITY_TOO_LARGE: rules => `The largest order is ${nice(rules.max_quantity ?? "0")} ${rules.base}. Lower the amount, or split it.`,
  NOTIONAL_TOO_SMALL: rules => `An order must be worth at least ${nice(rules.min_notional)} ${rules.quote}. Raise the amount.`,
  PRICE_OUTSIDE_BAND: () => "The price is too far from the market's. Move it closer: a price this far off is usually a slip.",
  PRICE_OUT_OF_RANGE: () => "The price is outside what this market allows. Correct it.",
  POST_ONLY_WOULD_TAKE: () => "It would have traded at once, and you asked it not to. Move the price away from the spread, or use Limit.",
  NO_REFERENCE_PRICE: () => "There is no fresh price to protect a market order with. Use a limit order.",
  SYMBOL_HALTED: rules => `${rules.symbol} is halted. Nothing was placed. Wait until it trades again; your open orders can be cancelled.`,
  SYMBOL_CANCEL_ONLY: rules => `${rules.symbol} takes no new orders at present, cancels only.`,
  SYMBOL_POST_ONLY: rules => `${rules.symbol} takes only orders that rest at present. Use Limit with Post-only.`,
  WOULD_TRIGGER_IMMEDIATELY: () => "The price has reached this level already. Choose another one, or send the order without a stop.",
  REDUCE_ONLY_REJECTED: () => "There is nothing left to reduce: see your positions, and your other orders that only reduce.",
  RISK_MAX_ORDER_VALUE: () => "The order is worth more than your limit for one order. Lower the amount, or split it.",
  RISK_MAX_POSITION: () => "It would take your position beyond its limit. Lower the amount.",
  RISK_OPEN_ORDERS: () => "You have as many open orders as you may. Cancel some first.",
  RISK_ORDER_RATE: () => "Too many orders in a short time. Wait a few seconds.",
  RISK_DAILY_ORDERS: () => "You have placed as many orders today as you may. The count starts anew at 00:00 UTC.",
  ACCOUNT_FROZEN: () => "This account is frozen. Speak to compliance; nothing was placed.",
  INSTITUTION_FROZEN: () => "Trading of your institution is frozen. Speak to compliance; nothing was placed.",
  ORDER_NOT_OPEN: () => "This order had already ended, so there was nothing to cancel.",
  ORDER_TYPE_NOT_ALLOWED: () => "This market does not take this kind of order.",
  RATE_LIMITED: () => "Too many requests. Wait a second and send again.",
  NO_MATCHING_OWNER: () => "Matching is restarting. Nothing was placed; send again in a few seconds.",
  SYMBOL_MOVING: () => "This market is being moved to another matching process. Nothing was placed; send again in a few seconds.",
  OVERLOADED: () => "The exchange is busy. Nothing was placed; send again in a few seconds.",
  DATABASE_UNAVAILABLE: () => "The exchange cannot reach its database. Nothing was changed; try again shortly.",
  FORBIDDEN: () => "Your role may look but not trade. Log in as a trader.",
  TOKEN_EXPIRED: () => "You have been logged out. Log in again.",
  UNAUTHENTICATED: () => "You are not logged in. Log in and send again.",
};

const ENDED = {
  IOC_UNFILLED: "the rest found nothing to trade with at this price",
  FOK_UNFILLABLE: "it could not be filled whole at this price, so nothing was traded",
  SELF_TRADE_PREVENTED: "it would have traded with an order of the same account",
  USER_CANCEL: "you cancelled it",
  CANCEL_ALL: "all orders were cancelled",
  ADMIN_CANCEL: "an operator cancelled it",
  EXPIRED: "its time is over",
  WOULD_TRIGGER_IMMEDIATELY: "the price had reached its stop already",
  REDUCE_ONLY_REJECTED: "there was nothing left to reduce",
};

/** One or two sentences: what is wrong, what to do. */
export function explained(error, rules) {
  if (error instanceof NoAnswer) return "No answer from the exchange. Look at your open orders before you send again.";
  const own = TOLD[error.code]?.(rules);
  return own ?? `${error.message}${error.code ? ` (${error.code})` : ""}`;
}

/** What became of an order that was taken. */
export function outcome(order, rules) {
  const what = `${order.side === "BUY" ? "Bought" : "Sold"} ${nice(order.filled_quantity)} ${rules.base}`;
  const at = order.average_price ? ` at ${grouped(trimmed(order.average_price))}` : "";
  const why = ENDED[order.reason] ?? (order.reason ? spoken(order.reason) : "");
  const traded = Number(order.filled_quantity) > 0;
  switch (order.status) {
    case "FILLED": return `${what}${at}. Filled.`;
    case "PARTIALLY_FILLED": return `${what}${at}. The rest, ${nice(order.remaining_quantity)}, stands in the book.`;
    case "OPEN": return order.price ? `In the book: ${nice(order.quantity)} ${rules.base} at ${grouped(order.price)}.` : "Collected for the auction.";
    case "PENDING_TRIGGER": return `Waiting: acts when the price comes to ${grouped(order.stop_price)}.`;
    case "PENDING": return "Taken; matching has not answered yet. Watch your open orders.";
    default: return traded ? `${what}${at}; ${why || spoken(order.status)}.` : `Nothing was traded: ${why || spoken(order.status)}.`;
  }
}
