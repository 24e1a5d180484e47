"""Python calls as text that a formatter would leave alone: what the exported source is made of.

Only what :mod:`nas.export.source` needs: calls and lists, on one line where they fit, else one
item a line with a trailing comma.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

WIDTH = 88
"""Columns: the default of Black and Ruff."""


@dataclass(frozen=True)
class Group:
    """Something in brackets: ``opening`` ends and ``closing`` starts with the bracket.

    A comment stands behind the opening bracket and keeps the items on lines of their own.
    """

    opening: str
    items: Sequence[Node]
    closing: str = ")"
    comment: str = ""


Node: TypeAlias = str | Group


def call(name: str, *items: Node, comment: str = "") -> Group:
    """A call of ``name`` with the items as arguments."""
    return Group(f"{name}(", items, comment=comment)


def flat(node: Node) -> str:
    """The node on one line."""
    if isinstance(node, str):
        return node
    return f"{node.opening}{', '.join(map(flat, node.items))}{node.closing}"


def _has_comment(node: Node) -> bool:
    return isinstance(node, Group) and (bool(node.comment) or any(map(_has_comment, node.items)))


def lines(node: Node, indent: int = 0, suffix: str = "") -> list[str]:
    """The node as lines of at most :data:`WIDTH` columns where its words allow."""
    pad = " " * indent
    one_line = f"{pad}{flat(node)}{suffix}"
    if isinstance(node, str) or (not _has_comment(node) and len(one_line) <= WIDTH):
        return [one_line]
    comment = f"  # {node.comment}" if node.comment else ""
    inner = [line for item in node.items for line in lines(item, indent + 4, ",")]
    return [f"{pad}{node.opening}{comment}", *inner, f"{pad}{node.closing}{suffix}"]
