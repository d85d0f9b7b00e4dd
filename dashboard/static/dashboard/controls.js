// An operator's controls: say what a control would do now, ask for a reason, do it, and tell when the worker has done it.

import { find, make, write } from "./dom.js";
import { clock, grouped, inPath, spoken } from "./format.js";
import { trimmed } from "./decimal.js";
import { call } from "./rest.js";

const EFFECT_WITHIN_MS = 10_000;
const KINDS = {
  halt: {
    title: symbol => `Halt ${symbol}`, button: "Halt now", danger: true,
    effect: state => ["Nothing matches any more and new orders are refused.", kept(state, "stays in the book and can still be cancelled by its owner.", "stay in the book and can still be cancelled by their owners.")],
  },
  auction: {
    title: symbol => `Auction on ${symbol}`, button: "Begin the auction", danger: true,
    effect: state => ["Orders are collected and nothing matches; at the end they trade together at one price.", kept(state, "takes part.", "take part.")],
  },
  resume: {
    title: symbol => `Resume ${symbol}`, button: "Resume trading", danger: false,
    effect: state => [state.status === "AUCTION" ? "The auction ends now: what it has collected trades at one price, and matching goes on."
      : "Orders are taken and match again, at once or, where the market's rules say so, after an auction.", kept(state, "is in the book and can match.", "are in the book and can match.")],
  },
  cancel_all: {
    title: symbol => `Cancel all on ${symbol}`, button: "Cancel all orders", danger: true,
    effect: state => [
      state.open_orders ? `${orders(state)} of all clients end (${state.buys} buys, ${state.sells} sells). This cannot be undone.` : "No order is open at this moment.",
      state.open_orders ? `Freed: ${state.held.map(({ asset, amount }) => `${grouped(trimmed(amount))} ${asset}`).join(" and ")}.` : "",
      state.status === "TRADING" ? "The market goes on trading: new orders can come at once. Halt first to keep them out." : "",
    ],
  },
};

const orders = ({ open_orders: many }) => (many === 1 ? "1 open order" : `${grouped(String(many))} open orders`);
const kept = (state, one, more) => (state.open_orders ? `${orders(state)} ${state.open_orders === 1 ? one : more}` : "No order is open at this moment.");
const address = symbol => `/markets/${inPath(symbol)}/controls`;
const pause = ms => new Promise(done => setTimeout(done, ms));

/** Opens the window for one control. `done(state)` when the market has changed. */
export async function openControl(action, symbol, done) {
  const kind = KINDS[action], dialog = find("#control"), form = find("form", dialog), effect = find(".effect", dialog);
  const reason = form.elements.reason, confirm = find("[type=submit]", form), result = find(".result", dialog);
  write(find("h2", dialog), kind.title(symbol));
  effect.replaceChildren(make("li", "", "Looking at the market…"));
  write(result, "");
  result.className = "result";
  form.reset();
  form.hidden = false;
  confirm.disabled = true;
  write(confirm, kind.button);
  confirm.className = kind.danger ? "danger" : "primary";
  if (!dialog.open) dialog.showModal();
  reason.focus();

  const tell = (text, name) => { write(result, text); result.className = `result ${name}`; };
  try {
    const state = await call("GET", address(symbol));
    effect.replaceChildren(...kind.effect(state).filter(Boolean).map(line => make("li", "", line)));
    confirm.disabled = false;
  } catch (error) { effect.replaceChildren(); tell(error.message, "bad"); }

  form.onsubmit = async event => {
    event.preventDefault();
    if (!reason.value.trim()) { reason.setCustomValidity("Say why: it stands in the audit trail."); reason.reportValidity(); return; }
    confirm.disabled = true;
    tell("Sending…", "");
    try {
      const sent = await call("POST", address(symbol), { action, reason: reason.value });
      form.hidden = true;
      if (sent.change_request) {
        tell(`Asked for, as request ${sent.change_request}. ${symbol} stays halted until another person agrees: back office, Requests.`, "good");
        done(sent);
        return;
      }
      const state = await untilEffective(action, symbol, sent, waited => tell(`Taken. Waiting for the matching worker (${(waited / 1000).toFixed(0)} s)…`, ""));
      tell(...said(action, symbol, sent, state));
      done(state);
    } catch (error) {
      confirm.disabled = false;
      tell(error.code === "FORBIDDEN" ? "Your role may not use this control." : error.message, "bad");
    }
  };
  reason.oninput = () => reason.setCustomValidity("");
}

const isEffective = (action, sent, state) => state.waiting === 0 && (action === "cancel_all" || state.effective_status === sent.status);

async function untilEffective(action, symbol, sent, tell) {
  const begun = Date.now();
  let state = sent;
  while (!isEffective(action, sent, state) && Date.now() - begun < EFFECT_WITHIN_MS) {
    await pause(150);
    if (Date.now() - begun > 1000) tell(Date.now() - begun);
    state = await call("GET", address(symbol));
  }
  return state;
}

function said(action, symbol, sent, state) {
  const at = `${clock(new Date().toISOString())} UTC, sequence ${grouped(String(state.sequence))}, request ${sent.request_id}`;
  if (!isEffective(action, sent, state)) return [`Recorded, but the matching worker has not acted within ${EFFECT_WITHIN_MS / 1000} s. Look at its health. Request ${sent.request_id}.`, "bad"];
  const done = sent.asked ? `${grouped(String(sent.asked))} cancels carried out; ${orders(state)} now.` : "No order was open.";
  if (action === "cancel_all") return [`${done} ${at}.`, "good"];
  return [`${symbol} is ${spoken(state.effective_status)} in the worker's sequence. ${at}.`, "good"];
}

export function startControls() {
  const dialog = find("#control");
  for (const button of dialog.querySelectorAll("[data-close]")) button.addEventListener("click", () => dialog.close());
}
