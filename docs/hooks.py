"""Hooks of mkdocs: adapt the Markdown that GitHub renders to Python-Markdown."""

import re

_TITLE = re.compile(r'^(```\w+ title=)([^"\s]+)$', re.MULTILINE)
_DEFINITION = re.compile(
    r"^(?=(?:.+\n)+?: )(?:.+\n)+", re.MULTILINE
)  # a paragraph with lines that begin with a colon


def on_page_markdown(markdown: str, **_: object) -> str:
    """Quote titles of code blocks, and separate definitions with blank lines."""
    return _DEFINITION.sub(_separated, _TITLE.sub(r'\1"\2"', markdown))


def _separated(paragraph: re.Match[str]) -> str:
    """Return a term and its definitions, each on a line of its own: a further line would end a definition."""
    parts = re.split(r"\n(?=: )", paragraph[0].rstrip("\n"))
    return "\n\n".join(part.replace("\n", " ") for part in parts) + "\n"
