// What every page has: the colour scheme's switch, logging in and out, the feed.

import { all, find, write } from "./dom.js";
import { startFeed } from "./feed.js";
import { ApiError } from "./rest.js";
import { session } from "./session.js";

const ROLES = { trader: "trader", operator: "operator", superuser: "superuser", compliance: "compliance", quant: "quant", institution_admin: "administrator" };

export function startShell() {
  startTheme();
  startLogIn();
  startFeed();
}

function startTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)"), button = find("#theme");
  const isDark = () => (document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
  const tell = () => {
    button.setAttribute("aria-label", isDark() ? "Use the light colours" : "Use the dark colours");
    button.title = button.getAttribute("aria-label");
    document.dispatchEvent(new Event("themechange"));
  };
  button.addEventListener("click", () => {
    const chosen = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = chosen;
    try { localStorage.setItem("exchange.theme", chosen); } catch { /* for this page alone, then */ }
    tell();
  });
  dark.addEventListener("change", tell);
  tell();
}

/** Opens the log-in window. */
export function askToLogIn() {
  const dialog = find("#log-in");
  if (!dialog.open) dialog.showModal();
  find("[name=username]", dialog).focus();
}

function startLogIn() {
  const dialog = find("#log-in"), form = find("form", dialog), problem = find("[role=alert]", dialog), otp = find(".otp", dialog);
  const show = () => {
    const { person } = session;
    document.documentElement.dataset.role = person?.role ?? "";
    write(find("#person-name"), person?.username ?? "");
    write(find("#person-role"), person ? (ROLES[person.role] ?? person.role) + (person.institution ? ` · ${person.institution}` : "") : "");
    for (const element of all("[data-when]")) element.hidden = (element.dataset.when === "in") !== Boolean(person);
  };
  for (const button of all("[data-log-in]")) button.addEventListener("click", askToLogIn);
  find("#log-out").addEventListener("click", () => session.logOut());
  find("[data-close]", dialog).addEventListener("click", () => dialog.close());
  form.addEventListener("submit", async event => {
    event.preventDefault();
    const { username, password, code } = form.elements, submit = find("[type=submit]", form);
    write(problem, "");
    submit.disabled = true;
    try {
      await session.logIn(username.value.trim(), password.value, code.value.trim());
      dialog.close();
      form.reset();
      otp.hidden = true;
    } catch (error) {
      if (error.code === "OTP_REQUIRED") { otp.hidden = false; code.focus(); write(problem, "Type the code your authenticator shows now."); }
      else if (error instanceof ApiError && error.status === 401) { write(problem, "Username or password is wrong."); password.select(); }
      else write(problem, error.code === "RATE_LIMITED" ? "Too many attempts. Wait a minute." : error.message);
    } finally { submit.disabled = false; }
  });
  session.addEventListener("change", show);
  show();
}
