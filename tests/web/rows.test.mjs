// In which order a chat stands on the page: run with `node --test tests/web`.

import assert from "node:assert/strict";
import { test } from "node:test";

import { merge, questionOf, rowsOf } from "../../interfaces/web/rows.js";

const user = (job_id, id = `q${job_id}`) => ({ role: "user", id, content: "q", job_id, status: "completed" });
const assistant = (job_id, status = "completed") =>
  ({ role: "assistant", id: `a${job_id}`, content: "a", job_id, status });
const shape = (rows) => rows.map(({ role, job, live }) => `${role}:${job}${live ? ":live" : ""}`);
const shown = (chat) => shape(rowsOf(chat));
const answering = (job) => ({ role: "assistant", text: "", status: null, job });

test("the job that runs is shown live, behind its own question", () => {
  const items = [user("1"), assistant("1"), user("2"), user("3")];
  assert.deepEqual(shown({ items, active_job_id: "2" }),
    ["user:1", "assistant:1", "user:2", "assistant:2:live", "user:3"]);
});

test("with nothing running the last answer is shown from its log, kept or not", () => {
  assert.deepEqual(shown({ items: [user("1"), assistant("1")], active_job_id: null }),
    ["user:1", "assistant:1:live"]);
  assert.deepEqual(shown({ items: [user("1")], active_job_id: null }), ["user:1", "assistant:1:live"]);
  assert.deepEqual(shown({ items: [], active_job_id: null }), []);
});

test("a retry runs live behind the older answers, and its question has become its own", () => {
  const items = [user("2"), assistant("1", "cancelled"), user("3"), assistant("3")];
  const before = ["user:2", "assistant:1", "assistant:2:live"];
  assert.deepEqual(shown({ items: items.slice(0, 2), active_job_id: "2" }), before);
  assert.deepEqual(shown({ items, active_job_id: "2" }), [...before, "user:3", "assistant:3"]);
});

test("a retry that failed without a word is told of behind the answer before it", () => {
  assert.deepEqual(shown({ items: [user("2"), assistant("1", "cancelled")], active_job_id: null }),
    ["user:2", "assistant:1", "assistant:2:live"]);
});

test("what happened elsewhere takes its place, and what stands stays the same", () => {
  const rows = rowsOf({ items: [user("1"), assistant("1")], active_job_id: null });
  const items = [user("1"), assistant("1"), user("2"), assistant("2"), user("3")];
  const merged = merge(rows, rowsOf({ items, active_job_id: "3" }));
  assert.deepEqual(shape(merged),
    ["user:1", "assistant:1:live", "user:2", "assistant:2", "user:3", "assistant:3:live"]);
  assert.deepEqual(merged.slice(0, 2).map((row, at) => row === rows[at]), [true, true]);
});

test("merged again, nothing is doubled", () => {
  const rows = rowsOf({ items: [user("1"), assistant("1"), user("2")], active_job_id: "2" });
  assert.deepEqual(merge(rows, rowsOf({ items: [user("1"), assistant("1")], active_job_id: null })), rows);
  assert.deepEqual(merge(rows, rows), rows);
});

test("a question from another tab stands before the one asked here after it", () => {
  const asked = [{ role: "user", text: "b", job: "3" }, answering("3")];
  const items = [user("1"), assistant("1"), user("2"), assistant("2"), user("3")];
  const rows = [...rowsOf({ items: items.slice(0, 2), active_job_id: null }), ...asked];
  const merged = merge(rows, rowsOf({ items, active_job_id: "3" }));
  assert.deepEqual(shape(merged),
    ["user:1", "assistant:1:live", "user:2", "assistant:2", "user:3", "assistant:3"]);
  assert.equal(merged[4], asked[0]);
  assert.equal(asked[0].id, "q3");
});

test("a question tried again elsewhere is not doubled, and its new answer comes last", () => {
  const rows = rowsOf({ items: [user("1"), assistant("1", "failed"), user("5")], active_job_id: null });
  const items = [user("2", "q1"), assistant("1", "failed"), user("5")];
  assert.deepEqual(shape(merge(rows, rowsOf({ items, active_job_id: "2" }))),
    ["user:2", "assistant:1", "assistant:2:live", "user:5", "assistant:5:live"]);
});

test("an answer that the chat does not keep stays behind its question", () => {
  const failed = answering("1");
  const rows = [{ role: "user", id: "q1", text: "q", job: "1" }, failed];
  const retried = merge(rows, rowsOf({ items: [user("2", "q1")], active_job_id: "2" }));
  assert.deepEqual(shape(retried), ["user:2", "assistant:1", "assistant:2:live"]);
  const later = merge(retried, rowsOf({ items: [user("2", "q1"), assistant("2"), user("3")], active_job_id: "3" }));
  assert.deepEqual(shape(later),
    ["user:2", "assistant:1", "assistant:2:live", "user:3", "assistant:3:live"]);
  assert.equal(later[1], failed);
});

test("an answer's question is the one before it, whatever stands between", () => {
  const rows = rowsOf({ items: [user("2"), assistant("1", "failed"), user("3")], active_job_id: "2" });
  assert.equal(questionOf(rows, rows[2]), rows[0]);
});
