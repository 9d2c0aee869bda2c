// The message box: a draft stays with its chat, and while an answer runs it says why it waits.

import { openId } from "./chats.js";
import { announce } from "./notices.js";
import { find } from "./view.js";

const HINT = "Enter sends, Shift + Enter starts a new line.";
const WAIT = "An answer is running. Send this once it is over, or stop it first.";

const message = find("message");
const drafts = new Map();
let chat = openId();

function write(text) {
  message.value = text;
  resize();
}

function hint(text) {
  find("hint").textContent = text;
  find("hint").classList.toggle("urgent", text === WAIT);
}

export const draft = () => message.value;

export const focus = () => message.focus();

/** Another chat is open: its draft instead of this one. */
export function turnTo(id) {
  drafts.set(chat, message.value);
  chat = id;
  write(drafts.get(id) ?? "");
}

/** The same draft is now for another chat. */
export function carryTo(id) {
  chat = id;
  if (message.value === "") write(drafts.get(id) ?? "");
}

/** Forgets what was sent, but not what has been written since. */
export function sent(id, text) {
  if (drafts.get(id) === text) drafts.delete(id);
  if (id === chat && message.value === text) write("");
}

export function resize() {
  message.rows = Math.min(8, message.value.split("\n").length);
}

export function setRunning(running) {
  if (!running && document.activeElement === find("stop")) focus();
  find("stop").hidden = !running;
  find("send").hidden = running;
  if (!running) hint(HINT);
}

export function askToWait() {
  hint(WAIT);
  announce(WAIT);
}
