// The order form of a trader: builds the order in exact decimals, sends it, and says what became of it or what to change.

import { accounts } from "./accounts.js";
import { decimalsOf, isFiner, plain, trimmed, units } from "./decimal.js";
import { all, choice, find, make, write } from "./dom.js";
import { grouped, NONE } from "./format.js";
import { explained, outcome } from "./messages.js";
import { API, call, NoAnswer } from "./rest.js";
import { session } from "./session.js";
import { askToLogIn } from "./shell.js";

const ASKS_AGAIN_MS = [400, 1200, 3000];
const FIELD_OF = { OFF_TICK: "price", PRICE_OUT_OF_RANGE: "price", PRICE_OUTSIDE_BAND: "price", POST_ONLY_WOULD_TAKE: "price", WOULD_TRIGGER_IMMEDIATELY: "stop_price",
  OFF_LOT: "amount", QUANTITY_TOO_SMALL: "amount", QUANTITY_TOO_LARGE: "amount", NOTIONAL_TOO_SMALL: "amount", INSUFFICIENT_FUNDS: "amount" };
const STANDS = ["PENDING", "OPEN", "PENDING_TRIGGER"];
const EXPIRES_IN_MS = 3_600_000;
const HELD_ABOVE_STOP = 50n;  // thousandths: a stop-market buy is held for at its stop price and five percent
const pause = ms => new Promise(done => setTimeout(done, ms));

export class OrderForm {
  #rules; #side = "BUY"; #kind = "LIMIT"; #balances = []; #best = { bid: null, ask: null }; #isSending = false;

