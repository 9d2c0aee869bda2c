// Follows one job's log over EventSource until its terminal event, through every kind of trouble.

const TERMINAL = ["done", "error", "cancelled"];
const NAMES = ["stage", "token", "tool", "reasoning", "data", "reset", ...TERMINAL, "keepalive"];
// The service is never silent for more than 15 s; a socket that is has died without telling.
const SILENCE_MS = 45_000;
const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 15_000;

const browser = {
  EventSource: globalThis.EventSource,
  setTimeout: (call, ms) => globalThis.setTimeout(call, ms),
  clearTimeout: (timer) => globalThis.clearTimeout(timer),
  now: () => performance.now(),
  random: Math.random,
};

export function delayBefore(attempt, random = Math.random) {
  const ceiling = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** attempt);
  return ceiling / 2 + (random() * ceiling) / 2;
}

/**
 * `on.event({name, id, data, at})` for every event, `on.connection(up)` when it is lost or back,
 * `on.refusal()` resolves to what keeps the log from us for good, or null; `on.gone(refusal)` follows.
 * Returns a function that stops following.
 */
export function follow(path, on, env = browser) {
  let source = null;
  let timer = null;
  let cursor = "";
  let failures = 0;
  let stopped = false;

  const stop = () => {
    stopped = true;
    env.clearTimeout(timer);
    source?.close();
  };

  const later = (call, ms) => {
    env.clearTimeout(timer);
    timer = env.setTimeout(call, ms);
  };

  const open = () => {
    const query = cursor ? `?last_event_id=${encodeURIComponent(cursor)}` : "";
    source = new env.EventSource(path + query);
    for (const name of NAMES) source.addEventListener(name, receive);
    source.addEventListener("open", () => on.connection(true));
    watch();
  };

  const watch = () => later(() => {
    source.close();
    on.connection(false);
    open();
  }, SILENCE_MS);

  // EventSource never comes back from a status other than 200, so a closed one is made anew.
  const revive = async () => {
    env.clearTimeout(timer);
    const refusal = await on.refusal();
    if (stopped) return undefined;
    if (refusal === null) return later(open, delayBefore(failures++, env.random));
    stop();
    return on.gone(refusal);
  };

  function receive(event) {
    if (stopped || event.target !== source) return undefined;
    if (typeof event.data !== "string") return lost();
    failures = 0;
    watch();
    if (event.type === "keepalive") return undefined;
    cursor = event.lastEventId;
    if (TERMINAL.includes(event.type)) stop();
    const data = JSON.parse(event.data);
    return on.event({ name: event.type, id: event.lastEventId, data, at: env.now() });
  }

  // `error` is the name of our own terminal event and of the browser's: only ours carries data.
  function lost() {
    on.connection(false);
    if (source.readyState === env.EventSource.CLOSED) revive();
  }

  open();
  return stop;
}
