// Who is logged in in this tab: the JWT pair of POST /auth/token, in memory and in sessionStorage, renewed before it runs out.

import { ApiError, open } from "./rest.js";

const KEPT_AS = "exchange.session";
const RENEW_BEFORE_S = 40;

function claims(token) {
  try {
    const text = atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/"));
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(text, letter => letter.charCodeAt(0))));
  } catch { return null; }
}

class Session extends EventTarget {
  #tokens = null;
  #renewing = null;
  person = null;  // {username, role, institution, permissions}

  constructor() {
    super();
    try { this.#take(JSON.parse(sessionStorage.getItem(KEPT_AS))); } catch { /* nothing kept */ }
  }

  #take(tokens) {
    const told = tokens?.access && claims(tokens.access);
    this.#tokens = told ? tokens : null;
    this.person = told ? { username: told.user, role: told.role, institution: told.institution, permissions: told.permissions ?? [] } : null;
    try {
      if (this.#tokens) sessionStorage.setItem(KEPT_AS, JSON.stringify(this.#tokens));
      else sessionStorage.removeItem(KEPT_AS);
    } catch { /* memory alone, then */ }
  }

  may(right) { return this.person?.permissions.includes(right) ?? false; }

  get isOperator() { return ["operator", "superuser"].includes(this.person?.role); }

  async logIn(username, password, otp) {
    this.#take(await open("/auth/token", { username, password, ...(otp ? { otp } : {}) }));
    this.#changed();
  }

  logOut() {
    this.#take(null);
    this.#changed();
  }

  /** An access token that is good for a while, or null when nobody is logged in. */
  async token() {
    if (!this.#tokens) return null;
    if (claims(this.#tokens.access).exp - Date.now() / 1000 < RENEW_BEFORE_S) return this.renew();
    return this.#tokens.access;
  }

  /** A new access token. A refresh token that is not taken any more ends the session. */
  renew() {
    this.#renewing ??= this.#renew().finally(() => { this.#renewing = null; });
    return this.#renewing;
  }

  async #renew() {
    const kept = this.#tokens;
    if (!kept) return null;
    try {
      const renewed = await open("/auth/token/refresh", { refresh: kept.refresh });
      this.#take({ ...kept, ...renewed });
      return this.#tokens.access;
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) this.logOut();
      throw error;
    }
  }

  #changed() { this.dispatchEvent(new Event("change")); }
}

export const session = new Session();
