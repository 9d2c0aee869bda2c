// A chat gets another title, or is deleted. The browser's own dialogs keep the focus and know Escape.

import * as api from "./api.js";
import { drop, openId, refresh, titleOf } from "./chats.js";
import { find } from "./view.js";

function answerOf(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true });
  });
}

export async function edit(chat) {
  find("edit-title").value = chat.title ?? "";
  const choice = await answerOf(find("edit"));
  if (choice === "save") await rename(chat, find("edit-title").value.trim() || null);
  else if (choice !== "delete" || !(await remove(chat))) return;
  await refresh();
}

async function rename(chat, title) {
  await api.rename(chat.id, title);
  chat.title = title;
}

async function remove(chat) {
  find("doomed").textContent = titleOf(chat);
  if ((await answerOf(find("confirm"))) !== "delete") return false;
  // Left before it goes, so that nobody is told that it went.
  if (chat.id === openId()) location.hash = "";
  await api.remove(chat.id);
  drop(chat.id);
  return true;
}
