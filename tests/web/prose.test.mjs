import assert from "node:assert/strict";
import { test } from "node:test";

import { blocksOf } from "../../interfaces/web/markdown.js";
import { Prose } from "../../interfaces/web/prose.js";

class Node {
  parent = null;
  get at() { return this.parent.childNodes.indexOf(this); }
  remove() { this.parent.childNodes.splice(this.at, 1); }
  replaceWith(other) {
    other.parent = this.parent;
    this.parent.childNodes[this.at] = other;
  }
}

class Text extends Node {
  constructor(data) { super(); this.data = data; }
  appendData(more) { this.data += more; }
  get shown() { return this.data; }
}

class Element extends Node {
  childNodes = [];
  dataset = {};
  constructor(tag) { super(); this.tag = tag; }
  get lastChild() { return this.childNodes.at(-1); }
  append(...more) { for (const each of more) { each.parent = this; this.childNodes.push(each); } }
  get shown() { return `<${this.tag}>${this.childNodes.map((each) => each.shown).join("")}</${this.tag}>`; }
}

globalThis.document = {
  createTextNode: (data) => new Text(data),
  createElement: (tag) => new Element(tag),
};

const drawn = (text) => {
  const element = new Element("div");
  new Prose(element).show(text);
  return element.shown;
};

const TEXT = [
  "Half a *line", " with* `co", "de`.\n\n- one\n", "\n- ", "two\n  - in", "\n\n1", ". a\n2. b\n\n```py\nprint", "(1)\n",
  "``", "`\n\n|a|", "b|\n|-", "|-|\n|1|", "2|\n\n> q", "\n> > r\n\n# T", "itle\n\n[x](http://a", ".b) end\n---", "\nlast",
];

test("a text that grows is drawn as the whole text is, at every step", () => {
  const element = new Element("div");
  const prose = new Prose(element);
  let text = "";
  for (const character of TEXT.join("")) {
    text += character;
    prose.show(text);
    assert.equal(element.shown, drawn(text), JSON.stringify(text));
  }
});

test("what stands already is the same element afterwards, so a selection in it survives", () => {
  const element = new Element("div");
  const prose = new Prose(element);
  prose.show("First.\n\nSecond");
  const [first, , second] = element.childNodes;
  const [words] = second.childNodes;
  prose.show("First.\n\nSecond, and *more*.\n\nThird.");
  assert.deepEqual([element.childNodes[0], element.childNodes[2]], [first, second]);
  assert.equal(second.childNodes[0], words);
  assert.equal(blocksOf("").length, 0);
});

test("another text takes the first one's place", () => {
  const element = new Element("div");
  const prose = new Prose(element);
  for (const text of ["a\n\nb\n\nc\n\nd", "a\n\n- x", "", "new"]) {
    prose.show(text);
    assert.equal(element.shown, drawn(text));
  }
});

test("an address leads to another tab and tells it nothing", () => {
  const element = new Element("div");
  new Prose(element).show("[x](http://a.b)");
  const { href, rel, target } = element.childNodes[0].childNodes[0];
  assert.deepEqual([href, rel, target], ["http://a.b/", "noopener noreferrer nofollow", "_blank"]);
});
