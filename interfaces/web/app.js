// What can be done on the page: each event of the browser, and what answers to it.

import * as chats from "./chats.js";
import * as composer from "./composer.js";
import { edit } from "./edit.js";
import { guarded, quietly } from "./notices.js";
import * as thread from "./thread.js";
import { find } from "./view.js";

let updating = null;

async function send(text) {
  if (text.trim() === "" || find("send").disabled) return;
  if (thread.isRunning()) {
    composer.askToWait();
    return;
  }
  find("send").disabled = true;
  await guarded(() => thread.ask(text)).finally(() => { find("send").disabled = false; });
  composer.focus();
}

/** Who comes back to the page finds on it what was done elsewhere. */
function update() {
  if (document.visibilityState === "hidden") return;
  updating ??= Promise.all([quietly(thread.refresh), quietly(chats.refresh)])
    .finally(() => { updating = null; });
}

find("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  send(composer.draft());
});

find("message").addEventListener("keydown", (event) => {
  // Enter that ends a composition belongs to the input method; Safari tells so by 229 alone.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  send(composer.draft());
});

find("message").addEventListener("input", composer.resize);

find("stop").addEventListener("click", () => guarded(thread.stop));

find("ideas").addEventListener("click", ({ target }) => {
  if (target.tagName === "BUTTON") send(target.textContent);
});

find("more").addEventListener("click", () => guarded(chats.showMore));

find("chat-list").addEventListener("click", async ({ target }) => {
  const button = target.closest("button");
  if (!button) return;
  await guarded(() => edit(chats.named(button.value)));
  quietly(thread.refresh);
  // On a narrow screen the list is closed by now, and a deleted chat is not in it.
  if (!button.checkVisibility()) composer.focus();
});

find("new").addEventListener("click", () => {
  chats.close();
  composer.focus();
});

find("skip").addEventListener("click", (event) => {
  event.preventDefault();
  composer.focus();
});

addEventListener("hashchange", () => {
  composer.turnTo(chats.openId());
  thread.open(chats.openId());
});
document.addEventListener("visibilitychange", update);
addEventListener("focus", update);

guarded(chats.refresh);
thread.open(chats.openId());
