// The HTTP API. Addresses are relative to the document's, so that the page works below any path of a proxy.

/** What the service refused, by its problem+json; `code` is `page.offline` when it did not answer at all. */
export class ApiError extends Error {
  constructor(status, told) {
    super(told.detail ?? `HTTP ${status}`);
    this.status = status;
    this.code = told.code ?? `http.${status}`;
    this.problems = told.problems ?? [];
    this.mend = told.mend ?? null;
  }
}

export function address(path) {
  return new URL(path.replace(/^\//, ""), document.baseURI).href;
}

let unauthorised = () => {};

/** What to do when the service wants a login. */
export function onUnauthorised(act) {
  unauthorised = act;
}

/** Sends a request; JSON in, JSON out. Throws ApiError. */
export async function request(method, path, body = undefined, options = {}) {
  const answer = await send(method, path, {
    ...options,
    body: body === undefined ? undefined : JSON.stringify(body),
    headers: { ...(body === undefined ? {} : { "Content-Type": "application/json" }), ...options.headers },
  });
  return answer.status === 204 || answer.headers.get("content-length") === "0" ? null : answer.json();
}

/** Sends a request as it is; throws ApiError when it is refused. */
export async function send(method, path, options = {}) {
  let answer;
  try {
    answer = await fetch(address(path), { method, credentials: "same-origin", cache: "no-store", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, { code: "page.offline", detail: "Vigil does not answer; is it running?" });
  }
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({}));
    if (answer.status === 401) unauthorised();
    const refusal = new ApiError(answer.status, told);
    refusal.retryAfterS = Number(answer.headers.get("retry-after")) || null;
    throw refusal;
  }
  return answer;
}

export const get = (path, options) => request("GET", path, undefined, options);
export const post = (path, body, options) => request("POST", path, body, options);
export const patch = (path, body) => request("PATCH", path, body);
export const remove = (path) => request("DELETE", path);

/** A stream's address below the API. */
export function streamPath(id, rest = "") {
  return `api/v1/streams/${encodeURIComponent(id)}${rest}`;
}
