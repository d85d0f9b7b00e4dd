// The account's own open orders and waiting stops, fills, positions and balances.

import { accounts } from "./accounts.js";
import { trimmed } from "./decimal.js";
import { choice, find, make, perFrame, write } from "./dom.js";
import { follow } from "./feed.js";
import { dayAndClock, direction, grouped, NONE, spoken } from "./format.js";
import { explained } from "./messages.js";
import { API, call } from "./rest.js";

const OPEN = new Set(["PENDING", "OPEN", "PARTIALLY_FILLED", "PENDING_TRIGGER", "TRIGGERED"]);
const POSITIONS_MS = 3_000;  // the contract has no channel for positions
const FILLS_KEPT = 100;
const COLUMNS = {
  orders: ["Time", "Market", "Side", "Kind", "Stop", "Price", "Amount", "Filled", ""],
  fills: ["Time", "Market", "Side", "Price", "Amount", "Fee", "Role"],
  positions: ["Market", "Amount", "Average price", "Realised", "Unrealised"],
  balances: ["Asset", "Total", "In orders", "Available"],
};
const NOTHING = { orders: "No open orders.", fills: "No fills yet.", positions: "No position.", balances: "No balances." };

export class Mine {
  #symbol; #list = "orders"; #orders = new Map(); #fills = new Map(); #balances = new Map(); #positions = []; #cancelling = new Set();

