// The open chat: its rows on the page, rebuilt after a reload, and the one answer being followed.

import * as api from "./api.js";
import * as chats from "./chats.js";
import * as composer from "./composer.js";
import { newKey, verify } from "./client.js";
import { fold, fresh } from "./fold.js";
import { announce, complain, guarded, quietly, reached } from "./notices.js";
import { merge, questionOf, rowsOf } from "./rows.js";
import { toEnd } from "./scroll.js";
import { follow } from "./stream.js";
import { AnswerView, arrange, find, questionRow } from "./view.js";

const LOST = "This chat was deleted, or it is not yours. Here is a new one.";

let rows = [];
let runningJob = null;
let unsent = null;
let stopFollowing = () => {};

export const isRunning = () => runningJob !== null;
export const stop = () => api.cancel(runningJob);

function setRunning(job) {
  runningJob = job;
  composer.setRunning(job !== null);
}

function setTitle(title) {
  find("title").textContent = title;
  document.title = `${title} · Sluice`;
}

export function open(id) {
  stopFollowing();
  setRunning(null);
  complain(null);
  rows = [];
  find("messages").replaceChildren();
  find("welcome").hidden = id !== null;
  setTitle(id === null ? "New chat" : "Chat");
  chats.mark();
  toEnd();
  return guarded(refresh);
}

/** Brings the page up to what the chat holds: it may be asked, renamed and deleted elsewhere. */
export async function refresh() {
  const id = chats.openId();
  if (id === null) return;
  const chat = await api.readChat(id).catch(unlessMissing);
  if (id !== chats.openId()) return;
  if (chat === null) {
    leave();
    return;
  }
  setTitle(chat.title || "Untitled chat");
  show(rowsOf(chat));
  const active = chat.active_job_id;
  if (active !== null) resume(rows.find((row) => row.live && row.job === active));
  else if (!isRunning()) replay(rows.find((row) => row.live && !row.followed));
}

// What was found running may have ended while the finding was on its way.
function resume(row) {
  if (row && !row.ended && row.job !== runningJob) attach(row, { running: true });
}

function replay(row) {
  if (row) attach(row, { running: false });
}

function unlessMissing(problem) {
  if (problem.status !== 404) throw problem;
  return null;
}

function leave() {
  chats.leave();
  composer.carryTo(null);
  open(null);
  complain({ message: LOST });
  quietly(chats.refresh);
}

function show(more) {
  rows = merge(rows, more);
  for (const row of rows) row.element ??= elementOf(row);
  rows.forEach((row, at) => { if (rows[at + 1]?.role === "assistant") row.view?.retry.remove(); });
  find("welcome").hidden = true;
  arrange(find("messages"), rows.map((row) => row.element));
  find("messages").dispatchEvent(new CustomEvent("drawn", { bubbles: true }));
}

function elementOf(row) {
  if (row.role === "user") return questionRow(row.text);
  row.view = new AnswerView(row, (asked, value) => api.giveInput(row.job, asked, value));
  row.view.retry.addEventListener("click", () => guarded(() => retry(row)));
  return row.view.row;
}

function attach(row, { running, url = api.eventsOf(row.job) }) {
  stopFollowing();
  // What is left half read, behind a lost connection maybe, is read to its end later.
  for (const other of rows) if (other.followed && !other.ended) other.followed = false;
  row.followed = true;
  setRunning(running ? row.job : null);
  let state = fresh(row.askedAt);
  const connection = (up) => {
    row.view.connection(up);
    if (up) reached();
  };
  stopFollowing = follow(url, {
    connection,
    event(event) {
      connection(true);
      state = fold(state, event);
      // A text that stands here whole need not come again word by word.
      if (row.status === null || state.end) row.view.render(state);
      if (event.name === "needs_input" && running) announce("The answer waits for you.");
      if (event.name === "stage" && running) announce(`${event.data.stage}: ${event.data.status}`);
      if (state.end) finish(row, state, running);
    },
    gone(problem) {
      row.ended = problem.status === 404;
      row.view.gone(problem);
      reached();
      if (running) over();
    },
  });
}

async function finish(row, state, running) {
  const { name, message: why, offline_model: offline } = state.end;
  row.ended = true;
  if (offline) find("offline").hidden = false;
  if (running) {
    complain(null);
    announce({ done: "The answer is complete.", error: why, cancelled: "Stopped." }[name]);
    over();
  }
  if (name === "done") row.view.verified(await verify(state.text, state.end), state);
}

// Another tab may have asked in this chat meanwhile; its job runs next.
function over() {
  setRunning(null);
  quietly(refresh);
}

export async function ask(text) {
  const id = chats.openId();
  // Sent again after a lost answer, the same question must not be asked twice.
  if (unsent?.text !== text || unsent.id !== id) unsent = { text, id, key: newKey() };
  const question = { role: "user", text };
  const job = await submit(id, { message: text }, unsent.key).catch(unlessMissing);
  if (job === null) {
    if (id === chats.openId()) leave();
    return;
  }
  unsent = null;
  composer.sent(id, text);
  if (id === chats.openId()) begin(job, question, rows);
  else quietly(chats.refresh);
}

async function retry(row) {
  const question = questionOf(rows, row);
  row.view.retry.disabled = true;
  try {
    const id = chats.openId();
    const job = await submit(id, { retry_of: row.job }, newKey()).catch(unlessMissing);
    if (id !== chats.openId()) return;
    // Past its retention nobody knows the job any more, but the question still stands here.
    if (job === null) await ask(question.text);
    else begin(job, question, []);
    row.view.retry.remove();
    composer.focus();
  } finally {
    row.view.retry.disabled = false;
  }
}

async function submit(id, body, key) {
  complain(null);
  const askedAt = performance.now();
  return { askedAt, ...(await api.submit(body, { chat: id, key })) };
}

/** Shows the question, behind `before` if it is new, and follows its answer. */
function begin({ job_id: job, chat_id: chat, stream_url: url, askedAt }, question, before) {
  if (chats.openId() === null) {
    chats.adopt(chat);
    composer.carryTo(chat);
    setTitle(question.text.trim());
  }
  question.job = job;
  show([...before, question, { role: "assistant", text: "", status: null, live: true, job, askedAt }]);
  const row = rows.find((one) => one.role === "assistant" && one.job === job);
  // Behind an answer that still runs it waits for its turn, as it does in the service.
  if (!isRunning() && !row.ended) attach(row, { running: true, url });
  toEnd();
  quietly(refresh);
  quietly(chats.refresh);
}
