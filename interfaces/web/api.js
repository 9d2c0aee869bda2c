// The calls of the contract that this page makes.

export class Problem extends Error {
  constructor(status, { detail, title, request_id: requestId } = {}) {
    super(detail || title || "The service did not answer as expected. Please try again.");
    this.status = status;
    // Who asked for something impossible can mend it alone; for the rest there is an operator.
    this.requestId = status >= 500 ? requestId : null;
  }
}

async function call(method, path, { body, headers } = {}) {
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: { Accept: "application/json", ...(body && { "Content-Type": "application/json" }), ...headers },
      body: body && JSON.stringify(body),
    });
  } catch {
    throw new Problem(0, { detail: "The service cannot be reached. Please try again in a moment." });
  }
  const answer = await response.json().catch(() => null);
  if (!response.ok) throw new Problem(response.status, answer ?? {});
  return answer;
}

const chat = (id) => `/api/v1/chat/${encodeURIComponent(id)}`;
const job = (id) => `/api/v1/jobs/${encodeURIComponent(id)}`;

export const eventsOf = (id) => `${chat(id)}/events`;

export const listChats = (cursor) =>
  call("GET", `/api/v1/chat?limit=30${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);

export const readChat = (id) => call("GET", chat(id));

export const rename = (id, title) => call("PATCH", chat(id), { body: { title } });

export const remove = (id) => call("DELETE", chat(id));

/** Without a chat the service makes one. The same key and body again give the same job. */
export const send = (id, body, key) =>
  call("POST", id === null ? "/api/v1/chat" : `${chat(id)}/messages`,
    { body, headers: { "Idempotency-Key": key } });

export const cancel = (id) => call("DELETE", job(id));

/** The problem that keeps a job's log from us for good, or null; other trouble may pass. */
export async function refusal(id) {
  try {
    await call("GET", job(id));
    return null;
  } catch (problem) {
    return [401, 403, 404].includes(problem.status) ? problem : null;
  }
}
