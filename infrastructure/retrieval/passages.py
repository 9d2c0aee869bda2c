"""Cuts a document into passages: by its headings, then by size.

A fenced block keeps its fences and a table its header, also where they had to be cut.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

MAX_CHARACTERS = 1200

_HEADING = re.compile(r"(#{1,6})\s+(.*?)\s*#*\s*$")
_FENCE = re.compile(r"\s*(`{3,}(?=[^`]*$)|~{3,})")
_TABLE_RULE = re.compile(r"\s*\|?[\s:|-]*-[\s:|-]*\|?\s*$")


@dataclass(frozen=True, slots=True)
class Passage:
    """`source` is the file's path in its folder, `title` the headings that lead to the text."""

    source: str
    title: str
    text: str


def of_markdown(source: str, document: str) -> Iterator[Passage]:
    headings: dict[int, str] = {}
    section: list[str] = []
    fence = ""
    for line in document.splitlines():
        fence = _fence_after(line, fence)
        heading = None if fence else _HEADING.match(line)
        if heading is None:
            section.append(line)
            continue
        yield from _of_section(source, headings, section)
        level = len(heading[1])
        headings = {above: title for above, title in headings.items() if above < level}
        headings[level] = heading[2]
        section = []
    yield from _of_section(source, headings, section)


def of_text(source: str, document: str) -> Iterator[Passage]:
    yield from _of_section(source, {}, document.splitlines())


def _of_section(source: str, headings: dict[int, str], lines: list[str]) -> Iterator[Passage]:
    title = " › ".join(headings.values()) or source.rpartition("/")[2].rpartition(".")[0]
    text = ""
    for piece in (piece for block in _blocks(lines) for piece in _pieces(block)):
        if text and len(text) + len(piece) + 2 > MAX_CHARACTERS:
            yield Passage(source, title, text)
            text = ""
        text = f"{text}\n\n{piece}" if text else piece
    if text:
        yield Passage(source, title, text)


def _blocks(lines: list[str]) -> Iterator[list[str]]:
    """Fenced blocks, and the runs of lines between them and blank lines."""
    block: list[str] = []
    fence = ""
    for line in lines:
        before, fence = fence, _fence_after(line, fence)
        if block and not before and (fence or not line.strip()):
            yield block
            block = []
        if before or line.strip():
            block.append(line.rstrip())
        if before and not fence:
            yield block
            block = []
    if block:
        yield block


def _pieces(block: list[str]) -> Iterator[str]:
    """The block, or the parts it has to be cut into, each with its header and its end."""
    head, rows, tail = _frame(block)
    room = MAX_CHARACTERS - sum(len(line) + 1 for line in (*head, *tail))
    if room < MAX_CHARACTERS // 2:
        head, rows, tail, room = [], block, [], MAX_CHARACTERS
    part: list[str] = []
    for row in _short_lines(rows, room):
        if part and len("\n".join((*part, row))) > room:
            yield "\n".join((*head, *part, *tail))
            part = []
        part.append(row)
    yield "\n".join((*head, *part, *tail))


def _frame(block: list[str]) -> tuple[list[str], list[str], list[str]]:
    """The lines that every part repeats before it, the lines to share out, the lines after."""
    if fence := _FENCE.match(block[0]):
        closed = len(block) > 1 and block[-1].strip().startswith(fence[1])
        return block[:1], block[1:-1] if closed else block[1:], [fence[0]]
    if len(block) > 2 and "|" in block[0] and _TABLE_RULE.match(block[1]):
        return block[:2], block[2:], []
    return [], block, []


def _short_lines(lines: list[str], room: int) -> Iterator[str]:
    for line in lines:
        rest = line
        while len(rest) > room:
            cut = rest.rfind(" ", room // 2, room) + 1 or room
            yield rest[:cut].rstrip()
            rest = rest[cut:]
        yield rest


def _fence_after(line: str, fence: str) -> str:
    """The fence that is open after this line, `""` for none."""
    mark = _FENCE.match(line)
    if mark is None:
        return fence
    if not fence:
        return mark[1]
    closes = mark[1].startswith(fence) and not line.strip().strip(fence[0])
    return "" if closes else fence
