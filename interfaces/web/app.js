// Ask, follow, stop, retry, reload: what the page does. Drawing is in view.js, the log in stream.js.

import * as api from "./api.js";
import * as chats from "./chats.js";
import { fresh, fold, rowsOf, verify } from "./fold.js";
import { follow } from "./stream.js";
import { AnswerView, find, questionRow } from "./view.js";

const NEAR_THE_END = 80;
const message = find("message");
const thread = find("thread");
const messages = find("messages");

let stopFollowing = () => {};
let runningJob = null;
let unsent = null;
let stuck = true;

const announce = (text) => { find("status").textContent = text; };

function complain(problem) {
  find("problem").textContent = problem?.message ?? "";
  find("problem").hidden = !problem;
}

/** Shows what went wrong with a call, and leaves everything else as it was. */
async function guarded(action) {
  try {
    await action();
  } catch (problem) {
    if (!(problem instanceof api.Problem)) throw problem;
    complain(problem);
  }
}

function setRunning(job) {
  runningJob = job;
  if (job === null && document.activeElement === find("stop")) message.focus();
  find("stop").hidden = job === null;
  find("send").hidden = job !== null;
}

function append(row) {
  find("welcome").hidden = true;
  messages.append(row);
}

function scrollToEnd() {
  thread.scrollTop = thread.scrollHeight;
}

async function openChat(id) {
  stopFollowing();
  setRunning(null);
  complain(null);
  messages.replaceChildren();
  find("welcome").hidden = id !== null;
  setTitle(id === null ? "New chat" : "Chat");
  chats.mark();
  if (id !== null) await guarded(() => load(id));
}

async function load(id) {
  const chat = await api.readChat(id);
  if (id !== chats.openId()) return;
  setTitle(chat.title || "Untitled chat");
  messages.replaceChildren();
  for (const row of rowsOf(chat)) {
    if (row.role === "user") {
      append(questionRow(row.text));
      continue;
    }
    const running = row.live && row.job === chat.active_job_id;
    const view = new AnswerView({ text: row.text, status: running ? null : (row.status ?? "completed") });
    append(view.row);
    if (row.live) attach(view, { job: row.job, running });
  }
  stuck = true;
  scrollToEnd();
}

function setTitle(title) {
  find("title").textContent = title;
  document.title = `${title} · Sluice`;
}

function attach(view, { job, url = api.eventsOf(job), running = true, askedAt = null }) {
  stopFollowing();
  setRunning(running ? job : null);
  let state = fresh(askedAt);
  view.retry.addEventListener("click", () => guarded(() => retry(view, job)));
  stopFollowing = follow(url, {
    event(event) {
      view.connection(true);
      state = fold(state, event);
      view.render(state);
      if (event.name === "stage" && running) announce(`${event.data.stage}: ${event.data.status}`);
      if (state.end) finish(view, state, running ? job : null);
    },
    connection: (up) => view.connection(up),
    refusal: () => api.refusal(job),
    gone(problem) {
      view.gone(problem);
      setRunning(null);
    },
  });
}

async function finish(view, state, job) {
  const { name, message: why, offline_model: offline } = state.end;
  if (offline) find("offline").hidden = false;
  if (job !== null) {
    setRunning(null);
    announce({ done: "The answer is complete.", error: why, cancelled: "Stopped." }[name]);
    guarded(() => followNext(job));
  }
  if (name === "done") view.verified(await verify(state), state);
}

// Another tab may have asked in this chat meanwhile; its job runs next.
async function followNext(ended) {
  const id = chats.openId();
  const { active_job_id: job } = await api.readChat(id);
  if (!job || job === ended || runningJob !== null || id !== chats.openId()) return;
  await load(id);
}

async function submit(id, body, key, rows) {
  complain(null);
  const askedAt = performance.now();
  const { job_id: job, chat_id: chat, stream_url: url } = await api.send(id, body, key);
  if (id !== chats.openId()) return;
  if (id === null) begin(chat, body.message);
  const view = new AnswerView();
  for (const row of [...rows, view.row]) append(row);
  stuck = true;
  scrollToEnd();
  attach(view, { job, url, askedAt });
}

async function ask(text) {
  const id = chats.openId();
  // Sent again after a lost answer, the same question must not be asked twice.
  if (unsent?.text !== text || unsent.id !== id) unsent = { text, id, key: newKey() };
  await submit(id, { message: text }, unsent.key, [questionRow(text)]);
  unsent = null;
  message.value = "";
  resize();
}

function begin(chat, text) {
  chats.adopt(chat);
  setTitle(text.trim());
  guarded(chats.refresh);
}

async function retry(view, job) {
  view.retry.disabled = true;
  try {
    await submit(chats.openId(), { retry_of: job }, newKey(), []);
    view.retry.remove();
    message.focus();
  } finally {
    view.retry.disabled = false;
  }
}

// crypto.randomUUID wants a secure context, which a service in a local network may not be.
const newKey = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

function resize() {
  message.rows = Math.min(8, message.value.split("\n").length);
}

find("composer").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = message.value;
  if (text.trim() === "" || runningJob !== null || find("send").disabled) return;
  find("send").disabled = true;
  await guarded(() => ask(text)).finally(() => { find("send").disabled = false; });
  message.focus();
});

message.addEventListener("keydown", (event) => {
  // Enter that ends a composition belongs to the input method; Safari tells so by 229 alone.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  find("composer").requestSubmit();
});

message.addEventListener("input", resize);

find("stop").addEventListener("click", () => guarded(() => api.cancel(runningJob)));

find("ideas").addEventListener("click", ({ target }) => {
  if (target.tagName !== "BUTTON") return;
  message.value = target.textContent;
  find("composer").requestSubmit();
});

find("more").addEventListener("click", () => guarded(chats.showMore));

find("new").addEventListener("click", () => {
  chats.close();
  message.focus();
});

find("skip").addEventListener("click", (event) => {
  event.preventDefault();
  message.focus();
});

thread.addEventListener("scroll", () => {
  stuck = thread.scrollHeight - thread.scrollTop - thread.clientHeight < NEAR_THE_END;
}, { passive: true });
messages.addEventListener("drawn", () => { if (stuck) scrollToEnd(); });
addEventListener("hashchange", () => openChat(chats.openId()));

guarded(chats.refresh);
openChat(chats.openId());
