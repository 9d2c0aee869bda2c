// What answers a question of a graph: run with `node --test tests/web`.

import assert from "node:assert/strict";
import { test } from "node:test";

import { choices, fieldsOf, valueOf } from "../../interfaces/web/answers.js";
import { fold, fresh } from "../../interfaces/web/fold.js";

const approval = (more) => choices({ kind: "approval", prompt: "Send it?", ...more });
const FORM = {
  type: "object",
  properties: {
    to: { type: "string", title: "To" },
    copies: { type: "integer", default: 1 },
    now: { type: "boolean" },
    how: { enum: ["post", "mail"] },
    more: { type: "array" },
  },
  required: ["to"],
};
const asked = (id, input_id, expires_at = "") =>
  ({ name: "needs_input", id, data: { input_id, prompt: "?", kind: "text", expires_at }, at: 0 });
const token = (id) => ({ name: "token", id, data: { content: "a", node: "n" }, at: 0 });
const ids = (state) => state.asked.map((one) => one.input_id);

test("yes and no are what the question takes for them", () => {
  assert.deepEqual(approval({}), { yes: true, no: false });
  assert.deepEqual(approval({ schema: { type: "boolean" } }), { yes: true, no: false });
  assert.deepEqual(approval({ prompt: { type: "tool_approval", name: "send" }, schema: { type: "object" } }), {
    yes: { type: "approve" }, no: { type: "reject" },
  });
  assert.deepEqual(approval({ prompt: { action_requests: [{}, {}] } }).no, {
    decisions: [{ type: "reject" }, { type: "reject" }],
  });
  const decision = { type: "object", properties: { type: { enum: ["approve", "reject"] } } };
  assert.deepEqual(approval({ schema: decision }).no, { type: "reject" });
  assert.equal(approval({ schema: { type: "object" } }), null);
  assert.deepEqual(choices({ kind: "form", prompt: "Go?", schema: { type: "boolean" } }), { yes: true, no: false });
  assert.equal(choices({ kind: "text", prompt: "Who?" }), null);
});

test("a schema's properties are fields, and what they hold is its value", () => {
  const fields = fieldsOf({ kind: "form", schema: FORM });
  assert.deepEqual(fields.map((one) => one.type), ["text", "number", "flag", "choice", "json"]);
  assert.deepEqual(fields.map((one) => one.label), ["To", "copies", "now", "how", "more"]);
  assert.deepEqual(valueOf(fields, ["Ann", "2", true, "1", "[1]"]), {
    to: "Ann", copies: 2, now: true, how: "mail", more: [1],
  });
  assert.deepEqual(valueOf(fields, ["", "", false, "", ""]), { to: "", now: false });
  assert.throws(() => valueOf(fields, ["Ann", "", false, "", "[1"]), SyntaxError);
});

test("any other value is one field", () => {
  const value = (schema, given, kind = "form") => valueOf(fieldsOf({ kind, schema }), [given]);
  assert.equal(value(undefined, "Ann", "text"), "Ann");
  assert.deepEqual(value(undefined, '{"a":1}'), { a: 1 });
  assert.equal(value({ type: "string" }, ""), "");
  assert.equal(value({ type: "number" }, "1.5"), 1.5);
  assert.equal(value({ enum: [7, null] }, "1"), null);
  assert.equal(value({ type: "boolean" }, false), false);
  assert.deepEqual(value({ type: "array" }, "[]"), []);
});

test("questions stand together until anything else comes", () => {
  const both = [asked("1-1", "a"), asked("1-2", "b")].reduce(fold, fresh());
  assert.deepEqual(ids(both), ["a", "b"]);
  const goesOn = fold(both, token("1-3"));
  assert.deepEqual(ids(goesOn), []);
  assert.equal(fold(goesOn, token("1-4")).asked, goesOn.asked);
  assert.deepEqual(ids(fold(goesOn, asked("1-5", "c"))), ["c"]);
  assert.deepEqual(ids(fold(both, asked("1-3", "d", "later"))), ["d"]);
});
