"""dualbus keys"""

from pathlib import Path
from typing import Annotated

import typer

from dualbus.cli import output
from dualbus.cli.settings import settings
from dualbus.protocol.origin import ACTOR
from dualbus.protocol.permissions import Permissions, patterns
from dualbus.transport.curve import new_pair
from dualbus.transport.keys import (
    Keys,
    NamedClient,
    load_cluster_keys,
    locked,
    read_clients,
    write_clients,
    write_key,
)

app = typer.Typer(
    help="Create, list and remove the keys of clients. A change has effect within a second, without a restart.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Name = Annotated[str, typer.Argument(help="The name of the client: the actor of its commands.")]
File = Annotated[Path | None, typer.Option("--file", help="The new key file; default: NAME.key.")]


@app.command()
def add(
    name: Name,
    commands: Annotated[list[str] | None, typer.Option(help="Commands to permit, such as 'Create*'.")] = None,
    queries: Annotated[list[str] | None, typer.Option(help="Queries to permit, such as '*'.")] = None,
    events: Annotated[list[str] | None, typer.Option(help="Events to permit in subscriptions.")] = None,
    file: File = None,
) -> None:
    """Create a key for a client.

    Writes a file with the secret of the client and the public key of the gateway: move the file to the client, and
    set DUALBUS_KEYS to its path. Options can be repeated; without them, the client may send nothing.
    """
    if not ACTOR.fullmatch(name):
        raise output.WrongUse(f"{name!r} is not a name: use 1 to 64 letters, digits or characters of _.@+-.")
    path = _new_file(name, file)
    folder, own = _cluster()
    permissions = Permissions(patterns(commands or ()), patterns(queries or ()), patterns(events or ()))
    with locked(folder):
        clients = read_clients(folder)
        if name in clients:
            raise output.WrongUse(f"{name} has a key: rotate or remove the key.")
        _write(folder, own, clients, NamedClient(name, "", permissions), path)


@app.command()
def rotate(name: Name, file: File = None) -> None:
    """Replace the key of a client. The old key is refused from now on, the permissions stay."""
    path = _new_file(name, file)
    folder, own = _cluster()
    with locked(folder):
        clients = read_clients(folder)
        _write(folder, own, clients, _known(clients, name), path)


@app.command()
def remove(name: Name) -> None:
    """Remove the key of a client. Its connections are refused from now on."""
    folder, _ = _cluster()
    with locked(folder):
        clients = read_clients(folder)
        del clients[_known(clients, name).name]
        write_clients(folder, clients)


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object per line.")] = False) -> None:
    """Show the named clients with their public keys and permissions, and the public key of the gateway."""
    folder, own = _cluster()
    clients = read_clients(folder).values()
    if as_json:
        for client in clients:
            output.json_line({"name": client.name, "public": client.public, **client.permissions._asdict()})
        return
    rows = [[client.name, client.public, *map(" ".join, client.permissions)] for client in clients]
    output.show(output.table(["Client", "Public key", "Commands", "Queries", "Events"], rows))
    output.line(f"Public key of the gateway: {own.gateway}")


def _cluster() -> tuple[Path, Keys]:
    """Return the folder and the keys of the cluster."""
    folder = settings().keys
    own = load_cluster_keys(folder)
    if folder is None or own is None:
        raise output.WrongUse("DUALBUS_KEYS is off: remove this setting to use keys.")
    return folder, own


def _new_file(name: str, file: Path | None) -> Path:
    path = file or Path(f"{name}.key")
    if path.exists():
        raise output.WrongUse(f"{path} exists: move the file, or choose another with --file.")
    return path


def _known(clients: dict[str, NamedClient], name: str) -> NamedClient:
    if name not in clients:
        raise output.WrongUse(f"{name} has no key. `dualbus keys list` shows the clients.")
    return clients[name]


def _write(folder: Path, own: Keys, clients: dict[str, NamedClient], client: NamedClient, path: Path) -> None:
    """Write a new key for a client: its file first, so that no key is in use without a file."""
    public, secret = new_pair()
    write_key(path, Keys(own.gateway, public, secret))
    write_clients(folder, clients | {client.name: client._replace(public=public)})
    output.line(
        f"{path} has the key of {client.name}. Move it to the client, and set DUALBUS_KEYS to its path there."
    )
