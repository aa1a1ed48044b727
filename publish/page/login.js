// The token, where the service wants one. It is sent once, for a cookie that scripts cannot read, and kept nowhere here.

import { post } from "./api.js";
import { h, icon, tell } from "./dom.js";

/** `entered` is called once the service has taken the token. */
export function loginView(entered) {
  const wrong = h("p", { class: "field-error", role: "alert", id: "login-error" });
  const token = h("input", { type: "password", id: "token", name: "token", autocomplete: "current-password", required: true, "aria-describedby": "login-error", spellcheck: "false" });
  const send = h("button", { type: "submit", class: "button primary" }, icon("key"), h("span", {}, "Log in"));
  const form = h("form", { class: "card login", onsubmit: async (event) => {
    event.preventDefault();
    send.disabled = true;
    tell(wrong, "");
    try {
      await post("api/v1/session", { token: token.value });
      token.value = "";
      entered();
    } catch (error) {
      tell(wrong, error.status === 401 || error.status === 403 ? "That is not the token." : error.message);
      token.select();
    } finally {
      send.disabled = false;
    }
  } },
  h("h1", {}, "Vigil"),
  h("p", {}, "This service wants a token: ", h("code", {}, "http.token"), " of its config."),
  h("label", { for: "token" }, "Token"), token, wrong, send);
  queueMicrotask(() => token.focus());
  return { element: h("section", { class: "centred" }, form) };
}
