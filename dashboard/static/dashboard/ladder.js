// The order book as a ladder: asks above, bids below, the best prices next to each other in the middle.

import { all, find, make, perFrame, write } from "./dom.js";
import { grouped } from "./format.js";
import { trimmed } from "./decimal.js";

const FEWEST = 6;
const STEPS = [1, 10, 100, 1000, 10000];

export class Ladder {
  #book; #rows = { asks: [], bids: [] }; #many = 0; #group = 1; #chosen = -1; #own = new Set(); #last = null;

  /** `pick(price, side)` is called with a price as the exchange writes it and the side of the book it stands on. */
  constructor(book, { tick, tickDecimals, lotDecimals, pick }) {
    this.#book = book;
    this.tick = tick;
    this.tickDecimals = tickDecimals;
    this.lotDecimals = lotDecimals;
    this.pick = pick;
    this.box = find("#ladder");
    this.draw = perFrame(() => this.#draw());
    const grouping = find("#grouping");
    grouping.replaceChildren(...STEPS.slice(0, 5).map(step => make("option", "", trimmed((tick * step).toFixed(tickDecimals)), { value: step })));
    grouping.addEventListener("change", () => { this.#group = Number(grouping.value); this.draw(); });
    this.box.addEventListener("click", event => { const row = event.target.closest("li"); if (row?.dataset.price) this.pick(row.dataset.price, row.dataset.side); });
    this.box.addEventListener("keydown", event => this.#key(event));
    this.box.addEventListener("blur", () => this.#choose(-1));
    new ResizeObserver(() => this.#fit()).observe(this.box);
    this.#fit();
  }

  /** Prices at which one's own orders stand are marked. */
  own(prices) { this.#own = new Set(prices); this.draw(); }

  trade(price, side) { this.#last = { price, side }; this.draw(); }

  #fit() {
    const rowPx = parseFloat(getComputedStyle(this.box).getPropertyValue("--row")), middlePx = find(".middle", this.box).offsetHeight;
    const many = Math.max(FEWEST, Math.floor((this.box.clientHeight - middlePx) / 2 / rowPx));
    if (many === this.#many) return;
    this.#many = many;
    for (const side of ["asks", "bids"]) {
      const list = find(`#${side}`);
      list.replaceChildren(...Array.from({ length: many }, () => make("li", "", null, { role: "option", "aria-selected": "false" }, make("span", "price"), make("span"), make("span", "sum"))));
      this.#rows[side] = side === "asks" ? all("li", list).reverse() : all("li", list);
    }
    all("li", this.box).forEach((row, at) => { row.id = `level-${at}`; });
    this.draw();
  }

  /** Levels of a side, [price, quantity, sum], merged to the chosen steps: bids downwards, asks upwards. */
  #levels(side) {
    const levels = this.#book[side], merged = [];
    let total = 0;
    if (this.#group === 1) return levels.slice(0, this.#many).map(([price, quantity]) => [price, quantity, (total += Number(quantity))]);
    const step = this.tick * this.#group, round = side === "bids" ? value => Math.floor(value + 1e-7) : value => Math.ceil(value - 1e-7);
    for (const [price, quantity] of levels) {
      const at = (round(Number(price) / step) * step).toFixed(this.tickDecimals);
      if (merged.at(-1)?.[0] !== at) { if (merged.length === this.#many) break; merged.push([at, 0, 0]); }
      merged.at(-1)[1] += Number(quantity);
      merged.at(-1)[2] = total += Number(quantity);
    }
    return merged.map(([price, quantity, sum]) => [price, quantity.toFixed(this.lotDecimals), sum]);
  }

  #draw() {
    const sides = { asks: this.#levels("asks"), bids: this.#levels("bids") };
    const most = Math.max(sides.asks.at(-1)?.[2] ?? 0, sides.bids.at(-1)?.[2] ?? 0) || 1;
    for (const side of ["asks", "bids"]) {
      const own = this.#ownAt(side);
      this.#rows[side].forEach((row, at) => this.#write(row, sides[side][at], side, most, own));
    }
    const bid = this.#book.bids[0]?.[0], ask = this.#book.asks[0]?.[0], middle = find("#middle");
    write(middle, this.#last ? grouped(this.#last.price) : "–");
    middle.className = this.#last ? (this.#last.side === "BUY" ? "up" : "down") : "";
    write(find("#middle-spread"), bid && ask && ask - bid < 0 ? "crossed" : bid && ask ? `spread ${grouped((ask - bid).toFixed(this.tickDecimals))}` : this.#book.isLoaded && !bid && !ask ? "no orders rest here" : "");
  }

  #ownAt(side) {
    if (this.#group === 1) return this.#own;
    const step = this.tick * this.#group, round = side === "bids" ? Math.floor : Math.ceil;
    return new Set([...this.#own].map(price => (round(price / step) * step).toFixed(this.tickDecimals)));
  }

  #write(row, level, side, most, own) {
    const [price, quantity, sum] = row.children;
    row.dataset.price = level?.[0] ?? "";
    row.dataset.side = side === "asks" ? "SELL" : "BUY";
    write(price, level ? grouped(level[0]) : "");
    write(quantity, level ? level[1] : "");
    write(sum, level ? (level[2] >= 1000 ? level[2].toFixed(1) : level[2].toFixed(3)) : "");
    row.style.setProperty("--part", level ? `${((level[2] / most) * 100).toFixed(1)}%` : "0%");
    row.classList.toggle("own", Boolean(level) && own.has(level[0]));
  }

  #key(event) {
    const rows = all("li", this.box), used = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (used) {
      event.preventDefault();
      const from = this.#chosen < 0 ? (used < 0 ? this.#many : this.#many - 1) : this.#chosen;
      this.#choose(Math.min(Math.max(from + used, 0), rows.length - 1));
    } else if (event.key === "Enter" && rows[this.#chosen]?.dataset.price) {
      this.pick(rows[this.#chosen].dataset.price, rows[this.#chosen].dataset.side);
    }
  }

  #choose(at) {
    this.#chosen = at;
    all("li", this.box).forEach((row, number) => row.setAttribute("aria-selected", String(number === at)));
    if (at < 0) this.box.removeAttribute("aria-activedescendant");
    else this.box.setAttribute("aria-activedescendant", `level-${at}`);
  }
}
