// The page's logic without a page: run with `node --test tests/web`.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";

import { verify } from "../../interfaces/web/client.js";
import { answerOf, fold, fresh, pace } from "../../interfaces/web/fold.js";

const stage = (id, stage, status, progress = 0, at = 0) =>
  ({ name: "stage", id, data: { stage, status, progress }, at });
const token = (id, content, at = 0) => ({ name: "token", id, data: { content, node: "answer" }, at });
const reset = (id, reason) => ({ name: "reset", id, data: { reason }, at: 0 });
const done = (id, answer, more = {}) => ({
  name: "done", id, at: 0,
  data: {
    status: "completed", path: "A2", answer, finish_reason: "stop", length: [...answer].length,
    sha256: createHash("sha256").update(answer).digest("hex"), ...more,
  },
});
const checked = ({ text, end }, ...given) => verify(text, end, ...given);
const folded = (...events) => events.reduce(fold, fresh(0));

const ANSWER = [
  stage("1-1", "queued", "completed"), stage("1-2", "answer", "started", 50),
  token("1-3", "무색 "), token("1-4", "페트병 👩‍👩‍👧"), stage("1-5", "answer", "completed", 100),
  done("1-6", "무색 페트병 👩‍👩‍👧"),
];

test("tokens join to the answer", () => {
  assert.equal(folded(...ANSWER.slice(0, 4)).text, "무색 페트병 👩‍👩‍👧");
  assert.equal(answerOf(folded(...ANSWER)), "무색 페트병 👩‍👩‍👧");
});

test("an event seen before changes nothing, at every position", () => {
  for (let cut = 1; cut <= ANSWER.length; cut++) {
    const once = folded(...ANSWER.slice(0, cut));
    assert.equal(ANSWER.slice(0, cut).reduce(fold, once), once);
    assert.deepEqual(ANSWER.reduce(fold, once), folded(...ANSWER));
  }
});

test("nothing goes on behind an end, whatever it was", () => {
  const ends = [
    done("1-3", "whole"),
    { name: "error", id: "1-3", at: 0, data: { status: "failed", code: "internal" } },
    { name: "cancelled", id: "1-3", at: 0, data: { status: "cancelled", reason: "user" } },
  ];
  for (const end of ends) {
    const { stages } = folded(ANSWER[0], stage("1-2", "answer", "started", 50), end);
    assert.deepEqual(stages.map(({ status }) => status), ["completed", "stopped"]);
  }
});

test("without tokens the answer comes with done", () => {
  const state = folded(ANSWER[0], done("1-2", "whole", { path: "A1" }));
  assert.equal(answerOf(state), "whole");
});

test("a revised answer drops the text and keeps the stages", () => {
  const state = folded(...ANSWER.slice(0, 4), reset("1-5", "revised"), token("1-6", "better"));
  assert.equal(state.text, "better");
  assert.deepEqual(state.stages.map(({ name }) => name), ["queued", "answer"]);
});

test("a new attempt drops text, stages and progress", () => {
  const state = folded(...ANSWER.slice(0, 4), reset("2-1", "new_attempt"));
  assert.deepEqual([state.text, state.stages, state.progress], ["", [], 0]);
  assert.equal(fold(state, token("1-5", "of the first attempt")), state);
  assert.equal(fold(state, token("2-2", "again")).text, "again");
});

test("an unknown cursor replays everything from its reset on", () => {
  const lost = folded(...ANSWER.slice(0, 4));
  const state = [reset("1-0", "cursor_unknown"), ...ANSWER].reduce(fold, lost);
  assert.equal(state.text, answerOf(folded(...ANSWER)));
  assert.equal(state.stages.length, 2);
});

test("nothing follows a terminal event", () => {
  const state = folded(...ANSWER);
  assert.equal(fold(state, token("1-7", "late")), state);
});

test("a stage that starts beside a running one shares its column", () => {
  const state = folded(
    stage("1-1", "queued", "completed"), stage("1-2", "a", "started"), stage("1-3", "b", "started"),
    stage("1-4", "a", "completed"), stage("1-5", "b", "completed"), stage("1-6", "c", "started"),
  );
  assert.deepEqual(state.stages.map(({ name, column, status }) => [name, column, status]), [
    ["queued", 1, "completed"], ["a", 2, "completed"], ["b", 2, "completed"], ["c", 3, "running"],
  ]);
});

