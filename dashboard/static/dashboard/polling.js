// What the stream would tell, asked for over REST every few seconds: the stand-in for as long as the stream is away.

import { accounts } from "./accounts.js";
import { call, read, API } from "./rest.js";
import { inPath, seconds, since } from "./format.js";
import { isPrivate } from "./stream.js";

const AWAY_MS = 2_500;  // a reconnect usually takes less
const EVERY_MS = 3_000;
const results = answer => answer.results;

function source(channel) {
  const [kind, rest = ""] = channel.split(/\.(.*)/s);
  if (isPrivate(channel)) {
    const path = { orders: "/orders?status=open&limit=500&", trades: "/trades/my?limit=50&", balances: "/balances?" }[rest];
    return () => call("GET", `${API}${path}account=${accounts.current}`).then(results);
  }
  const cut = rest.indexOf("/") < 0 ? -1 : rest.indexOf(".", rest.indexOf("/"));
  const symbol = inPath(cut < 0 ? rest : rest.slice(0, cut));
  return {
    orderbook: () => read(`/orderbook/${symbol}?depth=100`),
    trades: () => read(`/trades?symbol=${symbol}&limit=50`).then(results),
    ticker: () => read(`/ticker/${symbol}`),
    candles: () => read(`/candles/${symbol}?interval=${rest.slice(cut + 1)}&start_time=${since(2 * seconds(rest.slice(cut + 1)))}`).then(results),
  }[kind];
}

/** Watches a stream; while it is away, hands its handlers snapshots made from REST. */
export function standIn(stream, deliver) {
  let timer = 0;
  const ask = async () => {
    let heard = false;
    for (const channel of stream.channels) {
      if (stream.state === "live") break;
      if (isPrivate(channel) && !accounts.current) continue;
      try {
        const data = await source(channel)();
        heard = true;
        if (stream.state !== "live") deliver(channel, { type: "SNAPSHOT", channel, sequence: 0, data, timestamp: new Date().toISOString(), isPolled: true });
      } catch { /* the next round asks again */ }
    }
    stream.dispatchEvent(new CustomEvent("polled", { detail: heard }));
    if (stream.state !== "live") timer = setTimeout(ask, document.hidden ? EVERY_MS * 5 : EVERY_MS);
  };
  const watch = () => {
    clearTimeout(timer);
    if (stream.state !== "live") timer = setTimeout(ask, AWAY_MS);
  };
  stream.addEventListener("state", watch);
  watch();
}