  /** `changed({orders, balances})` whenever either has. */
  constructor(symbol, { changed }) {
    this.#symbol = symbol;
    this.changed = changed;
    this.draw = perFrame(() => this.#draw());
    choice(find("#list"), list => { this.#list = list; this.draw(); this.#readPositions(); });
    setInterval(() => { if (!document.hidden) this.#readPositions(); }, POSITIONS_MS);
    find("#only-here").addEventListener("change", this.draw);
    accounts.addEventListener("change", () => this.#begin());
    follow("user.orders", message => this.#takeOrders(message));
    follow("user.trades", message => this.#takeFills(message));
    follow("user.balances", message => this.#takeBalances(message));
    this.#begin();
  }

  /** An order that the form has just sent: shown before the stream tells of it. */
  take(order) { this.#keep(order); this.#tell(); }

  #begin() {
    this.#orders.clear();
    this.#fills.clear();
    this.#balances.clear();
    this.#positions = [];
    this.#tell();
    this.#readPositions();
  }

  async #readPositions() {
    const account = accounts.current;
    if (this.#list !== "positions" || !account) return;
    try {
      const { results } = await call("GET", `${API}/positions?account=${account}`);
      if (account === accounts.current) { this.#positions = results; this.draw(); }
    } catch { /* the mark in the head tells */ }
  }

  #takeOrders({ type, data }) {
    if (type === "SNAPSHOT") { this.#orders.clear(); data.forEach(order => this.#keep(order)); } else this.#keep(data);
    this.#tell();
  }

  #keep(order) {
    const known = this.#orders.get(order.order_id);
    if (known && known.sequence > order.sequence) return;
    if (OPEN.has(order.status)) this.#orders.set(order.order_id, order);
    else { this.#orders.delete(order.order_id); this.#cancelling.delete(order.order_id); }
  }

  #takeFills({ type, data }) {
    if (type === "SNAPSHOT") this.#fills.clear();
    for (const fill of type === "SNAPSHOT" ? data : [data]) this.#fills.set(fill.trade_id + fill.order_id, fill);
    while (this.#fills.size > FILLS_KEPT * 2) this.#fills.delete(this.#fills.keys().next().value);
    this.draw();
  }

  #takeBalances({ type, data }) {
    if (type === "SNAPSHOT") this.#balances.clear();
    for (const row of type === "SNAPSHOT" ? data : [data]) this.#balances.set(row.asset, row);
    this.#tell();
  }

  #tell() {
    this.changed({ orders: [...this.#orders.values()], balances: [...this.#balances.values()] });
    this.draw();
  }

  #here(rows) { return find("#only-here").checked ? rows.filter(row => row.symbol === this.#symbol) : rows; }

  #draw() {
    const table = find("#mine"), list = this.#list, orders = this.#here([...this.#orders.values()]).sort((a, b) => (a.order_id < b.order_id ? 1 : -1));
    write(find("#order-count"), orders.length ? String(orders.length) : "");
    find("label.check").hidden = list === "balances";
    if (table.dataset.list !== list) {
      table.dataset.list = list;
      find("thead", table).replaceChildren(make("tr", "", null, {}, ...COLUMNS[list].map(name => make("th", "", name, { scope: "col" }))));
    }
    const rows = list === "orders" ? orders.map(order => this.#orderRow(order))
      : list === "fills" ? this.#here([...this.#fills.values()]).sort((a, b) => (a.trade_id < b.trade_id ? 1 : -1)).slice(0, FILLS_KEPT).map(fillRow)
      : list === "positions" ? this.#here(this.#positions).filter(row => Number(row.quantity) || Number(row.realised_pnl)).map(positionRow)
      : [...this.#balances.values()].filter(row => Number(row.posted) || Number(row.held)).map(balanceRow);
    update(find("tbody", table), accounts.current ? rows : []);
    table.hidden = !rows.length || !accounts.current;
    const nothing = find("#nothing-mine");
    nothing.hidden = !table.hidden;
    write(nothing, accounts.current ? NOTHING[list] : "Log in as a trader to see your orders, fills, positions and balances.");
  }

  #orderRow(order) {
    const { order_id: id, side, order_type: kind, time_in_force: lifetime } = order, isGoing = this.#cancelling.has(id);
    return {
      key: id,
      cells: [
        [dayAndClock(order.created_at), "soft"], [order.symbol], [spoken(side), side === "BUY" ? "up" : "down"],
        [lifetime === "GTX" ? "post-only" : `${spoken(kind)} ${lifetime}`],
        [order.stop_price ? `${grouped(order.stop_price)} ${order.status === "PENDING_TRIGGER" ? "waiting" : order.status === "PENDING" ? "…" : "triggered"}` : NONE],
        [order.price ? grouped(order.price) : "market"],
        [order.quantity ?? order.quote_quantity ?? NONE], [`${filledPercent(order)} %`],
      ],
      button: { text: isGoing ? "Cancelling…" : "Cancel", label: `Cancel the order to ${spoken(side)} ${order.quantity} at ${order.price ?? order.stop_price ?? "market"}`, isOff: isGoing, run: () => this.#cancel(order) },
    };
  }

  async #cancel(order) {
    const problem = find("#answer");
    this.#cancelling.add(order.order_id);
    this.draw();
    try {
      this.#keep(await call("DELETE", `${API}/orders/${order.order_id}`));
    } catch (error) {
      if (error.code === "ORDER_NOT_OPEN") this.#orders.delete(order.order_id);
      write(problem, explained(error, { symbol: order.symbol }));
      problem.className = "answer bad";
    } finally {
      this.#cancelling.delete(order.order_id);
      this.#tell();
    }
  }
}

const filledPercent = ({ filled_quantity: filled, quantity }) => (Number(quantity) ? Math.floor((Number(filled) / Number(quantity)) * 100) : 0);

function fillRow(fill) {
  const isBuyer = (fill.side === "BUY") !== fill.is_maker;
  return {
    key: fill.trade_id + fill.order_id,
    cells: [
      [dayAndClock(fill.timestamp), "soft"], [fill.symbol], [isBuyer ? "buy" : "sell", isBuyer ? "up" : "down"], [grouped(fill.price)], [fill.quantity],
      [`${trimmed(fill.fee)} ${fill.fee_asset}`], [fill.is_maker ? "maker" : "taker"],
    ],
  };
}

function positionRow(row) {
  const [, quote] = row.symbol.split("/"), money = text => (text === null ? NONE : `${grouped(trimmed(text))} ${quote}`);
  return {
    key: row.symbol,
    cells: [
      [row.symbol, "strong"], [grouped(trimmed(row.quantity))], [row.average_entry_price === null ? NONE : grouped(trimmed(row.average_entry_price))],
      [money(row.realised_pnl), direction(row.realised_pnl)], [money(row.unrealised_pnl), direction(row.unrealised_pnl)],
    ],
  };
}

function balanceRow({ asset, posted, held, available }) {
  return { key: asset, cells: [[asset, "strong"], [grouped(trimmed(posted))], [grouped(trimmed(held))], [grouped(trimmed(available))]] };
}

/** Rows keep their elements by key, so that focus stays where it is. */
function update(body, rows) {
  const before = new Map([...body.children].map(row => [row.dataset.key, row]));
  const wanted = rows.map(({ key, cells, button }) => {
    const row = before.get(key) ?? make("tr", "", null, { "data-key": key });
    while (row.childElementCount > cells.length + (button ? 1 : 0)) row.lastElementChild.remove();
    cells.forEach(([text, name = ""], at) => {
      const cell = row.children[at] ?? row.appendChild(make("td"));
      write(cell, text);
      if (cell.className !== name) cell.className = name;
    });
    if (button) {
      const cell = row.children[cells.length] ?? row.appendChild(make("td")), shown = find("button", cell) ?? cell.appendChild(make("button", "", "", { type: "button" }));
      write(shown, button.text);
      shown.setAttribute("aria-label", button.label);
      shown.disabled = button.isOff;
      shown.onclick = button.run;
    }
    return row;
  });
  if (wanted.length !== body.children.length || wanted.some((row, at) => body.children[at] !== row)) body.replaceChildren(...wanted);
}
