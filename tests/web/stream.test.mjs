// How the page follows a log: what its client tells, passed on until the page wants no more.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Problem } from "../../interfaces/web/client.js";
import { follow } from "../../interfaces/web/stream.js";

const PATH = "/api/v1/chat/j/events";
const settled = () => new Promise((resolve) => { setImmediate(resolve); });

function followed(plays) {
  const seen = { events: [], connection: [], gone: [], asked: null };
  async function* events(path, options) {
    seen.asked = { path, ...options };
    for (const play of plays) {
      if (play instanceof Error) throw play;
      if (typeof play === "boolean") options.connection(play);
      else yield play;
      await settled();
    }
  }
  const stop = follow(PATH, {
    event: (event) => seen.events.push(event),
    connection: (up) => seen.connection.push(up),
    gone: (why) => seen.gone.push(why),
  }, { events, now: () => 7 });
  return { seen, stop };
}

const event = (id) => ({ name: "token", id, data: { content: "a" } });

async function all() {
  for (let turn = 0; turn < 9; turn++) await settled();
}

test("events come with their time, and the connection's ups and downs", async () => {
  const { seen } = followed([true, event("1-1"), false, true, event("1-2")]);
  await all();
  assert.equal(seen.asked.path, PATH);
  assert.deepEqual(seen.events, [{ ...event("1-1"), at: 7 }, { ...event("1-2"), at: 7 }]);
  assert.deepEqual(seen.connection, [true, false, true]);
});

test("a log that is refused for good is given up, and why is told", async () => {
  const refusal = new Problem(404);
  const { seen } = followed([event("1-1"), refusal]);
  await all();
  assert.deepEqual(seen.gone, [refusal]);
});

test("after stop nothing comes", async () => {
  const { seen, stop } = followed([event("1-1"), event("1-2"), new Problem(404)]);
  stop();
  await all();
  assert.deepEqual([seen.events, seen.gone], [[], []]);
  assert.equal(seen.asked.signal.aborted, true);
});
