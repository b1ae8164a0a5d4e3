"""dualbus new"""

import keyword
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from dualbus.cli import output
from dualbus.cli.template import FILES

TAKEN = {"dualbus", "tests"}


def new(
    name: Annotated[str, typer.Argument(help="The application's name: also of its folder and of its package.")],
) -> None:
    """Create a folder with a small, tested application."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise output.WrongUse(f"{name!r} cannot be the name of a package: take small letters, such as myapp.")
    if name in TAKEN or name in sys.stdlib_module_names:
        raise output.WrongUse(f"There is a package {name} already: take another name.")
    folder = Path(name)
    if folder.exists():
        raise output.CliError(f"{folder} is there already: take another name, or go to another folder.")
    for path, text in FILES.items():
        made = folder / path.replace("NAME", name)
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_text(text.replace("NAME", name))
    output.line(f"Made {folder}. Next: cd {folder}, then `pytest` to test it, `dualbus dev` to run it.")
