// Calls of the REST contract and of the pages' own addresses. A refusal is an ApiError with the contract's code.

import { session } from "./session.js";

export const API = "/api/v1";
const TIMEOUT_MS = 10_000;

export class ApiError extends Error {
  constructor(status, body, retryAfterS) {
    super(body?.message ?? `The exchange answered ${status}.`);
    this.status = status;
    this.code = body?.code ?? "";
    this.field = body?.field ?? null;
    this.details = body?.details ?? null;
    this.requestId = body?.request_id ?? "";
    this.retryAfterS = retryAfterS;
  }
}

/** No answer came: the request may have been carried out or not. */
export class NoAnswer extends Error {}

async function once(method, path, body, token) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (token) headers.Authorization = `Bearer ${token}`;
  let answer, content;
  try {
    answer = await fetch(path, {
      method, headers, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    content = await answer.text();
  } catch {
    throw new NoAnswer("The exchange does not answer.");
  }
  let data = null;
  try { data = content ? JSON.parse(content) : null; } catch { /* a proxy's page, not ours */ }
  if (!answer.ok) throw new ApiError(answer.status, data, Number(answer.headers.get("Retry-After")) || 0);
  return data;
}

/** As anybody. */
export const read = path => once("GET", API + path);

/** As the person who is logged in; a token that has run out is renewed once. */
export async function call(method, path, body) {
  try {
    return await once(method, path, body, await session.token());
  } catch (error) {
    if (error.status !== 401 || !session.person) throw error;
    return once(method, path, body, await session.renew());
  }
}

/** Without a token, for logging in. */
export const open = (path, body) => once("POST", API + path, body);
