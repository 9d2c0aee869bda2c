// Draws questions and answers. Whatever comes from people or models enters the page as text only.

import { Beside } from "./cards.js";
import { answerOf, pace } from "./fold.js";
import { Prose } from "./prose.js";
import { Questions } from "./questions.js";

const WORDS = { running: "running", completed: "done", failed: "failed", stopped: "stopped" };
const ENDS = { done: "completed", error: "failed", cancelled: "cancelled" };
const CANCELLED = {
  user: "Stopped.",
  orphaned: "Stopped, because nobody was reading.",
  shutdown: "Stopped, because the service was shut down.",
};
const UNFINISHED = "This answer was not finished.";
const ADVICE = "For whoever runs this graph: ";
const CHECKS = {
  verified: "✓ checksum matches",
  unverified: "checksum not compared (no secure context)",
  broken: "✗ checksum differs: reload to read it again",
};

export const find = (id) => document.getElementById(id);
const clone = (id) => find(id).content.firstElementChild.cloneNode(true);
const seconds = (value) =>
  (value < 0.1 ? `${Math.round(value * 1000)} ms` : `${value.toFixed(value < 10 ? 1 : 0)} s`);
const count = (value) => value.toLocaleString();

/** A note of plain text, and the id of a request for whoever has to tell an operator. */
export function tell(note, text, request) {
  note.replaceChildren(text);
  note.hidden = text === "";
  if (!request) return;
  const id = document.createElement("code");
  id.textContent = request;
  note.append(" Request ", id);
}

/** Exactly these children, in this order; what stands right is left alone and keeps its focus. */
export function arrange(parent, elements) {
  for (const child of [...parent.children]) if (!elements.includes(child)) child.remove();
  elements.forEach((element, at) => {
    if (parent.children[at] !== element) parent.insertBefore(element, parent.children[at] ?? null);
  });
}

export function questionRow(text) {
  const row = clone("question-template");
  row.querySelector(".text").textContent = text;
  return row;
}

/** One answer on the page: `render(state)` as often as events come, at most one drawing a frame. */
export class AnswerView {
  #pending = null;
  #stages = new Map();
  #check = null;
  #prose;
  #beside;
  #questions;

  /** `answer(inputId, value)` answers what is asked. */
  constructor({ text = "", status = null } = {}, answer = () => {}) {
    this.row = clone("answer-template");
    this.retry = this.#part(".retry");
    this.#prose = new Prose(this.#part(".text"));
    this.#prose.show(text);
    this.#beside = new Beside(this.#part(".beside"));
    this.#questions = new Questions(this.#part(".asked"), answer);
    this.row.dataset.state = status ?? "running";
    if (status === "failed" || status === "cancelled") this.say(UNFINISHED);
  }

  render(state) {
    if (this.#pending === null) requestAnimationFrame(() => this.#draw());
    this.#pending = state;
  }

  verified(check, state) {
    this.#check = check;
    this.render(state);
  }

  connection(up) {
    this.say(up ? "" : "Connection lost. Reconnecting; nothing is lost.", "waiting");
  }

  gone(problem) {
    const whole = this.row.dataset.state === "completed";
    if (this.row.dataset.state === "running") this.row.dataset.state = "failed";
    this.#part("progress").hidden = true;
    if (problem.status !== 404) {
      this.say(problem.message);
    } else if (whole) {
      this.say("How this answer came about is no longer kept.");
    } else {
      this.say(`${UNFINISHED} How it came about is no longer kept.`);
      this.retry.hidden = false;
    }
  }

  say(text, kind = "plain", request = null) {
    const note = this.#part(".note");
    note.dataset.kind = kind;
    tell(note, text, request);
  }

  #part(selector) {
    return this.row.querySelector(selector);
  }

  #draw() {
    const state = this.#pending;
    this.#pending = null;
    this.row.dataset.state = ENDS[state.end?.name] ?? "running";
    this.#prose.show(answerOf(state));
    this.#beside.show(state.beside);
    this.#questions.show(state.asked);
    this.#drawStages(state);
    const progress = this.#part("progress");
    progress.hidden = state.end !== null;
    progress.value = state.progress;
    this.#drawEnd(state.end);
    const facts = factsOf(state, this.#check).map(([text, kind]) => {
      const fact = document.createElement("li");
      fact.textContent = text;
      fact.className = kind ?? "";
      return fact;
    });
    this.#part(".facts").replaceChildren(...facts);
    this.row.dispatchEvent(new CustomEvent("drawn", { bubbles: true }));
  }

  #drawStages({ stages, askedAt }) {
    const list = this.#part(".stages");
    list.hidden = stages.length === 0;
    if (stages.length < this.#stages.size) {
      list.replaceChildren();
      this.#stages.clear();
    }
    for (const stage of stages) {
      const known = this.#stages.get(stage.name);
      if (known?.stage === stage) continue;
      const element = known?.element ?? columnOf(list, stage.column).appendChild(clone("stage-template"));
      this.#stages.set(stage.name, { stage, element });
      drawStage(element, stage, askedAt !== null);
    }
  }

  #drawEnd(end) {
    this.retry.hidden = end?.name !== "error" && end?.name !== "cancelled";
    tell(this.#part(".advice"), end?.hint ? ADVICE + end.hint : "");
    if (end?.name === "error") {
      this.say(end.message, "failed", end.request_id);
    } else if (end?.name === "cancelled") {
      this.say(CANCELLED[end.reason] ?? "Stopped.");
    } else if (end?.finish_reason === "length") {
      this.say("The model reached its length limit here.");
    } else if (end?.finish_reason === "content_filter") {
      this.say("The model's content filter ended this answer.");
    }
  }
}

function columnOf(list, number) {
  while (list.children.length < number) list.append(document.createElement("li"));
  return list.children[number - 1];
}

function drawStage(element, stage, live) {
  element.dataset.status = stage.status;
  element.title = stage.message;
  element.querySelector(".name").textContent = stage.name.replaceAll("/", " › ");
  element.querySelector(".state").textContent = `, ${WORDS[stage.status]}`;
  const took = live && stage.startedAt !== null && stage.endedAt !== null
    ? seconds((stage.endedAt - stage.startedAt) / 1000) : "";
  const times = stage.runs > 1 ? `×${stage.runs}` : "";
  element.querySelector(".detail").textContent = `${times} ${took}`.trim();
}

function factsOf(state, check) {
  const { end } = state;
  const { firstToken, tokensPerSecond, total } = pace(state);
  const facts = [];
  if (end?.path) facts.push([end.path === "A2" ? "A2 · word by word" : "A1 · all at once", "path"]);
  if (end?.offline_model) facts.push(["answered by the bundled offline model", "offline"]);
  if (firstToken != null) facts.push([`first token ${seconds(firstToken)}`]);
  if (tokensPerSecond != null) facts.push([`${count(Math.round(tokensPerSecond))} tokens/s`]);
  if (total != null) facts.push([`${seconds(total)} in all`]);
  if (end?.usage) {
    facts.push([`${count(end.usage.input_tokens)} tokens in, ${count(end.usage.output_tokens)} out`]);
  }
  if (end?.length !== undefined) facts.push([`${count(end.length)} characters`]);
  if (check !== null) facts.push([CHECKS[check], check]);
  if (end?.name === "error") facts.push([end.code]);
  return facts;
}
