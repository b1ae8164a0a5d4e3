"""dualbus new"""

import keyword
import re
import sys
from importlib import resources
from importlib.resources.abc import Traversable
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from dualbus.cli import output

TEMPLATE = resources.files("dualbus.cli") / "template"
TEMPLATE_NAME = "myapp"
DOTFILES = {"dotenv": ".env", "gitignore": ".gitignore"}  # package data cannot include names with a leading dot
NOT_COPIED = {"ruff.toml", "__pycache__"}
RESERVED = {"dualbus", "tests"}


def new(
    name: Annotated[str, typer.Argument(help="Name of the application, of its folder and of its package.")],
) -> None:
    """Create a small application with tests."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise output.WrongUse(f"{name!r} cannot be the name of a package: use small letters, such as myapp.")
    if name in RESERVED or name in sys.stdlib_module_names:
        raise output.WrongUse(f"Package {name} already exists: use another name.")
    if name == "data":
        raise output.WrongUse(f"{name} is the folder of the log, which .gitignore excludes: use another name.")
    folder = Path(name)
    if folder.exists():
        raise output.CliError(f"{folder} already exists: use another name or another folder.")
    if find_spec(name):
        raise output.WrongUse(f"Package {name} already exists: use another name.")
    _copy(TEMPLATE, folder, name)
    output.line(f"Made {folder}. Next: cd {folder}, then `pytest` to test it, `dualbus dev` to run it.")


def _copy(source: Traversable, folder: Path, name: str) -> None:
    """Copy a folder of the template for the application `name`."""
    folder.mkdir()
    for entry in source.iterdir():
        if entry.name in NOT_COPIED or entry.name.startswith("."):  # a cache of a tool
            continue
        path = folder / DOTFILES.get(entry.name, entry.name.replace(TEMPLATE_NAME, name))
        if entry.is_dir():
            _copy(entry, path, name)
        else:
            path.write_text(entry.read_text("utf-8").replace(TEMPLATE_NAME, name), "utf-8")
