// Follows one job for the page, until its terminal event or until it is told to stop.

import { follow as eventsOf } from "./api.js";
import { Problem } from "./client.js";

/**
 * `on.event({name, id, data, at})` for every event, `on.connection(up)` when it is lost or back,
 * `on.gone(problem)` for what keeps the log from us for good. Returns a function that stops.
 */
export function follow(path, on, { events = eventsOf, now = () => performance.now() } = {}) {
  const leaving = new AbortController();
  const { signal } = leaving;

  async function read() {
    try {
      for await (const event of events(path, { signal, connection: on.connection })) {
        if (signal.aborted) return;
        on.event({ ...event, at: now() });
      }
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (!signal.aborted) on.gone(problem);
    }
  }

  read();
  return () => leaving.abort();
}
