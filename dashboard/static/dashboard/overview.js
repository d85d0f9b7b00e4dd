// All markets at a glance, live; for operators with the controls of each.

import { openControl, startControls } from "./controls.js";
import { trimmed } from "./decimal.js";
import { all, find, flash, make, perFrame, pick, write } from "./dom.js";
import { follow } from "./feed.js";
import { dayAndClock, direction, grouped, inPath, NONE, percent, seconds, short, since, spoken } from "./format.js";
import { causeOf, hasPhase, readPhases, remaining } from "./phases.js";
import { call, read } from "./rest.js";
import { session } from "./session.js";
import { startShell } from "./shell.js";
import { drawSpark } from "./spark.js";

const STATUS_MS = 2_000;  // the contract has no channel for a symbol's status
const USED_MS = 15_000;
const SPARK_MS = 60_000;
const SPARK_POINTS = 96;  // a day of quarter hours
const rows = new Map();

class Row {
  ticker = null; points = []; phase = null;

  constructor({ symbol, base, quote }, template) {
    this.symbol = symbol;
    this.base = base;
    this.quote = quote;
    this.tr = template.content.firstElementChild.cloneNode(true);
    this.cells = Object.fromEntries(all("[data-cell]", this.tr).map(cell => [cell.dataset.cell, cell]));
    const link = find("a", this.tr);
    link.href = `/markets/${inPath(symbol)}`;
    write(find(".base", link), base);
    write(find(".quote", link), `/${quote}`);
    link.setAttribute("aria-label", symbol);
    this.tr.dataset.symbol = symbol;
    this.tr.addEventListener("click", event => { if (!event.target.closest("a, button")) link.click(); });
    for (const button of all("[data-control]", this.tr)) {
      button.setAttribute("aria-label", `${button.textContent} ${symbol}`);
      button.addEventListener("click", () => openControl(button.dataset.control, symbol, () => { readStatuses(); readUsed(); }));
    }
    this.spark = perFrame(() => drawSpark(this.cells.spark, [...this.points, ...(this.ticker?.last_price ? [Number(this.ticker.last_price)] : [])]));
    follow(`ticker.${symbol}`, ({ data }) => this.take(data));
  }

  setStatus(status, phase) {
    this.tr.dataset.status = status;
    write(this.cells.status, spoken(status));
    this.phase = hasPhase(status) ? phase : null;
    this.showPhase();
    for (const button of all("[data-control]", this.tr)) {
      const { control } = button.dataset;
      button.hidden = status === { resume: "TRADING", halt: "HALTED", auction: "AUCTION" }[control];
      button.disabled = status === "DELISTED";
    }
  }

  /** Why, until when, and what an auction would come to. */
  showPhase() {
    const { phase, cells } = this, left = phase && remaining(phase), auction = phase?.auction;
    cells.phase.hidden = !phase;
    if (!phase) return;
    const would = auction && (auction.price ? `${grouped(auction.price)} × ${trimmed(auction.quantity)}` : "nothing would trade");
    cells.phase.replaceChildren(...[causeOf(phase), left && `${left} left`, would].filter(Boolean).map(text => make("span", "", text)));
  }

  take(ticker) {
    const before = this.ticker?.last_price, now = ticker.last_price, { cells } = this;
    this.ticker = ticker;
    write(cells.last, grouped(now));
    if (before && now && before !== now) flash(cells.last, Number(now) > Number(before) ? "rose" : "fell");
    write(cells.change, percent(ticker.price_change_percent));
    pick(cells.change, ["up", "down"], direction(ticker.price_change_percent));
    write(cells.bid, grouped(ticker.best_bid));
    write(cells.ask, grouped(ticker.best_ask));
    write(cells.high, grouped(ticker.high));
    write(cells.low, grouped(ticker.low));
    write(cells.volume, Number(ticker.quote_volume) ? `${short(ticker.quote_volume)} ${this.quote}` : NONE);
    cells.volume.title = `${grouped(ticker.volume)} ${this.base}, ${ticker.trade_count} trades in 24 h`;
    this.spark();
  }

  async readSpark() {
    try {
      for (const interval of ["15m", "1m"]) {  // a young market has too few of the longer ones
        const { results } = await read(`/candles/${inPath(this.symbol)}?interval=${interval}&start_time=${since(SPARK_POINTS * seconds(interval))}`);
        this.points = results.map(candle => Number(candle[4]));
        if (this.points.length >= 8) break;
      }
    } catch { /* drawn from what comes in, then */ }
    this.spark();
  }
}

async function readStatuses() {
  const { results } = await read("/symbols"), phases = results.some(({ status }) => hasPhase(status)) ? await readPhases() : {}, body = find("#markets tbody"), template = find("#row");
  for (const found of results) {
    if (!rows.has(found.symbol)) {
      const row = new Row(found, template);
      rows.set(found.symbol, row);
      row.readSpark();
    }
    rows.get(found.symbol).setStatus(found.status, phases[found.symbol]);
  }
  const wanted = results.map(({ symbol }) => rows.get(symbol).tr);
  if (!wanted.length) wanted.push(make("tr", "", null, {}, make("td", "message", "No market is listed yet.", { colspan: 10 })));
  if (wanted.length !== body.children.length || wanted.some((tr, at) => body.children[at] !== tr)) body.replaceChildren(...wanted);
  const shut = results.filter(({ status }) => status !== "TRADING").length;
  write(find("#summary"), `${results.length} ${results.length === 1 ? "market" : "markets"}, ${shut ? `${shut} not trading` : "all trading"}`);
}

/** Who used which control and why: for those who may use them. */
async function readUsed() {
  if (!session.isOperator) return;
  try {
    const { results } = await call("GET", "/controls");
    find("#none-used").hidden = results.length > 0;
    find("#used").replaceChildren(...results.map(({ at, actor, what, subject, reason }) => make("li", "", null, {},
      make("time", "", dayAndClock(at), { datetime: at }), make("span", "", subject), make("span", "", what.toLowerCase().replaceAll("_", " ")), make("span", "", actor), make("span", "reason", reason))));
  } catch { /* the mark in the head tells */ }
}

async function watchStatuses() {
  try { await readStatuses(); } catch { /* the mark in the head tells */ }
  setTimeout(watchStatuses, document.hidden ? STATUS_MS * 5 : STATUS_MS);
}

startShell();
startControls();
session.addEventListener("change", readUsed);
readUsed();
setInterval(readUsed, USED_MS);
watchStatuses();
setInterval(() => { for (const row of rows.values()) row.showPhase(); }, 1000);
setInterval(() => { for (const row of rows.values()) row.readSpark(); }, SPARK_MS);
addEventListener("resize", () => { for (const row of rows.values()) row.spark(); });
document.addEventListener("themechange", () => { for (const row of rows.values()) row.spark(); });
