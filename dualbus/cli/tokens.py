"""dualbus tokens"""

from pathlib import Path
from typing import Annotated

import typer

from dualbus.cli import output
from dualbus.cli.settings import settings
from dualbus.protocol.origin import ACTOR
from dualbus.protocol.permissions import Permissions, patterns
from dualbus.runtime.tokens import Token, new_token, operator_token, read_tokens, write_tokens
from dualbus.transport.keys import load_cluster_keys, locked

app = typer.Typer(
    help="Show, create, list and remove the tokens of HTTP. A change has effect within a second, without a restart.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Name = Annotated[str, typer.Argument(help="The name of the holder: the actor of its commands.")]


@app.command()
def show() -> None:
    """Print the address of the page with the token of the operator, which permits everything.

    The file http.header in the folder of the keys has the token as a header: curl -H @data/keys/http.header URL. To
    replace the token, remove the file, and run this command.
    """
    current = settings()
    output.line(current.page_address(operator_token(_folder())))


@app.command()
def add(
    name: Name,
    commands: Annotated[list[str] | None, typer.Option(help="Commands to permit, such as 'Create*'.")] = None,
    queries: Annotated[list[str] | None, typer.Option(help="Queries to permit, such as '*'.")] = None,
    events: Annotated[list[str] | None, typer.Option(help="Events to permit.")] = None,
) -> None:
    """Create a token and print it. The cluster keeps its hash only.

    The name is the actor of the holder's commands. The page needs a token with every permission: --commands '*'
    --queries '*' --events '*'.
    """
    if not ACTOR.fullmatch(name):
        raise output.WrongUse(f"{name!r} is not a name: use 1 to 64 letters, digits or characters of _.@+-.")
    folder = _folder()
    permissions = Permissions(patterns(commands or ()), patterns(queries or ()), patterns(events or ()))
    with locked(folder):
        tokens = read_tokens(folder)
        if name in tokens:
            raise output.WrongUse(f"{name} has a token: remove the token first.")
        text, hash_ = new_token()
        write_tokens(folder, tokens | {name: Token(name, hash_, permissions)})
    output.line(text)


@app.command()
def remove(name: Name) -> None:
    """Remove a token."""
    folder = _folder()
    with locked(folder):
        tokens = read_tokens(folder)
        if name not in tokens:
            raise output.WrongUse(f"{name} has no token. `dualbus tokens list` shows the names.")
        write_tokens(folder, {other: token for other, token in tokens.items() if other != name})


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object per line.")] = False) -> None:
    """Show the names and the permissions of the tokens."""
    tokens = read_tokens(_folder()).values()
    if as_json:
        for token in tokens:
            output.json_line({"name": token.name, **token.permissions._asdict()})
        return
    rows = [[token.name, *map(" ".join, token.permissions)] for token in tokens]
    output.show(output.table(["Holder", "Commands", "Queries", "Events"], rows))


def _folder() -> Path:
    folder = settings().keys
    load_cluster_keys(folder)
    if folder is None:
        raise output.WrongUse("DUALBUS_KEYS is off: remove this setting to use tokens.")
    return folder
