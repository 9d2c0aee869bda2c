// What the browser's client asks and makes of the answers: a scripted fetch and clock.

import assert from "node:assert/strict";
import { test } from "node:test";

import { connect, delayBefore, Problem } from "../../interfaces/web/client.js";

const PATH = "/api/v1/chat/j/events";
const frame = (name, id, data) => `event: ${name}\nid: ${id}\ndata: ${JSON.stringify(data)}\n\n`;
const token = (id, content) => frame("token", id, { content, node: "answer" });
const DONE = frame("done", "1-9", { status: "completed" });

/** A body in these pieces, then a proper end, or a cut where the last one is an Error. */
const streaming = (pieces, headers = {}) => new Response(new ReadableStream({
  pull(controller) {
    const piece = pieces.shift();
    if (piece instanceof Error) controller.error(piece);
    else if (piece === undefined) controller.close();
    else controller.enqueue(typeof piece === "string" ? new TextEncoder().encode(piece) : piece);
  },
}), { headers: { "Content-Type": "text/event-stream", ...headers } });

const refusing = (status, body = {}, headers = {}) =>
  new Response(status === 204 ? null : JSON.stringify(body), { status, headers });

function scripted(...answers) {
  const asked = [];
  const delays = [];
  const env = {
    fetch: async (url, options) => {
      asked.push({ url, ...options });
      const answer = answers.shift();
      if (answer instanceof Error) throw answer;
      return answer;
    },
    setTimeout: (call, ms) => {
      delays.push(ms);
      if (ms < 45_000) setImmediate(call);
      return ms;
    },
    clearTimeout: () => {},
  };
  const waits = () => delays.filter((ms) => ms < 45_000);
  return { client: connect({ env, headers: { Authorization: "Bearer t" } }), asked, waits };
}

async function all(events) {
  const found = [];
  for await (const event of events) found.push(event);
  return found;
}

test("delays double up to their limit, never below half of it", () => {
  assert.deepEqual([0, 1, 2, 3, 9].map((n) => delayBefore(n, () => 1)), [500, 1000, 2000, 4000, 15000]);
  assert.deepEqual([0, 9].map((n) => delayBefore(n, () => 0)), [250, 7500]);
});

test("a log is read from its beginning to its end, and keepalives are no events", async () => {
  const body = ["retry: 1000\n\n", token("1-1", "a"), 'event: keepalive\ndata: {}\n\n', DONE, token("1-10", "b")];
  const { client, asked } = scripted(streaming(body));
  assert.deepEqual(await all(client.follow(PATH)), [
    { name: "token", id: "1-1", data: { content: "a", node: "answer" } },
    { name: "done", id: "1-9", data: { status: "completed" } },
  ]);
  assert.equal(asked[0].url, PATH);
  assert.equal(asked[0].headers.Accept, "text/event-stream");
  assert.equal(asked[0].headers.Authorization, "Bearer t");
  assert.equal("Last-Event-ID" in asked[0].headers, false);
});

test("a frame may come in any pieces, inside a character too", async () => {
  const bytes = new TextEncoder().encode(token("1-1", "무색: a: b") + DONE);
  const { client } = scripted(streaming([...bytes].map((byte) => Uint8Array.of(byte))));
  assert.equal((await all(client.follow(PATH)))[0].data.content, "무색: a: b");
});

test("behind a cut, an early end and a torn frame it goes on after the last whole event", async () => {
  const { client, asked, waits } = scripted(
    streaming([token("1-1", "a"), new TypeError("network error")]),
    streaming([token("1-2", "b"), "event: token\nid: 1-3"]),
    new TypeError("Failed to fetch"),
    streaming([token("1-3", "c"), DONE]),
  );
  const ups = [];
  const events = await all(client.follow(PATH, { connection: (up) => ups.push(up) }));
  assert.deepEqual(events.map(({ id }) => id), ["1-1", "1-2", "1-3", "1-9"]);
  assert.deepEqual(asked.map(({ headers }) => headers["Last-Event-ID"]), [undefined, "1-1", "1-2", "1-2"]);
  assert.deepEqual(ups, [true, false, true, false, false, true]);
  assert.ok(waits().every((ms, at) => ms <= [500, 500, 1000][at]));
});

test("what will pass is waited out, as long as it says", async () => {
  const { client, waits } = scripted(
    refusing(429, {}, { "Retry-After": "7" }),
    refusing(503),
    streaming(["retry: 4200\n\n"]),
    streaming([DONE]),
  );
  await all(client.follow(PATH));
  assert.equal(waits()[0], 7000);
  assert.ok(waits()[1] <= 1000);
  assert.equal(waits()[2], 4200);
});

test("what will not pass is thrown, with what may be shown of it", async () => {
  for (const status of [400, 401, 403, 404]) {
    const { client } = scripted(refusing(status, { detail: "No.", code: "c" }));
    await assert.rejects(all(client.follow(PATH)), (problem) =>
      problem instanceof Problem && problem.status === status && problem.message === "No." && problem.code === "c");
  }
});

test("who had everything gets nothing", async () => {
  const { client, asked } = scripted(refusing(204));
  assert.deepEqual(await all(client.follow(PATH, { after: "1-9" })), []);
  assert.equal(asked[0].headers["Last-Event-ID"], "1-9");
});

test("an aborted signal ends it without a word, wherever it is", async () => {
  const leaving = new AbortController();
  const { client } = scripted(streaming([token("1-1", "a"), token("1-2", "b"), DONE]), new TypeError("cut"));
  const events = client.follow(PATH, { signal: leaving.signal });
  assert.equal((await events.next()).value.id, "1-1");
  leaving.abort();
  assert.equal((await events.next()).done, true);
  assert.deepEqual(await all(client.follow(PATH, { signal: leaving.signal })), []);
});

test("one request asks and follows; its key is the same until a stream has come of it", async () => {
  const { client, asked } = scripted(
    new TypeError("cut"),
    streaming([token("1-1", "a"), new TypeError("cut")], { "Content-Location": PATH }),
    streaming([DONE]),
  );
  const events = await all(client.ask({ message: "Why?" }, { chat: "a/b" }));
  assert.deepEqual(events.map(({ id }) => id), ["1-1", "1-9"]);
  assert.deepEqual(asked.map(({ method, url }) => `${method} ${url}`), [
    "POST /api/v1/chat/a%2Fb/messages", "POST /api/v1/chat/a%2Fb/messages", `GET ${PATH}`,
  ]);
  assert.equal(asked[0].headers["Idempotency-Key"], asked[1].headers["Idempotency-Key"]);
  assert.equal(asked[0].headers.Accept, "text/event-stream");
  assert.equal(asked[0].body, '{"message":"Why?"}');
});

test("a question is submitted, and a job cancelled", async () => {
  const { client, asked } = scripted(refusing(202, { job_id: "j" }), refusing(202, null));
  assert.deepEqual(await client.submit({ message: "Why?" }, { key: "k" }), { job_id: "j" });
  assert.equal(await client.cancel("j/x"), null);
  assert.deepEqual(asked.map(({ method, url }) => `${method} ${url}`), ["POST /api/v1/chat", "DELETE /api/v1/jobs/j%2Fx"]);
  assert.equal(asked[0].headers["Idempotency-Key"], "k");
});

test("where nobody answers, a call says so", async () => {
  const { client } = scripted(new TypeError("Failed to fetch"));
  await assert.rejects(client.cancel("j"), (problem) => problem.status === 0);
});
