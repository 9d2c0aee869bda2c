// Draws what an answer has beside its text: tools, reasoning, data. As text only.

const STATES = { started: "called", arguments: "running", completed: "done", failed: "failed", stopped: "stopped" };

/** `show(items)` as often as the fold has more; what is drawn stays, and keeps its focus. */
export class Beside {
  #list;
  #drawn = [];

  constructor(list) {
    this.#list = list;
  }

  show(items) {
    this.#list.hidden = items.length === 0;
    if (items.length < this.#drawn.length) {
      this.#list.replaceChildren();
      this.#drawn = [];
    }
    items.forEach((item, at) => {
      const known = this.#drawn[at];
      if (known?.item === item) return;
      const card = known?.card ?? this.#place(item).appendChild(MADE[item.kind]());
      this.#drawn[at] = { item, card };
      DRAWN[item.kind](card, item);
    });
  }

  // A call inside another one stands in that one's card.
  #place({ parent = null }) {
    const around = parent && this.#drawn.findLast(({ item }) => item.kind === "tool" && item.id === parent);
    return around ? around.card.querySelector(".inner") : this.#list;
  }
}

const clone = (id) => document.getElementById(id).content.firstElementChild.cloneNode(true);

const MADE = {
  tool: () => clone("tool-template"),
  reasoning: () => clone("reasoning-template"),
  data: () => clone("data-template"),
};

const DRAWN = {
  tool(card, { name, status, arguments: given, result }) {
    card.querySelector(".tool").dataset.status = status;
    card.querySelector(".name").textContent = name;
    card.querySelector(".state").textContent = STATES[status];
    fill(card.querySelector(".arguments"), given === null ? null : pretty(JSON.parse(given)));
    fill(card.querySelector(".result"), result);
  },
  // Only what is new is added, so that a selection in it survives.
  reasoning(card, { text }) {
    const thought = card.querySelector(".thought");
    const had = thought.textContent;
    if (text.startsWith(had)) thought.append(text.slice(had.length));
    else thought.textContent = text;
  },
  data(card, { name, data }) {
    card.querySelector(".name").textContent = name;
    card.querySelector(".given").textContent = typeof data === "string" ? data : pretty(data);
  },
};

const pretty = (value) => JSON.stringify(value, null, 2);

function fill(part, text) {
  part.hidden = text === null;
  part.querySelector("pre").textContent = text ?? "";
}
