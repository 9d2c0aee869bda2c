import assert from "node:assert/strict";
import { test } from "node:test";

import { blocksOf } from "../../interfaces/web/markdown.js";

const nodes = (text) => blocksOf(text).map(({ node }) => node);
const shown = (node) =>
  (typeof node === "string" ? node : `<${node.tag}>${node.children.map(shown).join("")}</${node.tag}>`);
const html = (text) => nodes(text).map(shown).join("");
const every = (node) => (typeof node === "string" ? [] : [node, ...node.children.flatMap(every)]);

const SAMPLE = [
  "# Title", "", "A *line* with `code` and **strong** words,", "and another.", "", "- one", "- two", "  - in two", "",
  "- three", "", "1. first", "2. second", "", "> said", "> > before", "", "| a | b |", "|---|:-:|", "| 1 | `2` |", "",
  "```py", "print('*')", "", "```", "", "***", "", "See https://example.com/a_b, or [this](http://example.com).", "",
].join("\n");

test("each kind of block and of inline is its element", () => {
  const cases = {
    "a\n\nb": "<p>a</p>\n\n<p>b</p>",
    "a\nb": "<p>a\nb</p>",
    "# A ##\n### B": "<h3>A</h3><h5>B</h5>",
    "- a\n- b": "<ul><li>a</li><li>b</li></ul>",
    "- a\n\n- b": "<ul><li>a</li><li>b</li></ul>",
    "- a\n  - b": "<ul><li>a<ul><li>b</li></ul></li></ul>",
    "1. a\n2. b": "<ol><li>a</li><li>b</li></ol>",
    "1. a\n\n   b": "<ol><li>a<p>b</p></li></ol>",
    "> a\n> b": "<blockquote><p>a\nb</p></blockquote>",
    "```js\na*b*\n```": "<pre><code>a*b*\n</code></pre>",
    "~~~\na\n": "<pre><code>a\n</code></pre>",
    "a\n---\nb": "<p>a</p>\n<hr></hr><p>b</p>",
    "|a|b|\n|-|-|\n|1|": "<table><thead><tr><th>a</th><th>b</th></tr></thead>" +
      "<tbody><tr><td>1</td><td></td></tr></tbody></table>",
    "*a* _b_ **c** __d__ ~~e~~ `f`": "<p><em>a</em> <em>b</em> <strong>c</strong> <strong>d</strong> " +
      "<del>e</del> <code>f</code></p>",
    "***a***": "<p><strong><em>a</em></strong></p>",
    "``a`b``": "<p><code>a`b</code></p>",
    "**강조**는": "<p><strong>강조</strong>는</p>",
    "\\*a\\*": "<p>*a*</p>",
  };
  for (const [text, expected] of Object.entries(cases)) assert.equal(html(text), expected, text);
});

test("what is no Markdown stays the text that it is", () => {
  for (const text of [
    "2 * 3 * 4", "snake_case_name", "**open", "a `tick", "[a](b", "[a] (b)", "no list in\n17. a sentence",
    "a|b", "#tag", "-dash", "<b onclick=alert(1)>x</b>", "&lt;", "x ", "Half ", "C:\\dir",
  ]) assert.equal(html(text), `<p>${text}</p>`, text);
});

test("white space between blocks is kept", () => {
  assert.equal(html("a\r\n\r\nb\n\n"), "<p>a</p>\r\n\r\n<p>b</p>\n\n");
});

test("only http and https make a link", () => {
  const hrefs = (text) => nodes(text).flatMap(every).filter(({ tag }) => tag === "a").map(({ href }) => href);
  for (const href of [
    "javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\nscript:alert(1)", "data:text/html,<script>", "vbscript:x",
    " javascript:alert(1)", "//evil.example", "/path", "file:///etc/passwd", "\u0001javascript:alert(1)",
    "http:", "https://", "mailto:a@b.c",
  ]) assert.deepEqual(hrefs(`[x](${href}) <${href}>`), [], href);
  assert.deepEqual(hrefs("[x](https://a.b/c_(d) \"t\")"), ["https://a.b/c_(d)"]);
  assert.deepEqual(hrefs("(see https://a.b/c). HTTP://A.B!"), ["https://a.b/c", "http://a.b/"]);
  assert.deepEqual(hrefs("[https://a.b](https://c.d)"), ["https://c.d/"]);
});

test("there are no other elements than these", () => {
  const tags = new Set(nodes(SAMPLE).flatMap(every).map(({ tag }) => tag));
  assert.deepEqual([...tags].sort(), ["a", "blockquote", "code", "em", "h3", "hr", "li", "ol", "p", "pre",
    "strong", "table", "tbody", "td", "th", "thead", "tr", "ul"]);
});

test("blocks say where they start, and reading on from one gives the same", () => {
  const whole = blocksOf(SAMPLE);
  for (const { start } of whole) {
    const rest = blocksOf(SAMPLE.slice(start)).map(({ node, start: at }) => ({ node, start: at + start }));
    assert.deepEqual(rest, whole.filter((each) => each.start >= start));
  }
});

const depth = (node) =>
  (typeof node === "string" ? 0 : 1 + Math.max(0, ...node.children.map(depth)));

test("nothing a model says makes it deep, or takes it long", () => {
  const pieces = ["*", "**a", "_", "~~", "`", "`` ` ", "[", "](", "[](http://a(", "> ", "- ", "1. ", "|", "|a\n|-\n",
    "\\", "https://", "(", " ", "\t", "\n", "#", "- a\n", "> a\n", "  - a\n", "a\n", "```\n", "|-|-|\n"];
  for (const piece of pieces) {
    const began = performance.now();
    const blocks = nodes(piece.repeat(60_000 / piece.length));
    assert.ok(Math.max(...blocks.map(depth)) < 60, JSON.stringify(piece));
    assert.ok(performance.now() - began < 20_000, JSON.stringify(piece)); // quadratic would be minutes
  }
});
