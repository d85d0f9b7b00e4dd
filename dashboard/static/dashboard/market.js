// One market's page: puts the parts together and hands each what the feed brings.

import { Book } from "./book.js";
import { CandleChart } from "./chart.js";
import { decimalsOf } from "./decimal.js";
import { DepthChart, showDepth } from "./depth.js";
import { choice, find, flash, pick, write } from "./dom.js";
import { follow, refresh } from "./feed.js";
import { direction, grouped, NONE, percent, short, spoken } from "./format.js";
import { Ladder } from "./ladder.js";
import { Mine } from "./mine.js";
import { OrderForm } from "./order-form.js";
import { causeOf, hasPhase, indicated, readPhases, remaining } from "./phases.js";
import { read } from "./rest.js";
import { startShell } from "./shell.js";
import { Tape } from "./tape.js";

const STATUS_MS = 2_000;  // the contract has no channel for a symbol's status
const BANNERS = {
  HALTED: "Trading is halted. Nothing matches and new orders are refused; open orders stay in the book and can be cancelled.",
  CANCEL_ONLY: "Cancels only: no new orders are taken at present.",
  POST_ONLY: "Post-only: orders that would trade at once are refused at present.",
  AUCTION: "Auction: orders are collected and will trade together at one price.",
  DELISTED: "This market is delisted. All its orders were cancelled.",
};
const symbol = document.body.dataset.symbol;

async function rulesOf() {
  return (await read("/symbols")).results.find(row => row.symbol === symbol);
}

async function rulesAtLast() {
  for (;;) {
    try { return await rulesOf(); } catch { await new Promise(done => setTimeout(done, 1500)); }
  }
}

let phase = null;  // of this market, while it is halted or in an auction

async function showStatus({ status }) {
  document.body.dataset.status = status;
  write(find("#status"), spoken(status));
  find("#banner").hidden = status === "TRADING";
  if (!hasPhase(status)) phase = null;
  showPhase(status);
  if (!hasPhase(status)) return;
  phase = (await readPhases())[symbol] ?? null;
  showPhase(status);
}

function showPhase(status) {
  const why = phase && causeOf(phase);
  write(find("#banner-text"), `${BANNERS[status] ?? ""}${why ? ` Cause: ${why}.` : ""}`);
  tick();
}

/** What changes while a phase lasts; not in the part that is read out. */
function tick() {
  const left = phase ? remaining(phase) : "", [base, quote] = symbol.split("/");
  find("#banner-now").hidden = !phase || (!phase.auction && !left);
  write(find("#indicated"), phase?.auction ? indicated(phase.auction, { base, quote }) : "");
  write(find("#countdown"), left ? `${phase.status === "AUCTION" ? "Ends in" : "Auction in"} ${left}` : "");
}

function showTicker(ticker, rules) {
  const last = find("#last"), now = grouped(ticker.last_price);
  if (last.textContent !== now && last.textContent !== NONE) {
    const rises = Number(ticker.last_price) > Number(last.dataset.value);
    pick(last, ["up", "down"], rises ? "up" : "down");
    flash(last, rises ? "rose" : "fell");
  }
  last.dataset.value = ticker.last_price ?? "";
  write(last, now);
  write(find("#change"), ticker.price_change === null ? NONE : `${Number(ticker.price_change) > 0 ? "+" : ""}${grouped(ticker.price_change)}  ${percent(ticker.price_change_percent)}`);
  pick(find("#change"), ["up", "down"], direction(ticker.price_change));
  write(find("#high"), grouped(ticker.high));
  write(find("#low"), grouped(ticker.low));
  write(find("#volume"), Number(ticker.volume) ? `${short(ticker.volume)} ${rules.base}` : NONE);
  write(find("#turnover"), Number(ticker.quote_volume) ? `${short(ticker.quote_volume)} ${rules.quote}` : NONE);
  document.title = ticker.last_price ? `${now} ${symbol} · Exchange` : `${symbol} · Exchange`;
}

async function start() {
  startShell();
  const shown = find("#tabs");
  choice(shown, tab => { document.body.dataset.tab = tab; dispatchEvent(new Event("resize")); scrollTo(0, 0); });
  find("#markets").addEventListener("change", event => { location.href = `/markets/${event.target.value}`; });

  const rules = await rulesAtLast(), tickDecimals = decimalsOf(rules.tick_size), lotDecimals = decimalsOf(rules.lot_size);
  const book = new Book(), tape = new Tape();
  const form = new OrderForm(rules, { placed: order => mine.take(order) });
  const ladder = new Ladder(book, { tick: Number(rules.tick_size), tickDecimals, lotDecimals, pick: (price, side) => {
    form.take(price, side);
    if (getComputedStyle(shown).display !== "none") find("button[value=form]", shown).click();
  } });
  const depth = new DepthChart(find("#depth"), book, { tickDecimals, base: rules.base });
  const chart = new CandleChart(find("#candles"), { symbol, tickDecimals });
  const mine = new Mine(symbol, { changed: ({ orders, balances }) => {
    form.balances(balances);
    ladder.own(orders.filter(order => order.symbol === symbol && order.price && order.status !== "PENDING_TRIGGER").map(order => order.price));
  } });

  choice(find("#interval"), interval => chart.show(interval));
  choice(find("#view"), view => { showDepth(view === "depth"); find("#legend").hidden = find("#interval").hidden = view === "depth"; depth.draw(); });
  chart.show("1m");
  showStatus(rules).catch(() => { /* the next look tells */ });
  setInterval(tick, 1000);

  follow(`orderbook.${symbol}`, message => {
    if (phase && message.data.auction) { phase = { ...phase, auction: message.data.auction, ends_at: message.data.auction.ends_at }; tick(); }
    if (!book.take(message.data, { isSnapshot: message.type === "SNAPSHOT" })) refresh(message.channel);
    const bid = book.bids[0]?.[0] ?? null, ask = book.asks[0]?.[0] ?? null;
    form.best = { bid, ask };
    write(find("#spread"), bid && ask && ask - bid >= 0 ? grouped((ask - bid).toFixed(tickDecimals)) : NONE);
    ladder.draw();
    depth.draw();
  });
  follow(`trades.${symbol}`, ({ type, data }) => {
    if (type === "SNAPSHOT") tape.load(data);
    else tape.add(data);
    const newest = type === "SNAPSHOT" ? tape.newest : data;
    if (newest) ladder.trade(newest.price, newest.side);
  });
  follow(`ticker.${symbol}`, ({ data }) => showTicker(data, rules));

  const watch = async () => {
    try {
      const now = await rulesOf();
      if (now) { form.rules = now; await showStatus(now); }
    } catch { /* the mark in the head tells */ }
    setTimeout(watch, document.hidden ? STATUS_MS * 5 : STATUS_MS);
  };
  setTimeout(watch, STATUS_MS);
}

start();
