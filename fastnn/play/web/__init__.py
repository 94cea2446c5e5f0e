"""The files of the page, and the page as one file."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from importlib import resources
from typing import Any

PAGE = "index.html"
KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
IMPORTS = re.compile(r'^import [^;]*? from "\./([a-z]+\.js)";\n', re.M)
SOURCES = re.compile(r'<link rel="(stylesheet|icon)"[^>]*>\n *|<script[^>]*src[^>]*></script>\n *')


@dataclass(frozen=True)
class File:
    """A file to be saved."""

    name: str
    content: bytes
    kind: str


def kind(name: str) -> str:
    """What is said of a file's content."""
    return KINDS[name.rpartition(".")[2]]


def files() -> dict[str, bytes]:
    """The content of every file of the page, by name."""
    folder = resources.files(__package__)
    found = [one for one in folder.iterdir() if one.name.rpartition(".")[2] in KINDS]
    return {one.name: one.read_bytes() for one in found}


def alone(description: dict[str, Any]) -> str:
    """The page as one file that asks nobody for anything, with what is described inside.

    Its policy names the hash of its script and of its style: nothing else runs in it.
    """
    parts = {name: content.decode() for name, content in files().items()}
    style, code = parts["style.css"], joined("app.js", parts)
    data = json.dumps(description, separators=(",", ":")).replace("<", "\\u003c")
    policy = (
        f"default-src 'none'; script-src '{digest(code)}'; style-src '{digest(style)}'; "
        f"img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    head = (
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n    '
        f"<style>{style}</style>\n    "
        f'<script type="application/json" id="inside">{data}</script>\n  '
    )
    page = SOURCES.sub("", parts[PAGE]).replace("</head>", f"{head}</head>")
    return page.replace("</body>", f'<script type="module">{code}</script>\n  </body>')


def digest(text: str) -> str:
    """The hash of a script or style, as a policy names it."""
    found = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(found).decode()}"


def joined(name: str, parts: dict[str, str]) -> str:
    """A module and all that it imports as one script: no two of them may have a name in common."""
    order: list[str] = []

    def visit(module: str) -> None:
        if module not in order:
            for found in IMPORTS.findall(parts[module]):
                visit(found)
            order.append(module)

    visit(name)
    code = "\n".join(IMPORTS.sub("", parts[module]) for module in dict.fromkeys(order))
    return re.sub(r"^export (?=(?:async )?function|const|class|let)", "", code, flags=re.M)