test("a stage that runs again is counted, not doubled", () => {
  const state = folded(
    stage("1-1", "a", "started"), stage("1-2", "a", "completed"), stage("1-3", "a", "started"));
  assert.deepEqual(state.stages.map(({ runs, status }) => [runs, status]), [[2, "running"]]);
});

test("a cancelled job stops the stages that were open", () => {
  const cancelled = { name: "cancelled", id: "1-3", data: { reason: "user" }, at: 0 };
  const state = folded(stage("1-1", "queued", "completed"), stage("1-2", "a", "started"), cancelled);
  assert.deepEqual(state.stages.map(({ status }) => status), ["completed", "stopped"]);
  assert.equal(state.end.reason, "user");
});

const tool = (id, call_id, status, more = {}) =>
  ({ name: "tool", id, data: { call_id, name: "add", node: "tools", status, ...more }, at: 0 });
const reasoning = (id, content, node = "answer") => ({ name: "reasoning", id, data: { content, node }, at: 0 });

test("a tool's card fills, and its id may come again when it is over", () => {
  const state = folded(
    tool("1-1", "a", "started"), tool("1-2", "b", "started", { parent: "a" }),
    tool("1-3", "a", "arguments", { arguments: "{}" }), tool("1-4", "a", "completed", { result: "3" }),
    tool("1-5", "b", "failed"), tool("1-6", "a", "started"),
  );
  assert.deepEqual(state.beside.map(({ id, parent, status, arguments: given, result }) =>
    [id, parent, status, given, result]), [
    ["a", null, "completed", "{}", "3"], ["b", "a", "failed", null, null], ["a", null, "started", null, null],
  ]);
});

test("reasoning of one node is one until something else comes between", () => {
  const data = { name: "data", id: "1-4", data: { name: "sources", data: [1], node: "find" }, at: 0 };
  const state = folded(
    reasoning("1-1", "a"), reasoning("1-2", "b"), reasoning("1-3", "c", "other"), data, reasoning("1-5", "d", "other"));
  assert.deepEqual(state.beside.map(({ text, data: given }) => text ?? given), ["ab", "c", [1], "d"]);
  assert.equal(state.text, "");
});

test("a revised text keeps what stands beside it, a new attempt does not", () => {
  const state = folded(tool("1-1", "a", "started"), reasoning("1-2", "b"));
  assert.equal(fold(state, reset("1-3", "revised")).beside.length, 2);
  assert.deepEqual(fold(state, reset("2-1", "new_attempt")).beside, []);
});

test("an end stops the tools that were open", () => {
  const cancelled = { name: "cancelled", id: "1-4", data: { reason: "user" }, at: 0 };
  const state = folded(tool("1-1", "a", "completed"), tool("1-2", "b", "started"), cancelled);
  assert.deepEqual(state.beside.map(({ status }) => status), ["completed", "stopped"]);
});

test("progress never falls", () => {
  assert.equal(folded(stage("1-1", "a", "started", 40), stage("1-2", "b", "started", 30)).progress, 40);
});

test("a joined token counts as all the tokens in it", () => {
  const state = folded(token("1-1", "a", 1000), token("1-11", "b".repeat(10), 2000));
  assert.equal(state.tokens, 11);
  assert.deepEqual(pace(state), { firstToken: 1, tokensPerSecond: 10, total: null });
});

test("a replayed job has no pace", () => {
  assert.deepEqual(pace([token("1-1", "a", 5)].reduce(fold, fresh())), {});
});

test("the answer is checked against its length and its checksum", async () => {
  const last = ANSWER.length - 1;
  const but = (more) => folded(...ANSWER.slice(0, last), { ...ANSWER[last], data: { ...ANSWER[last].data, ...more } });
  assert.equal(await checked(folded(...ANSWER)), "verified");
  assert.equal(await checked(folded(...ANSWER), null), "unverified");
  assert.equal(await checked(but({ sha256: "0".repeat(64) })), "broken");
  assert.equal(await checked(but({ length: 3 })), "broken");
  assert.equal(await checked(but({ answer: "other" })), "broken");
});
