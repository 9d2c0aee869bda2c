// How the page follows a log: with a scripted EventSource and clock, run with `node --test tests/web`.

import assert from "node:assert/strict";
import { test } from "node:test";

import { delayBefore, follow } from "../../interfaces/web/stream.js";

const PATH = "/api/v1/chat/j/events";

class ScriptedSource {
  static CLOSED = 2;
  static opened = [];
  readyState = 1;
  #listeners = {};

  constructor(url) {
    this.url = url;
    ScriptedSource.opened.push(this);
  }

  addEventListener(name, listener) {
    this.#listeners[name] = listener;
  }

  close() {
    this.readyState = ScriptedSource.CLOSED;
  }

  emit(type, id, data) {
    this.#listeners[type]({ type, lastEventId: id, data: JSON.stringify(data), target: this });
  }

  fail(readyState) {
    this.readyState = readyState;
    this.#listeners.error({ type: "error", target: this });
  }
}

function followed({ refusal = null } = {}) {
  ScriptedSource.opened = [];
  const seen = { events: [], connection: [], gone: [], delays: [], timer: null };
  const stop = follow(PATH, {
    event: (event) => seen.events.push(event),
    connection: (up) => seen.connection.push(up),
    refusal: async () => refusal,
    gone: (why) => seen.gone.push(why),
  }, {
    EventSource: ScriptedSource,
    setTimeout: (call, ms) => { seen.delays.push(ms); seen.timer = call; },
    clearTimeout: () => { seen.timer = null; },
    now: () => 7,
    random: () => 1,
  });
  return { seen, stop, opened: ScriptedSource.opened };
}

const settled = () => new Promise((resolve) => { setImmediate(resolve); });

test("delays double up to their limit, never below half of it", () => {
  assert.deepEqual([0, 1, 2, 3, 9].map((n) => delayBefore(n, () => 1)), [500, 1000, 2000, 4000, 15000]);
  assert.deepEqual([0, 9].map((n) => delayBefore(n, () => 0)), [250, 7500]);
});

test("a log is read from its beginning, event by event", () => {
  const { seen, opened } = followed();
  opened[0].emit("token", "1-1", { content: "a" });
  assert.equal(opened[0].url, PATH);
  assert.deepEqual(seen.events, [{ name: "token", id: "1-1", data: { content: "a" }, at: 7 }]);
});

test("keepalives are not events", () => {
  const { seen, opened } = followed();
  opened[0].emit("keepalive", "", {});
  assert.deepEqual(seen.events, []);
});

test("a terminal event closes the stream", () => {
  for (const name of ["done", "error", "cancelled"]) {
    const { seen, opened } = followed();
    opened[0].emit(name, "1-2", {});
    assert.equal(opened[0].readyState, ScriptedSource.CLOSED);
    assert.equal(seen.timer, null);
    assert.equal(seen.events.length, 1);
  }
});

test("while the browser reconnects by itself it is left to do so", async () => {
  const { seen, opened } = followed();
  opened[0].fail(0);
  await settled();
  assert.deepEqual(seen.connection, [false]);
  assert.equal(opened.length, 1);
});

test("a closed stream is made anew from the last event, later each time", async () => {
  const { seen, opened } = followed();
  opened[0].emit("token", "1-4", { content: "a" });
  for (const expected of [500, 1000, 2000]) {
    opened.at(-1).fail(ScriptedSource.CLOSED);
    await settled();
    assert.equal(seen.delays.at(-1), expected);
    seen.timer();
    assert.equal(opened.at(-1).url, `${PATH}?last_event_id=1-4`);
  }
  opened.at(-1).emit("token", "1-5", { content: "b" });
  opened.at(-1).fail(ScriptedSource.CLOSED);
  await settled();
  assert.equal(seen.delays.at(-1), 500);
});

test("a log that is refused for good is given up, and why is told", async () => {
  const refusal = { status: 404 };
  const { seen, opened } = followed({ refusal });
  opened[0].fail(ScriptedSource.CLOSED);
  await settled();
  assert.deepEqual(seen.gone, [refusal]);
  assert.equal(opened.length, 1);
});

test("a silent socket is replaced, and what it still brings is ignored", () => {
  const { seen, opened } = followed();
  opened[0].emit("token", "1-4", { content: "a" });
  seen.timer();
  assert.equal(opened[1].url, `${PATH}?last_event_id=1-4`);
  opened[0].emit("token", "1-5", { content: "b" });
  assert.equal(seen.events.length, 1);
});

test("after stop nothing comes and nothing is opened", async () => {
  const { seen, stop, opened } = followed();
  opened[0].fail(ScriptedSource.CLOSED);
  stop();
  await settled();
  opened[0].emit("token", "1-1", { content: "a" });
  assert.deepEqual([seen.events, seen.gone, seen.timer, opened.length], [[], [], null, 1]);
});
