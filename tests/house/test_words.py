"""The house's words: docstrings and comments name who does it, with the field's nouns and verbs."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.test_imports import PROCESSES, ROOT, files

# Verbs that the field has better ones for, and words that stand in for a noun: well-kept projects of the field have
# 3 to 8 and 15 to 27 of them in 1,000 words.
LIGHT = """
say says said tell tells told ask asks asked look looks looked take takes took taken give gives gave given
come comes came go goes went gone let lets make makes made
"""
VAGUE = """
what who whom whose whoever whatever one ones something somebody someone nobody anybody anew there it its that
"""
LIGHT_MAX, VAGUE_MAX = 12, 35  # in 1,000 words
ROOMS = sorted({path.relative_to(ROOT).parts[1] for path in files("dualbus") if path.parent != ROOT / "dualbus"})


def prose(path: Path) -> Iterator[str]:
    """Yield the docstrings and comments of a file."""
    source = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string.lstrip("# ")


def words(text: str) -> list[str]:
    """Return the words of a text in lower case."""
    return re.findall(r"[a-z']+", text.lower())


@pytest.mark.parametrize("folder", [*sorted(PROCESSES), *(f"dualbus/{room}" for room in ROOMS)])
def test_prose_has_the_words_of_the_field(folder: str) -> None:
    found = [word for path in files(folder) for text in prose(path) for word in words(text)]

    light, vague = (1000 * sum(word in some.split() for word in found) / len(found) for some in (LIGHT, VAGUE))

    assert light <= LIGHT_MAX, (
        f"{light:.1f} light verbs in 1,000 words of {folder}: name the actor, use the field's verb."
    )
    assert vague <= VAGUE_MAX, f"{vague:.1f} vague pronouns in 1,000 words of {folder}: say the noun."
