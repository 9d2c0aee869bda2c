"""The OpenAPI document as a plain page: nothing is loaded from elsewhere, nothing runs."""

import json
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark; font: 1rem/1.6 system-ui, sans-serif; }
body { max-width: 54rem; margin: 2rem auto; padding: 0 1rem; }
section { border-top: 1px solid color-mix(in srgb, currentColor 25%, transparent); }
code, pre { font: .9em/1.5 ui-monospace, monospace; }
pre { overflow-x: auto; padding: .75rem; border-radius: .5rem;
  background: color-mix(in srgb, currentColor 8%, transparent); }
"""

Json = Mapping[str, Any]


def render(document: Json) -> str:
    return "\n".join(_page(document))


def _page(document: Json) -> Iterator[str]:
    info = document["info"]
    yield "<!doctype html><html lang=en><meta charset=utf-8>"
    yield f"<title>{escape(info['title'])}: API</title>"
    yield '<meta name=viewport content="width=device-width, initial-scale=1">'
    yield "<link rel=icon href=/assets/icon.svg><link rel=stylesheet href=/docs/style.css>"
    yield f"<h1>{escape(info['title'])}</h1><p>{escape(info['summary'])}</p>"
    yield '<p>The same as a document for programs: <a href="/openapi.json">openapi.json</a></p>'
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield from _operation(f"{method.upper()} {path}", operation)
    yield "<section><h2>Schemas</h2>"
    for name, schema in document["components"]["schemas"].items():
        yield f'<h3 id="{escape(name)}"><code>{escape(name)}</code></h3>{_pretty(schema)}'
    yield "</section></html>"


def _operation(title: str, operation: Json) -> Iterator[str]:
    yield f"<section><h2><code>{escape(title)}</code></h2>"
    yield f"<p>{escape(operation.get('description', ''))}</p>"
    for parameter in operation.get("parameters", ()):
        where, name = escape(parameter["in"]), escape(parameter["name"])
        yield f"<p>{where} <code>{name}</code> {escape(parameter.get('description', ''))}</p>"
    for content in operation.get("requestBody", {}).get("content", {}).values():
        yield f"<p>body {_named(content)}</p>"
    yield "<ul>"
    for status, answer in operation["responses"].items():
        content = answer.get("content", {})
        kinds = escape(", ".join(content))
        named = f"{escape(answer['description'])} {_named(content)}"
        yield f"<li>{status} {named} <code>{kinds}</code></li>"
    yield "</ul></section>"


def _named(content: Any) -> str:
    names = re.findall(r"#/components/schemas/(\w+)", json.dumps(content))
    return " or ".join(f'<a href="#{name}"><code>{name}</code></a>' for name in names)


def _pretty(schema: Any) -> str:
    return f"<pre>{escape(json.dumps(schema, indent=2, ensure_ascii=False))}</pre>"