  /** `placed(order)` is called with every order that was taken. */
  constructor(rules, { placed }) {
    this.#rules = rules;
    this.placed = placed;
    this.form = find("#order");
    this.fields = this.form.elements;
    this.tickDecimals = decimalsOf(rules.tick_size);
    this.lotDecimals = decimalsOf(rules.lot_size);
    this.quoteDecimals = (rules.min_notional.split(".")[1] ?? "").length;
    this.setSide = choice(find("#side"), side => { this.#side = side; this.#show(); });
    choice(find("#kind"), kind => { this.#kind = kind; this.#showPart(0); this.#show(); });
    for (const name of ["stop_kind", "time_in_force", "post_only"]) this.fields[name].addEventListener("change", () => this.#show());
    this.fields.stop_price.addEventListener("input", () => { this.#clear("stop_price"); this.#reckon(); });
    this.fields.expire_at.addEventListener("input", () => this.#clear("expire_at"));
    this.fields.stop_price.addEventListener("keydown", event => this.#nudge(event, "stop_price", this.tickDecimals, rules.tick_size));
    this.form.addEventListener("submit", event => { event.preventDefault(); this.#send(); });
    this.fields.price.addEventListener("input", () => { this.#clear("price"); this.#reckon(); });
    this.fields.amount.addEventListener("input", () => { this.#clear("amount"); this.#showPart(0); this.#reckon(); });
    this.fields.part.addEventListener("input", () => this.#slide());
    this.fields.account.addEventListener("change", event => accounts.choose(event.target.value));
    accounts.addEventListener("change", () => this.#showAccounts());
    this.fields.price.addEventListener("keydown", event => this.#nudge(event, "price", this.tickDecimals, rules.tick_size));
    this.fields.amount.addEventListener("keydown", event => this.#nudge(event, "amount", this.#amountDecimals, rules.lot_size));
    session.addEventListener("change", () => this.#show());
    this.#showAccounts();
    this.#show();
  }

  set rules(rules) { this.#rules = rules; this.#show(); }

  set best(best) {
    const first = this.#best.bid === null && this.#best.ask === null;
    this.#best = best;
    if (first && !this.fields.price.value) this.#offer();
    if (this.#kind === "MARKET") this.#reckon();
  }

  /** A price chosen in the book: of the other side, so that it could trade. */
  take(price, bookSide) {
    this.fields.price.value = price;
    this.#clear("price");
    if (!this.#isPriced) find("#kind button[value=LIMIT]").click();
    this.setSide(bookSide === "SELL" ? "BUY" : "SELL");
  }

  balances(rows) {
    this.#balances = rows;
    this.#showAvailable();
  }

  // -- what the form shows

  /** As the exchange calls it. */
  get #type() { return this.#kind === "STOP" ? this.fields.stop_kind.value : this.#kind; }
  get #isStop() { return this.#kind === "STOP"; }
  /** Has a limit of its own. */
  get #isPriced() { return this.#type.endsWith("LIMIT"); }
  get #isPostOnly() { return this.#kind === "LIMIT" && this.fields.post_only.checked; }
  get #isBuying() { return this.#side === "BUY"; }
  /** A market order to buy is told what it may spend; everything else how much it trades. */
  get #byQuote() { return this.#kind === "MARKET" && this.#isBuying; }
  get #amountDecimals() { return this.#byQuote ? this.quoteDecimals : this.lotDecimals; }
  get #spent() { return this.#isBuying ? this.#rules.quote : this.#rules.base; }

  get #available() {
    return this.#balances.find(({ asset }) => asset === this.#spent)?.available ?? null;
  }

  #offer() {
    const price = this.#isBuying ? this.#best.ask : this.#best.bid;
    if (price) this.fields.price.value = price;
    this.#reckon();
  }

  #show() {
    const { base, quote, status } = this.#rules, market = this.#kind === "MARKET", shut = ["HALTED", "CANCEL_ONLY", "DELISTED"].includes(status);
    this.form.dataset.side = this.#side;
    find(".price-field", this.form).hidden = !this.#isPriced;
    for (const field of all(".stop-field", this.form)) field.hidden = !this.#isStop;
    find(".lifetime", this.form).hidden = market || this.#isPostOnly;
    find(".post-only", this.form).hidden = this.#kind !== "LIMIT";
    find(".reduce-only", this.form).hidden = this.#isBuying;
    find(".terms", this.form).hidden = this.#isBuying && this.#kind !== "LIMIT";
    this.#showLifetimes();
    write(find("#amount-label"), this.#byQuote ? "Spend" : "Amount");
    write(find("#amount-unit"), this.#byQuote ? quote : base);
    const send = find("#send"), verb = this.#isBuying ? "Buy" : "Sell", canTrade = session.may("trade");
    send.className = `send ${this.#isBuying ? "buy" : "sell"}`;
    send.disabled = this.#isSending || (shut && canTrade) || Boolean(session.person && !canTrade);
    const cannot = session.person && !canTrade ? "Your role may look, not trade" : shut && canTrade ? "No new orders at present" : "";
    write(send, this.#isSending ? "Sending…" : cannot || (session.person ? `${verb} ${base}` : `Log in to ${verb.toLowerCase()}`));
    this.#showAvailable();
    this.#reckon();
  }

  /** A stop at market waits for its price or a time; what it then does is at once. */
  #showLifetimes() {
    const { time_in_force: lifetime, expire_at: expiry } = this.fields, isBare = this.#isStop && !this.#isPriced;
    for (const option of lifetime.options) option.hidden = option.disabled = isBare && ["IOC", "FOK"].includes(option.value);
    if (lifetime.selectedOptions[0].disabled) lifetime.value = "GTC";
    const hasExpiry = lifetime.value === "GTD" && !lifetime.closest("[hidden]");
    find(".expiry", this.form).hidden = !hasExpiry;
    if (hasExpiry && !expiry.value) expiry.value = new Date(Date.now() + EXPIRES_IN_MS).toISOString().slice(0, 19);
  }

  #showAccounts() {
    const select = this.fields.account;
    select.replaceChildren(...accounts.names.map(name => make("option", "", name, { value: name })));
    select.value = accounts.current ?? "";
    find("label.account").hidden = accounts.names.length < 2;
  }

  #showAvailable() {
    const available = this.#available;
    write(find("#available"), available === null ? NONE : `${grouped(trimmed(available))} ${this.#spent}`);
    this.fields.part.disabled = available === null;
  }

  /** Total and fee, for reading. */
  #reckon() {
    const { base, quote, taker_fee: takerFee, maker_fee: makerFee } = this.#rules, amount = Number(this.fields.amount.value.replace(/\s/g, "")) || 0;
    const best = Number((this.#isBuying ? this.#best.ask : this.#best.bid) ?? 0);
    const price = this.#isPriced ? Number(this.fields.price.value) || 0 : this.#isStop ? Number(this.fields.stop_price.value) || 0 : best;
    const rate = Number(this.#isPostOnly ? makerFee : takerFee), about = this.#isPriced ? "" : "≈ ";
    const total = this.#byQuote ? (price ? amount / price : 0) : amount * price;
    write(find("#total"), total ? `${about}${grouped(total.toFixed(this.#byQuote ? this.lotDecimals : 2))} ${this.#byQuote ? base : quote}` : NONE);
    const fee = this.#isBuying ? (this.#byQuote ? total : amount) * rate : total * rate;
    write(find("#fee"), fee ? `${grouped(fee.toFixed(this.#isBuying ? 8 : 2))} ${this.#isBuying ? base : quote}` : NONE);
  }

  /** Part of what is available → amount, rounded down to the lot so that it never asks for more than there is. */
  #slide() {
    const part = BigInt(this.fields.part.value), available = this.#available;
    this.#showPart(part);
    if (available === null) return;
    const scale = 8, held = (units(available, scale) * part) / 100n;
    let text;
    if (this.#byQuote) text = plain(units(plain(held, scale), Math.min(2, this.quoteDecimals)), Math.min(2, this.quoteDecimals));
    else if (!this.#isBuying) text = this.#onLot(held, scale);
    else {
      const name = this.#isPriced ? "price" : "stop_price", price = units(this.fields[name].value, this.tickDecimals);
      if (!price) { this.#problem(name, "Give a price first."); return; }
      const most = this.#isPriced ? price : (price * (1000n + HELD_ABOVE_STOP)) / 1000n;  // what a stop at market may come to is held
      text = this.#onLot((held * 10n ** BigInt(this.tickDecimals)) / most, scale);
    }
    this.fields.amount.value = part ? text : "";
    this.#clear("amount");
    this.#reckon();
  }

  #showPart(percent) {
    this.fields.part.value = percent;
    this.fields.part.style.setProperty("--part", `${percent}%`);
    write(find("#part-shown"), `${percent} %`);
  }

  #onLot(amount, scale) {
    const lot = units(this.#rules.lot_size, scale);
    return plain(units(plain((amount / lot) * lot, scale), this.lotDecimals), this.lotDecimals);
  }

  #nudge(event, name, decimals, step) {
    const way = { ArrowUp: 1n, ArrowDown: -1n }[event.key];
    if (!way) return;
    event.preventDefault();
    const by = units(step, decimals) * (event.shiftKey ? 100n : 1n), next = (units(this.fields[name].value || "0", decimals) ?? 0n) + way * by;
    this.fields[name].value = plain(next < 0n ? 0n : next, decimals);
    this.fields[name].dispatchEvent(new Event("input"));
  }

  // -- sending

  #problem(name, text) {
    write(find(`#${name}-problem`), text);
    this.fields[name].setAttribute("aria-invalid", "true");
  }

  #clear(name) {
    write(find(`#${name}-problem`), "");
    this.fields[name].removeAttribute("aria-invalid");
  }

  #number(name, decimals, step) {
    const text = this.fields[name].value, value = units(text, decimals);
    if (value === null || value === 0n) { this.#problem(name, name === "amount" ? "Give an amount." : "Give a price."); return null; }
    if (isFiner(text, decimals)) { this.#problem(name, `In steps of ${trimmed(step)}.`); return null; }
    return plain(value, decimals);
  }

  #order() {
    const { symbol, tick_size: tick, lot_size: lot } = this.#rules;
    const stop = this.#isStop ? this.#number("stop_price", this.tickDecimals, tick) : undefined;
    const price = this.#isPriced ? this.#number("price", this.tickDecimals, tick) : undefined;
    const expiry = this.#expiry();
    const amount = this.#number("amount", this.#amountDecimals, this.#byQuote ? plain(1n, this.quoteDecimals) : lot);
    if ([stop, price, amount, expiry].includes(null)) { find("[aria-invalid]", this.form)?.focus(); return null; }
    const order = { symbol, side: this.#side, order_type: this.#type, client_order_id: newId() };
    order[this.#byQuote ? "quote_quantity" : "quantity"] = amount;
    if (price) order.price = price;
    if (stop) Object.assign(order, { stop_price: stop, trigger_source: this.fields.trigger_source.value });
    if (this.#isPostOnly) order.post_only = true;
    else if (this.#kind !== "MARKET") order.time_in_force = this.fields.time_in_force.value;
    if (expiry) order.expire_at = expiry;
    if (!this.#isBuying && this.fields.reduce_only.checked) order.reduce_only = true;
    if (accounts.current) order.account = accounts.current;
    return order;
  }

  /** Undefined: none is asked for; null: there is one to correct. */
  #expiry() {
    if (find(".expiry", this.form).hidden) return undefined;
    const at = new Date(`${this.fields.expire_at.value}Z`);
    if (Number.isNaN(at.getTime())) { this.#problem("expire_at", "Give a day and a time."); return null; }
    if (at <= new Date()) { this.#problem("expire_at", "Choose a time to come."); return null; }
    return at.toISOString();
  }

  async #send() {
    if (!session.person) { askToLogIn(); return; }
    const order = this.#order();
    if (!order || this.#isSending) return;
    this.#isSending = true;
    this.#answer("", "");
    this.#show();
    try {
      const taken = await place(order);
      this.#answer(outcome(taken, this.#rules), Number(taken.filled_quantity) > 0 || STANDS.includes(taken.status) ? "good" : "bad");
      this.fields.amount.value = "";
      this.#showPart(0);
      this.placed(taken);
    } catch (error) {
      const field = FIELD_OF[error.code], text = explained(error, this.#rules);
      if (field && !this.fields[field].closest("[hidden]")) { this.#problem(field, text); this.fields[field].focus(); }
      else this.#answer(text, "bad");
    } finally {
      this.#isSending = false;
      this.#show();
    }
  }

  #answer(text, kind) {
    const answer = find("#answer");
    write(answer, text);
    answer.className = `answer ${kind}`;
    if (text) answer.scrollIntoView({ block: "nearest" });
  }
}

/** Sends it; without an answer again with the same id, which the exchange takes only once. */
async function place(order) {
  for (const wait of ASKS_AGAIN_MS) {
    try { return await call("POST", `${API}/orders`, order); } catch (error) { if (!(error instanceof NoAnswer)) throw error; }
    await pause(wait);
  }
  return call("POST", `${API}/orders`, order);
}

/** Also where the page has no secure context and `crypto.randomUUID` is missing. */
function newId() {
  return "web-" + [...crypto.getRandomValues(new Uint8Array(16))].map(byte => byte.toString(16).padStart(2, "0")).join("");
}
