// The list of chats. The address holds the open one, so links, reload and the back button just work.

import { listChats } from "./api.js";
import { find } from "./view.js";

const PREFIX = "#chat=";
let next = null;

export const openId = () =>
  (location.hash.startsWith(PREFIX) ? decodeURIComponent(location.hash.slice(PREFIX.length)) : null);

/** Puts a chat into the address without loading it again. */
export function adopt(id) {
  history.replaceState(null, "", PREFIX + encodeURIComponent(id));
}

export async function refresh() {
  const page = await listChats();
  find("chat-list").replaceChildren();
  show(page);
}

export function mark() {
  for (const link of find("chat-list").querySelectorAll("a")) {
    if (link.hash === location.hash) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function show({ items, next_cursor: cursor }) {
  next = cursor;
  find("more").hidden = !cursor;
  find("chat-list").append(...items.map(entry));
  mark();
}

function entry({ id, title, created_at: at }) {
  const link = document.createElement("a");
  link.href = PREFIX + encodeURIComponent(id);
  link.dir = "auto";
  link.textContent = title || "Untitled chat";
  link.title = new Date(at).toLocaleString();
  link.addEventListener("click", close);
  const item = document.createElement("li");
  item.append(link);
  return item;
}

// A popover only on narrow screens; elsewhere it stands beside the thread and hiding does nothing.
export const close = () => find("chats").hidePopover();

export const showMore = async () => show(await listChats(next));
