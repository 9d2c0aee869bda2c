// Draws what a graph asks, as cards with a form. What is typed stays while other events come.

import { choices, fieldsOf, valueOf } from "./answers.js";

/** `show(asked)` as often as the fold has more; `answer(inputId, value)` gives an answer away. */
export class Questions {
  #list;
  #answer;
  #cards = new Map();

  constructor(list, answer) {
    this.#list = list;
    this.#answer = answer;
  }

  show(asked) {
    const ids = new Set(asked.map((one) => one.input_id));
    for (const [id, card] of this.#cards) {
      if (ids.has(id)) continue;
      card.remove();
      this.#cards.delete(id);
    }
    for (const one of asked) {
      if (this.#cards.has(one.input_id)) continue;
      const card = this.#cardOf(one);
      this.#cards.set(one.input_id, card);
      this.#list.append(card);
    }
    this.#list.hidden = asked.length === 0;
  }

  #cardOf(asked) {
    const card = clone("ask-template");
    const fields = card.querySelector(".fields");
    drawPrompt(card, asked.prompt);
    const [yes, no, send] = ["yes", "no", "send"].map((name) => card.querySelector(`[value="${name}"]`));
    const choice = choices(asked);
    const wanted = choice ? [] : fieldsOf(asked);
    const inputs = wanted.map((field, at) => fields.appendChild(inputOf(field, `${asked.input_id}-${at}`)).querySelector(".input"));
    yes.hidden = no.hidden = choice === null;
    send.hidden = choice !== null;
    card.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      const value = () => (choice ? choice[event.submitter?.value ?? "yes"] : valueOf(wanted, inputs.map(given)));
      this.#give(card, asked.input_id, value);
    });
    return card;
  }

  async #give(card, id, value) {
    const all = card.querySelector("fieldset");
    tell(card, "");
    all.disabled = true;
    try {
      await this.#answer(id, value());
      tell(card, "Answered.", "plain");
    } catch (problem) {
      all.disabled = false;
      tell(card, problem instanceof SyntaxError ? "This is no JSON." : problem.message, "failed");
    }
  }
}

const clone = (id) => document.getElementById(id).content.firstElementChild.cloneNode(true);
const given = (input) => (input.type === "checkbox" ? input.checked : input.value);
const pretty = (value) => JSON.stringify(value, null, 2);

function drawPrompt(card, prompt) {
  const legend = card.querySelector("legend");
  const details = card.querySelector("pre");
  const text = typeof prompt === "string" ? prompt : prompt?.question ?? prompt?.description;
  legend.textContent = typeof text === "string" ? text : "The answer waits for you.";
  details.hidden = typeof prompt === "string";
  details.textContent = details.hidden ? "" : pretty(prompt);
}

function inputOf({ label, hint, type, options, initial, required }, id) {
  const row = clone(`${type}-field-template`);
  const input = row.querySelector(".input");
  const [name, help] = [row.querySelector("label"), row.querySelector(".help")];
  name.textContent = label;
  name.htmlFor = input.id = `ask-${id}`;
  help.textContent = hint;
  help.id = `help-${id}`;
  help.hidden = hint === "";
  input.setAttribute("aria-describedby", help.id);
  if (type !== "flag") input.required = required;
  for (const [at, option] of options.entries()) {
    input.add(new Option(typeof option === "string" ? option : pretty(option), String(at)));
  }
  if (type === "flag") input.checked = initial === true;
  else if (type === "choice") input.value = String(options.indexOf(initial));
  else if (initial !== undefined) input.value = type === "json" ? pretty(initial) : String(initial);
  return row;
}

function tell(card, text, kind = "plain") {
  const note = card.querySelector(".told");
  note.textContent = text;
  note.dataset.kind = kind;
  note.hidden = text === "";
}
