// The latest trades, newest on top. New ones flash.

import { find, make } from "./dom.js";
import { clock, grouped } from "./format.js";

const KEPT = 60;

export class Tape {
  #list = find("#tape"); #known = new Set();
  newest = null;

  load(trades) {
    this.#known = new Set(trades.map(trade => trade.trade_id));
    const newestFirst = [...trades].sort((a, b) => (a.trade_id < b.trade_id ? 1 : -1));
    this.newest = newestFirst[0] ?? null;
    this.#list.replaceChildren(...newestFirst.map(trade => this.#row(trade, false)));
    this.#tell();
  }

  add(trade) {
    if (this.#known.has(trade.trade_id)) return;
    this.#known.add(trade.trade_id);
    this.#list.prepend(this.#row(trade, true));
    while (this.#list.childElementCount > KEPT) this.#list.lastElementChild.remove();
    if (this.#known.size > KEPT * 4) this.#known = new Set([...this.#known].slice(-KEPT));
    this.#tell();
  }

  #row({ price, quantity, side, timestamp }, isNew) {
    const name = `${side === "BUY" ? "up" : "down"}${isNew ? (side === "BUY" ? " rose" : " fell") : ""}`;
    return make("li", name, null, { title: `${side === "BUY" ? "Bought" : "Sold"} by the taker, ${timestamp}` },
      make("span", "price", grouped(price)), make("span", "", quantity), make("span", "soft", clock(timestamp)));
  }

  #tell() { find("#no-trades").hidden = this.#list.childElementCount > 0; }
}
