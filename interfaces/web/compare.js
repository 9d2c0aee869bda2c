// One question on both paths at once, beside each other, with a clock to the first character.

import { connect, newKey, Problem } from "./client.js";
import { answerOf, fold, fresh } from "./fold.js";
import { Prose } from "./prose.js";

const REFUSED = "This service does not let a request choose its path: it needs SLUICE_ALLOW_PATH_HEADER=true, and a percentage in ENABLE_TOKEN_STREAMING.";
const find = (id) => document.getElementById(id);
const seconds = (from, to) => (to === null ? "–" : `${((to - from) / 1000).toFixed(2)} s`);

/** One path's column: what is asked there, and what is shown of it. */
class Column {
  #client;
  #section;
  #state = fresh();
  #prose;
  #drawing = false;
  #asks = false;
  #job = null;
  stageAt = null;

  constructor(path) {
    this.path = path;
    this.#client = connect({ headers: { "X-Sluice-Path": path } });
    this.#section = find(path);
  }

  /** Returns when the answer is over. Throws Problem. */
  async ask(message, key, signal) {
    const heading = this.#section.firstElementChild;
    this.#section.replaceChildren(heading, find("path-template").content.cloneNode(true));
    this.#prose = new Prose(this.#part(".text"));
    this.#state = fresh(performance.now());
    this.stageAt = null;
    this.#asks = false;
    this.#job = await this.#client.submit({ message }, { key: `${key}-${this.path}` });
    if (this.#job.path !== this.path) throw new Problem(0, { detail: REFUSED });
    this.#tick();
    for await (const event of this.#client.follow(this.#job.stream_url, { signal })) {
      const at = performance.now();
      if (event.name === "stage" && event.data.status === "started") this.stageAt ??= at;
      this.#state = fold(this.#state, { ...event, at });
      this.#asks ||= event.name === "needs_input";
      if (event.name === "needs_input") await this.#client.cancel(this.#job.job_id);
      this.#draw();
    }
  }

  /** Nothing of a comparison stays among the chats. */
  async forget() {
    const chat = this.#job?.chat_id;
    this.#job = null;
    if (chat) await this.#client.call("DELETE", `/api/v1/chat/${encodeURIComponent(chat)}`);
  }

  get over() { return this.#state.end !== null || this.#job === null; }
  get firstAt() { return this.#state.firstTokenAt ?? (this.#done ? this.#state.endedAt : null); }
  get #stopped() { return this.#asks ? "It asks a human: such a graph cannot be compared." : "Stopped."; }
  get #done() { return this.#state.end?.name === "done"; }
  #part(selector) { return this.#section.querySelector(selector); }

  // The clock runs on the page, not on events: a path that says nothing is what is to be seen.
  #tick() {
    const { askedAt } = this.#state;
    if (!this.over) requestAnimationFrame(() => this.#tick());
    this.#part(".first").textContent = seconds(askedAt, this.firstAt ?? (this.over ? null : performance.now()));
  }

  #draw() {
    if (this.#drawing) return;
    this.#drawing = true;
    requestAnimationFrame(() => {
      this.#drawing = false;
      const { askedAt, endedAt, stages, end } = this.#state;
      this.#part(".stage-at").textContent = seconds(askedAt, this.stageAt);
      this.#part(".whole").textContent = seconds(askedAt, this.#done ? endedAt : null);
      this.#part(".running-stages").textContent =
        stages.filter((stage) => stage.status === "running").map((stage) => stage.name).join(", ");
      this.#prose.show(answerOf(this.#state));
      const note = this.#part(".note");
      note.textContent = end?.name === "error" ? `${end.message} (${end.code})` : end?.name === "cancelled" ? this.#stopped : "";
      note.hidden = !note.textContent;
    });
  }
}

const columns = [new Column("A1"), new Column("A2")];
let leaving = null;

async function compare(message) {
  leaving = new AbortController();
  const key = newKey();
  show(true);
  complain("");
  const { signal } = leaving;
  const asked = await Promise.allSettled(columns.map((column) =>
    column.ask(message, key, signal).catch((problem) => { leaving.abort(); throw problem; })));
  await Promise.allSettled(columns.map((column) => column.forget()));
  show(false);
  const failed = asked.find(({ reason }) => reason)?.reason;
  if (failed && !(failed instanceof Problem)) throw failed;
  complain(failed?.message ?? "");
  if (!failed) find("status").textContent = "Both answers are there.";
}

function complain(text) {
  find("problem").textContent = text;
  find("problem").hidden = !text;
}

function show(running) {
  find("ask").disabled = running;
  find("stop").hidden = !running;
}

find("question").addEventListener("submit", (event) => {
  event.preventDefault();
  const message = find("message").value.trim();
  if (message && !find("ask").disabled) compare(message);
});
find("stop").addEventListener("click", () => leaving?.abort());
