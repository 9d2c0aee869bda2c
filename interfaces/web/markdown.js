// Markdown as a tree of plain objects: {tag, children, …}, and strings. No DOM here, and no HTML:
// what is no Markdown of these few kinds stays the text that it is.

import { inline } from "./inline.js";

const DEEPEST = 8; // quotes and lists in one another; what is deeper is text

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([^`\s]*)[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*$/;
const RULE = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})(?:([-*+])|(\d{1,9})[.)])( {1,4}|\t|$)/;
const DELIMITERS = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;

const bare = (line) => line.replace(/\r?\n$/, "");
const endingOf = (line) => /\r?\n$/.exec(line)?.[0] ?? "";
const blank = (line) => line.trim() === "";

/** The blocks of a text, each with where it starts; white space between them is a string. */
export function blocksOf(text) {
  const lines = text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
  const found = [];
  let start = 0;
  let ending = ""; // of a paragraph, which goes with the white space behind it
  for (const { node, taken } of read(lines, 0)) {
    const white = typeof node === "string" ? ending + node : ending;
    if (white) found.push({ start: start - ending.length, node: white });
    if (typeof node !== "string") found.push({ start, node });
    ending = node.tag === "p" ? endingOf(taken.at(-1)) : "";
    for (const line of taken) start += line.length;
  }
  if (ending) found.push({ start: start - ending.length, node: ending });
  return found;
}

/** Yields each block with the lines that it is made of. */
function* read(lines, depth) {
  for (let at = 0; at < lines.length;) {
    const [node, end] = block(lines, at, depth);
    yield { node, taken: lines.slice(at, end) };
    at = end;
  }
}

const nodesIn = (lines, depth) =>
  Array.from(read(lines, depth), ({ node }) => node).filter((node) => typeof node !== "string");

/** The block that begins with that line, and the line behind it. */
function block(lines, at, depth) {
  const line = bare(lines[at]);
  if (blank(line)) return gap(lines, at);
  const fence = FENCE.exec(line);
  if (fence) return code(lines, at, fence);
  const heading = HEADING.exec(line);
  if (heading) return [{ tag: `h${Math.min(heading[1].length + 2, 6)}`, children: inline(heading[2]) }, at + 1];
  if (RULE.test(line)) return [{ tag: "hr", children: [] }, at + 1];
  if (depth < DEEPEST && QUOTE.test(line)) return quote(lines, at, depth);
  if (depth < DEEPEST && ITEM.test(line)) return list(lines, at, depth);
  if (isTable(lines, at)) return table(lines, at);
  return paragraph(lines, at, depth);
}

function gap(lines, at) {
  let end = at;
  while (end < lines.length && blank(lines[end])) end++;
  return [lines.slice(at, end).join(""), end];
}

// One that is not closed yet is code up to the end: more of it is coming.
function code(lines, at, [, marks, language]) {
  const closes = new RegExp(`^ {0,3}${marks[0]}{${marks.length},}[ \\t]*$`);
  let end = at + 1;
  while (end < lines.length && !closes.test(bare(lines[end]))) end++;
  const text = lines.slice(at + 1, end).join("");
  const inner = { tag: "code", language, children: text ? [text] : [] };
  return [{ tag: "pre", children: [inner] }, Math.min(end + 1, lines.length)];
}

function quote(lines, at, depth) {
  const inner = [];
  let end = at;
  while (end < lines.length && QUOTE.test(lines[end])) inner.push(lines[end++].replace(QUOTE, ""));
  return [{ tag: "blockquote", children: nodesIn(inner, depth + 1) }, end];
}

/** Items of one kind; what is indented, or follows a line without a blank one between, is theirs. */
function list(lines, at, depth) {
  const [, , bullet, number] = ITEM.exec(bare(lines[at]));
  const items = [];
  let end = at;
  while (end < lines.length) {
    const item = ITEM.exec(bare(lines[end]));
    if (!item || item[2] !== bullet || (item[3] === undefined) !== (number === undefined)) break;
    if (RULE.test(bare(lines[end]))) break;
    const [inner, next] = itemLines(lines, end, item[0].length);
    items.push({ tag: "li", children: tight(nodesIn(inner, depth + 1)) });
    end = next;
  }
  if (number === undefined) return [{ tag: "ul", children: items }, end];
  return [{ tag: "ol", start: Number(number), children: items }, end];
}

function itemLines(lines, at, indent) {
  const inner = [lines[at].slice(indent) || "\n"];
  let end = at + 1;
  while (end < lines.length) {
    const line = lines[end];
    if (blank(line)) {
      const next = gap(lines, end)[1];
      if (next >= lines.length || !/^(?: {2}|\t)/.test(lines[next])) break;
      inner.push("\n");
      end = next;
    } else if (/^(?: {2}|\t)/.test(line)) {
      inner.push(dedented(line, indent));
      end++;
    } else if (begins(line) || ITEM.test(bare(line)) || blank(lines[end - 1])) {
      break;
    } else {
      inner.push(line);
      end++;
    }
  }
  while (end < lines.length && blank(lines[end])) {
    const next = gap(lines, end)[1];
    if (next >= lines.length || !ITEM.test(bare(lines[next]))) break;
    end = next;
  }
  return [inner, end];
}

const dedented = (line, indent) => line.replace(new RegExp(`^(?:\\t| {1,${indent}})`), "");

/** A first paragraph stands in its item as it is. */
const tight = (nodes) =>
  nodes.flatMap((node, at) => (at === 0 && node.tag === "p" ? node.children : [node]));

const cells = (line) =>
  line.trim().replace(/^\||\|$/g, "").split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));

const isTable = (lines, at) =>
  at + 1 < lines.length && lines[at].includes("|") && lines[at + 1].includes("-") &&
  DELIMITERS.test(bare(lines[at + 1])) && cells(lines[at]).length === cells(lines[at + 1]).length;

function table(lines, at) {
  const aligned = cells(lines[at + 1]).map((cell) =>
    (/^:.*:$/.test(cell) ? "center" : cell.endsWith(":") ? "end" : "start"));
  const row = (tag, line) => {
    const texts = cells(line);
    const children = aligned.map((align, n) => ({ tag, align, children: inline(texts[n] ?? "") }));
    return { tag: "tr", children };
  };
  let end = at + 2;
  while (end < lines.length && lines[end].includes("|") && !blank(lines[end])) end++;
  const head = { tag: "thead", children: [row("th", lines[at])] };
  const body = { tag: "tbody", children: lines.slice(at + 2, end).map((line) => row("td", line)) };
  return [{ tag: "table", children: [head, body] }, end];
}

const begins = (line) =>
  FENCE.test(bare(line)) || HEADING.test(bare(line)) || QUOTE.test(line) || RULE.test(bare(line));

function paragraph(lines, at, depth) {
  let end = at + 1;
  while (end < lines.length && !blank(lines[end])) {
    const item = ITEM.exec(bare(lines[end]));
    // A number other than one that begins a line is a part of its sentence.
    const listed = item && (item[2] !== undefined || item[3] === "1") && item[4] !== "";
    if (begins(lines[end]) || (listed && depth < DEEPEST) || isTable(lines, end)) break;
    end++;
  }
  const text = lines.slice(at, end).join("");
  return [{ tag: "p", children: inline(bare(text)) }, end];
}
