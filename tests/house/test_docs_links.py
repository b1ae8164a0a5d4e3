"""Links, commands and units in the documents refer to things that exist."""

import re
import tomllib
from pathlib import Path

import pytest

import dualbus
from tests.conftest import ROOT

FOLDERS = (".", ".github", "docs", "examples/bank", "examples/orders", "examples/courses")
DOCUMENTS = sorted(path for folder in FOLDERS for path in (ROOT / folder).glob("*.md"))
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
WORKFLOW = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
UNITS = ROOT / "deploy" / "systemd"

LINK = re.compile(r"\]\((?![a-z]+:)([^)#\s]*)(?:#([^)\s]+))?\)")  # path, anchor
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def shown(path: Path) -> str:
    """Return a path relative to the repository."""
    return path.relative_to(ROOT).as_posix()


def links(document: Path) -> list[tuple[str, str]]:
    """Return path and anchor of each relative link."""
    return LINK.findall(FENCE.sub("", document.read_text(encoding="utf-8")))


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub and mkdocs derive them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", document.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def targets() -> set[str]:
    """Return the phony targets of the Makefile."""
    [line] = re.findall(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)
    return set(line.split())


@pytest.mark.parametrize("document", DOCUMENTS, ids=shown)
def test_relative_links_resolve(document: Path) -> None:
    for path, anchor in links(document):
        target = document.parent / path if path else document
        assert target.exists(), path
        if anchor:
            assert anchor in anchors(target), (path, anchor)


def test_every_command_of_contributing_is_a_make_target() -> None:
    named = set(re.findall(r"`make ([a-z-]+)", CONTRIBUTING))

    assert {"quick", "test", "check", "soak", "bench", "docs"} <= named <= targets()


def test_every_make_target_has_a_rule() -> None:
    rules = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))

    assert targets() == rules


def test_every_path_of_contributing_exists() -> None:
    paths = re.findall(r"`([a-z]+/[\w/.]*)`", CONTRIBUTING)

    missing = [path for path in paths if not path.startswith("build/") and not (ROOT / path).exists()]

    assert missing == []


def test_the_site_lists_every_document_once() -> None:
    nav = re.findall(r"^ +- (?:[^:]+: )([\w/.-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    published = [shown(path) for path in DOCUMENTS if path.parent.name != ".github"]

    assert sorted(nav) == sorted(published)


def test_the_glossary_defines_each_noun_once_in_a_sentence() -> None:
    entries = re.findall(r"^- (.+)$", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE)
    nouns = [entry.partition("**:")[0].lower() for entry in entries]

    assert len(nouns) == len(set(nouns)) >= 40
    assert [entry for entry in entries if not re.fullmatch(r"\*\*[^*]+\*\*: [^.]+(\.[a-z][^.]*)*\.", entry)] == []


def test_ci_runs_the_same_commands_on_every_supported_python() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    supported = [name.rpartition(" ")[2] for name in project["classifiers"] if re.search(r":: 3\.\d+$", name)]

    assert re.findall(r"run: make ([\w-]+)", WORKFLOW) == ["check", "test", "test-faults", "docs"]
    matrix = ", ".join(f'"{version}"' for version in supported)
    assert f"python: [{matrix}]" in WORKFLOW


def test_the_two_unit_templates_differ_in_their_process_only() -> None:
    templates = [
        (UNITS / name).read_text().splitlines() for name in ("dualbus@.service", "dualbus-querybus@.service")
    ]
    pairs = zip(*templates, strict=True)

    changed = [ours for ours, theirs in pairs if ours != theirs and not ours.startswith(("#", "Description="))]

    assert changed == ["ExecStart=/opt/shop/.venv/bin/python -m dualbus.%i"]


def test_the_target_starts_every_process() -> None:
    target = (UNITS / "dualbus.target").read_text()
    for process in ("gateway", "commandbus", "projector", "web"):
        assert f"dualbus@{process}.service" in target
    assert "dualbus-querybus@1.service" in target


def test_the_production_guide_names_every_unit() -> None:
    guide = (ROOT / "docs" / "production.md").read_text()

    assert [path.name for path in UNITS.iterdir() if f"deploy/systemd/{path.name}" not in guide] == []


def test_every_public_name_has_a_docstring_for_the_reference() -> None:
    source = "".join(path.read_text() for path in (ROOT / "dualbus" / "application").glob("*.py"))
    without = [
        name
        for name in dualbus.__all__
        if not (
            getattr(dualbus, name).__doc__ or re.search(rf"^{name}\b.*?^\"\"\"", source, re.MULTILINE | re.DOTALL)
        )
    ]

    assert without == []
