// Ask Sluice, follow the answer through every kind of trouble, check it, stop it.
// One file without dependencies, for browsers and for Node; the page talks to the service by it alone.

const ENDS = new Set(["done", "error", "cancelled"]);
// The service is never silent for more than 15 s; a socket that is has died without telling.
const SILENCE_MS = 45_000;
const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 15_000;

/** What the service will not do: its status (0: not reached), and what may be shown. */
export class Problem extends Error {
  constructor(status, { detail, title, code = null, request_id: requestId } = {}) {
    super(detail || title || "The service did not answer as expected. Please try again.");
    this.status = status;
    this.code = code;
    // Who asked for something impossible can mend it alone; for the rest there is an operator.
    this.requestId = status >= 500 ? requestId : null;
  }
}

export function delayBefore(attempt, random = Math.random) {
  const ceiling = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** attempt);
  return ceiling / 2 + (random() * ceiling) / 2;
}

// crypto.randomUUID wants a secure context, which a service in a local network may not be.
export const newKey = () => hexOf(crypto.getRandomValues(new Uint8Array(16)));
const hexOf = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

const host = {
  fetch: (...asked) => globalThis.fetch(...asked),
  setTimeout: (call, ms) => globalThis.setTimeout(call, ms),
  clearTimeout: (timer) => globalThis.clearTimeout(timer),
};

/** `headers` go with every request, as `{ Authorization: "Bearer …" }` does. */
export function connect({ base = "", headers = {}, env = host } = {}) {
  const request = (method, path, { body, more, signal } = {}) => env.fetch(base + path, {
    method,
    headers: { Accept: "application/json", ...(body && { "Content-Type": "application/json" }), ...headers, ...more },
    body: body && JSON.stringify(body),
    signal,
  });

  /** The JSON that it answers, null for none. Throws Problem. */
  async function call(method, path, options) {
    const response = await request(method, path, options).catch(() => {
      throw new Problem(0, { detail: "The service cannot be reached. Please try again in a moment." });
    });
    const answer = await response.json().catch(() => null);
    if (!response.ok) throw new Problem(response.status, answer ?? {});
    return answer;
  }

  const question = (body, { chat = null, key = newKey() } = {}) => ({
    method: "POST",
    path: chat === null ? "/api/v1/chat" : `/api/v1/chat/${encodeURIComponent(chat)}/messages`,
    options: { body, more: { "Idempotency-Key": key } },
  });

  /** Without a chat the service makes one. The same key and body again give the same job. */
  function submit(body, named) {
    const { method, path, options } = question(body, named);
    return call(method, path, options);
  }

  /** Asks and follows in one request, as `submit` and `follow` do in two. */
  const ask = (body, { chat, key, ...options } = {}) =>
    read({ ...options, asking: question(body, { chat, key }) });

  /** Every event of a job's stream behind the id `after`, as {name, id, data}; each comes once. */
  const follow = (path, options = {}) => read({ ...options, path });

  // `connection(up)` is told when it is lost or back; an aborted `signal` ends it without a word.
  async function* read({ asking = null, path = null, after = "", signal = null, connection = () => {} }) {
    for (let failures = 0; ; ) {
      const socket = new AbortController();
      const leave = () => socket.abort();
      signal?.addEventListener("abort", leave);
      let silence = env.setTimeout(leave, SILENCE_MS);
      let told = 0;
      try {
        if (signal?.aborted) return;
        const cursor = after && { "Last-Event-ID": after };
        const { method, path: at, options } = path === null ? asking : { method: "GET", path, options: {} };
        const more = { ...options.more, ...cursor, Accept: "text/event-stream" };
        const response = await request(method, at, { ...options, more, signal: socket.signal });
        if (response.status === 204) return;
        if (response.status === 200) {
          path ??= response.headers.get("Content-Location");
          connection(true);
          for await (const frame of framesOf(response)) {
            env.clearTimeout(silence);
            silence = env.setTimeout(leave, SILENCE_MS);
            told = frame.data === undefined ? Number(frame.retry ?? 0) : 0;
            if (frame.data !== undefined) failures = 0;
            if (!frame.id || signal?.aborted) continue;
            after = frame.id;
            yield { name: frame.event, id: frame.id, data: JSON.parse(frame.data) };
            if (ENDS.has(frame.event)) return;
          }
        } else if (response.status !== 429 && response.status < 500) {
          throw new Problem(response.status, (await response.json().catch(() => null)) ?? {});
        } else told = 1000 * (Number(response.headers.get("Retry-After")) || 0);
      } catch (error) {
        if (error instanceof Problem) throw error; // else it was cut, or never reached
      } finally {
        env.clearTimeout(silence);
        signal?.removeEventListener("abort", leave);
        socket.abort();
      }
      if (signal?.aborted) return;
      connection(false);
      await pause(Math.max(delayBefore(failures++), told), signal);
    }
  }

  const pause = (ms, signal) => new Promise((wake) => {
    const timer = env.setTimeout(wake, ms);
    signal?.addEventListener("abort", () => { env.clearTimeout(timer); wake(); }, { once: true });
  });

  const cancel = (job) => call("DELETE", `/api/v1/jobs/${encodeURIComponent(job)}`);

  /** Answers what a job's `needs_input` asks; the same answer again changes nothing. */
  const giveInput = (job, inputId, value) =>
    call("POST", `/api/v1/chat/${encodeURIComponent(job)}/input`, { body: { input_id: inputId, value } });

  return { call, submit, ask, follow, giveInput, cancel };
}

/** Each frame's fields, as text; one that the body's end tears is none. */
async function* framesOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ; ) {
    const { done, value } = await reader.read();
    if (done) return;
    const frames = (rest + value).split("\n\n");
    rest = frames.pop();
    for (const frame of frames) {
      yield Object.fromEntries(frame.split("\n").map((line) => line.split(/: (.*)/s)));
    }
  }
}

/** "verified", "unverified" (no digest without a secure context) or "broken": what was `said`
 *  since the last `reset`, held against the data of `done`. */
export async function verify(said, { answer, length, path, sha256 }, subtle = globalThis.crypto?.subtle) {
  if ((path === "A2" && said !== answer) || [...answer].length !== length) return "broken";
  if (!subtle) return "unverified";
  const digest = await subtle.digest("SHA-256", new TextEncoder().encode(answer));
  return hexOf(new Uint8Array(digest)) === sha256 ? "verified" : "broken";
}
