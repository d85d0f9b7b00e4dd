// The page's one feed: the stream, REST in its place while it is away, and the mark in the page's head that says which.

import { accounts } from "./accounts.js";
import { find, write } from "./dom.js";
import { standIn } from "./polling.js";
import { session } from "./session.js";
import { Stream } from "./stream.js";

const WORDS = {
  live: ["live", "Live: every change is pushed to this page"],
  connecting: ["connecting", "Connecting to the live stream"],
  polled: ["reconnecting", "The live stream is away. The page is read anew every three seconds until it is back"],
  away: ["no answer", "The exchange does not answer. What is shown may be old; the page keeps trying"],
};
const handlers = new Map();

async function credentials() {
  const account = accounts.current, token = account && (await session.token());
  return token ? { token, account } : null;
}

const stream = new Stream(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/stream`, { credentials });

/** `handler(message)` for a SNAPSHOT and what follows it. Returns what ends it. */
export function follow(channel, handler) {
  const known = handlers.get(channel) ?? handlers.set(channel, new Set()).get(channel);
  known.add(handler);
  const end = stream.subscribe(channel, handler);
  return () => { known.delete(handler); end(); };
}

export const refresh = channel => stream.refresh(channel);

export function startFeed() {
  const mark = find("#connection");
  const show = kind => {
    mark.dataset.is = kind;
    write(find("span", mark), WORDS[kind][0]);
    mark.title = WORDS[kind][1];
  };
  stream.addEventListener("state", () => show(stream.state));
  stream.addEventListener("polled", event => { if (stream.state !== "live") show(event.detail ? "polled" : "away"); });
  stream.addEventListener("unauthorised", () => session.renew().catch(() => {}));
  accounts.addEventListener("change", () => stream.restart());
  standIn(stream, (channel, message) => { for (const handler of handlers.get(channel) ?? []) handler(message); });
  addEventListener("online", () => { if (stream.state !== "live") stream.restart(); });
  stream.open();
}
