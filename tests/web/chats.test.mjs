// What the list of chats keeps when it is read again: run with `node --test tests/web`.

import assert from "node:assert/strict";
import { test } from "node:test";

import { relisted } from "../../interfaces/web/chats.js";

const chats = (ids) => [...ids].map((id) => ({ id, title: id }));
const again = (listed, next, ids, cursor) => {
  const list = relisted({ listed: chats(listed), next }, { items: chats(ids), next_cursor: cursor });
  return [list.listed.map(({ id }) => id).join(""), list.next];
};

test("the newest chats are as the service has them now", () => {
  assert.deepEqual(again("", null, "ab", null), ["ab", null]);
  assert.deepEqual(again("bc", null, "abc", null), ["abc", null]);
  assert.deepEqual(again("abc", null, "ac", null), ["ac", null]);
});

test("older chats that were asked for stay, with where to ask on", () => {
  assert.deepEqual(again("bcdefg", "g", "bcd", "d"), ["bcdefg", "g"]);
  assert.deepEqual(again("bcdefg", "g", "abc", "c"), ["abcdefg", "g"]);
  assert.deepEqual(again("bcdefg", "g", "cde", "e"), ["cdefg", "g"]);
});

test("chats with nothing in common with the list replace it", () => {
  assert.deepEqual(again("def", "f", "abc", "c"), ["abc", "c"]);
});
