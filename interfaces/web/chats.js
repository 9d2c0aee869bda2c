// The list of chats. The address holds the open one, so links, reload and the back button just work.

import { listChats } from "./api.js";
import { arrange, find } from "./view.js";

const PREFIX = "#chat=";
const entries = new Map();
let listed = [];
let next = null;

export function openId() {
  if (!location.hash.startsWith(PREFIX)) return null;
  try {
    return decodeURIComponent(location.hash.slice(PREFIX.length));
  } catch { // not written by this page
    return null;
  }
}

/** Puts a chat into the address without loading it again. */
export function adopt(id) {
  history.replaceState(null, "", PREFIX + encodeURIComponent(id));
}

/** Takes a chat that is no more out of the address. */
export const leave = () => history.replaceState(null, "", "#");

export const titleOf = (chat) => chat.title || "Untitled chat";

export const named = (id) => listed.find((chat) => chat.id === id);

/** A chat beyond the newest ones, which `refresh` does not look at, may be gone as well. */
export function drop(id) {
  listed = listed.filter((chat) => chat.id !== id);
}

export async function refresh() {
  show(relisted({ listed, next }, await listChats()));
}

/** The newest chats as they are now; what "older" had brought before stays behind them. */
export function relisted({ listed: before, next: older }, { items, next_cursor: cursor }) {
  const ids = new Set(items.map(({ id }) => id));
  const shared = before.findLastIndex(({ id }) => ids.has(id));
  const rest = cursor !== null && shared >= 0 ? before.slice(shared + 1) : [];
  return { listed: [...items, ...rest], next: rest.length > 0 ? older : cursor };
}

export async function showMore() {
  const { items, next_cursor: cursor } = await listChats(next);
  show({ listed: [...listed, ...items], next: cursor });
}

export function mark() {
  for (const link of find("chat-list").querySelectorAll("a")) {
    if (link.hash === location.hash) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function show(list) {
  ({ listed, next } = list);
  find("more").hidden = !next;
  arrange(find("chat-list"), listed.map(entry));
  mark();
}

function entry(chat) {
  const item = entries.get(chat.id) ?? newEntry(chat);
  entries.set(chat.id, item);
  item.querySelector("a").textContent = titleOf(chat);
  item.querySelector("button").setAttribute("aria-label", `Edit ${titleOf(chat)}`);
  return item;
}

function newEntry({ id, created_at: at }) {
  const item = find("entry-template").content.firstElementChild.cloneNode(true);
  const link = item.querySelector("a");
  link.href = PREFIX + encodeURIComponent(id);
  link.title = new Date(at).toLocaleString();
  link.addEventListener("click", close);
  item.querySelector("button").value = id;
  return item;
}

// A popover only on narrow screens; elsewhere it stands beside the thread and hiding does nothing.
export const close = () => find("chats").hidePopover();
