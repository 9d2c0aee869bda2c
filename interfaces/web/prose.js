// Draws Markdown as it grows: elements of a fixed list, made one by one, and text. Never HTML.

import { blocksOf } from "./markdown.js";

const TAGS = new Set(["p", "h3", "h4", "h5", "h6", "hr", "pre", "code", "blockquote", "ul", "ol", "li",
  "table", "thead", "tbody", "tr", "th", "td", "strong", "em", "del", "a"]);
// What is being written may still change the block before it: a list goes on behind a blank line.
const UNSETTLED = 3;

/** `show(text)` as often as the text has grown; what stands already is left alone. */
export class Prose {
  #element;
  #text = "";
  #blocks = [];

  constructor(element) {
    this.#element = element;
  }

  show(text) {
    if (text === this.#text) return;
    const grown = text.startsWith(this.#text);
    const kept = grown ? this.#blocks.slice(0, -UNSETTLED) : [];
    const start = grown ? (this.#blocks.at(-UNSETTLED)?.start ?? 0) : 0;
    const read = blocksOf(text.slice(start)).map((each) => ({ ...each, start: each.start + start }));
    const old = this.#blocks;
    this.#blocks = [...kept, ...read];
    this.#text = text;
    for (let at = kept.length; at < Math.max(old.length, this.#blocks.length); at++) {
      this.#draw(at, old[at]?.node, this.#blocks[at]?.node);
    }
  }

  #draw(at, old, node) {
    const drawn = this.#element.childNodes[at];
    if (node === undefined) this.#element.lastChild.remove();
    else if (old === undefined) this.#element.append(made(node));
    else if (!grow(drawn, old, node)) drawn.replaceWith(made(node));
  }
}

/** Whether what is drawn of `old` could be made `node`, by adding at its end. */
function grow(drawn, old, node) {
  if (typeof old === "string" || typeof node === "string") {
    if (typeof old !== typeof node || !node.startsWith(old)) return false;
    if (node.length > old.length) drawn.appendData(node.slice(old.length));
    return true;
  }
  const { children: had, ...was } = old;
  const { children, ...is } = node;
  if (JSON.stringify(was) !== JSON.stringify(is) || had.length > children.length) return false;
  for (let at = 0; at < children.length; at++) {
    if (at >= had.length) drawn.append(made(children[at]));
    else if (!grow(drawn.childNodes[at], had[at], children[at])) {
      drawn.childNodes[at].replaceWith(made(children[at]));
    }
  }
  return true;
}

function made(node) {
  if (typeof node === "string") return document.createTextNode(node);
  if (!TAGS.has(node.tag)) throw new Error(`no such element: ${node.tag}`);
  const element = document.createElement(node.tag);
  if (node.tag === "a") Object.assign(element, { href: node.href, rel: "noopener noreferrer nofollow", target: "_blank" });
  if (node.start > 1 || node.start === 0) element.start = node.start;
  if (node.align) element.dataset.align = node.align;
  if (node.language) element.dataset.language = node.language;
  if (node.tag === "pre" || node.tag === "table") element.tabIndex = 0; // scrolled by keyboard
  element.append(...node.children.map(made));
  return element;
}
