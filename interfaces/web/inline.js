// What stands in a line of Markdown, as strings and {tag, children, …}. One pass, and bounded.

const OPEN_AT_ONCE = 16;
const SPECIAL = /[\\`*_~[\]]|https?:\/\//gi;
const ESCAPED = /[!-/:-@[-`{-~]/;
const TARGET = /\]\([ \t]*<?(https?:\/\/[^\s<>()]*(?:\([^\s<>()]*\)[^\s<>()]*)*)>?(?:[ \t]+"[^"\n]*")?[ \t]*\)/iy;
const ADDRESS = /https?:\/\/[^\s<>"`[\]]+/iy;
const TAGS = { "*": "em", _: "em", "**": "strong", __: "strong", "~~": "del" };
const WORD = /[\p{L}\p{N}]/u;

export function inline(text) {
  return new Line(text).read();
}

/** Only addresses of web pages are links; whatever else a model calls one is text. */
export function address(href) {
  try {
    const { protocol, href: whole } = new URL(href);
    return protocol === "http:" || protocol === "https:" ? whole : null;
  } catch {
    return null;
  }
}

class Line {
  #text;
  #open = [{ mark: "", children: [] }];
  #ticks = null;

  constructor(text) {
    this.#text = text;
  }

  read() {
    const text = this.#text;
    let at = 0;
    SPECIAL.lastIndex = 0;
    for (let found; (found = SPECIAL.exec(text)) !== null;) {
      this.#say(text.slice(at, found.index));
      at = this.#special(found[0], found.index);
      SPECIAL.lastIndex = at;
    }
    this.#say(text.slice(at));
    while (this.#open.length > 1) this.#giveUp();
    return this.#open[0].children;
  }

  /** Takes what begins there, and says where it ends. */
  #special(what, at) {
    switch (what) {
      case "\\": {
        const next = this.#text[at + 1] ?? "";
        this.#say(ESCAPED.test(next) ? next : `\\${next}`);
        return at + 1 + next.length;
      }
      case "`": return this.#code(at);
      case "[":
        if (!this.#has("[")) this.#begin("[");
        else this.#say("[");
        return at + 1;
      case "]": return this.#link(at);
      case "*": case "_": case "~": return this.#emphasis(what, at);
      default: return this.#bareAddress(at);
    }
  }

  #code(at) {
    this.#ticks ??= ticksIn(this.#text);
    const length = runAt(this.#text, at);
    const starts = this.#ticks.get(length) ?? [];
    while (starts.length && starts[0] < at + length) starts.shift();
    if (!starts.length) {
      this.#say("`".repeat(length));
      return at + length;
    }
    const inner = this.#text.slice(at + length, starts[0]);
    this.#add({ tag: "code", children: [/^ .*[^ ].* $/s.test(inner) ? inner.slice(1, -1) : inner] });
    return starts[0] + length;
  }

  #link(at) {
    TARGET.lastIndex = at;
    const target = this.#has("[") ? TARGET.exec(this.#text) : null;
    const href = target && address(target[1]);
    if (!this.#has("[")) {
      this.#say("]");
      return at + 1;
    }
    while (this.#top.mark !== "[") this.#giveUp();
    if (!href) {
      this.#giveUp();
      this.#say("]");
      return at + 1;
    }
    const { children } = this.#open.pop();
    this.#add({ tag: "a", href, children: children.length ? children : [href] });
    return TARGET.lastIndex;
  }

  #bareAddress(at) {
    ADDRESS.lastIndex = at;
    let [found] = ADDRESS.exec(this.#text) ?? [this.#text[at]];
    found = found.replace(/[.,;:!?'*_~\]}]+$/, "");
    if (found.endsWith(")") && !found.includes("(")) found = found.replace(/\)[.,;:!?)]*$/, "");
    const href = this.#has("[") ? null : address(found);
    if (href) this.#add({ tag: "a", href, children: [found] });
    else this.#say(found);
    return at + Math.max(found.length, 1);
  }

  #emphasis(mark, at) {
    const text = this.#text;
    let end = at;
    while (text[end] === mark) end++;
    const before = text[at - 1] ?? " ";
    const behind = text[end] ?? " ";
    const closes = /\S/.test(before) && !(mark === "_" && WORD.test(behind));
    const opens = /\S/.test(behind) && !(mark === "_" && WORD.test(before));
    let left = end - at;
    if (left > 3 || (mark === "~" && left !== 2)) {
      this.#say(text.slice(at, end));
      return end;
    }
    while (closes && left > 0) {
      const open = this.#open.findLast((each) => each.mark[0] === mark && each.mark.length <= left);
      if (!open || !open.children.length) break;
      while (this.#top !== open) this.#giveUp();
      this.#open.pop();
      this.#add({ tag: TAGS[open.mark], children: open.children });
      left -= open.mark.length;
    }
    while (opens && left > 0) {
      const size = left > 1 ? 2 : 1;
      this.#begin(mark.repeat(size));
      left -= size;
    }
    this.#say(mark.repeat(left));
    return end;
  }

  get #top() {
    return this.#open[this.#open.length - 1];
  }

  #has(mark) {
    return this.#open.some((each) => each.mark === mark);
  }

  #begin(mark) {
    if (this.#open.length > OPEN_AT_ONCE) this.#say(mark);
    else this.#open.push({ mark, children: [] });
  }

  /** What was begun and has no end is text. */
  #giveUp() {
    const { mark, children } = this.#open.pop();
    this.#say(mark);
    for (const child of children) this.#add(child);
  }

  #say(text) {
    const { children } = this.#top;
    if (text === "") return;
    if (typeof children.at(-1) === "string") children[children.length - 1] += text;
    else children.push(text);
  }

  #add(node) {
    if (typeof node === "string") this.#say(node);
    else this.#top.children.push(node);
  }
}

function runAt(text, at) {
  let end = at;
  while (text[end] === "`") end++;
  return end - at;
}

/** Where the runs of back ticks are, by their length. */
function ticksIn(text) {
  const runs = new Map();
  for (const { 0: run, index } of text.matchAll(/`+/g)) {
    if (!runs.has(run.length)) runs.set(run.length, []);
    runs.get(run.length).push(index);
  }
  return runs;
}
