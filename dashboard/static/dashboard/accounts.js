// The trading account this tab stands for. A trader's log-in is the institution's; orders and private channels are one account's.

import { API, call } from "./rest.js";
import { session } from "./session.js";

const KEPT_AS = "exchange.account";

class Accounts extends EventTarget {
  names = [];
  current = null;

  constructor() {
    super();
    session.addEventListener("change", () => this.#begin());
    this.#begin();
  }

  choose(name) {
    if (name === this.current) return;
    this.current = name;
    try { if (name) sessionStorage.setItem(KEPT_AS, name); } catch { /* for this page alone, then */ }
    this.dispatchEvent(new Event("change"));
  }

  async #begin() {
    if (!session.person?.institution) {  // staff of the platform have no account of their own
      this.names = [];
      this.choose(null);
      return;
    }
    try {
      const { results } = await call("GET", `${API}/balances`);
      this.names = [...new Set(results.map(row => row.account))];
    } catch {
      if (session.person) setTimeout(() => this.#begin(), 2000);
      return;
    }
    let kept = null;
    try { kept = sessionStorage.getItem(KEPT_AS); } catch { /* nothing kept */ }
    this.current = null;
    this.choose(this.names.includes(kept) ? kept : this.names[0] ?? null);
  }
}

export const accounts = new Accounts();
