"""Bearer tokens for HTTP: kept as hashes in `tokens.json` in the folder of the keys."""

import secrets
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from dualbus.protocol.permissions import Permissions
from dualbus.transport.keys import FileWatch, read_entries, write_entries

TOKENS_FILE = "tokens.json"
PREFIX = "dualbus_"  # scanners for leaked secrets find tokens by their prefix


class Token(NamedTuple):
    """A token: the name of its holder, the hash of its text, and what it permits."""

    name: str
    hash: str
    permissions: Permissions


def new_token() -> tuple[str, str]:
    """Return the text of a new token, and its hash. The text has 256 random bits: the hash needs no salt."""
    text = PREFIX + secrets.token_urlsafe(32)
    return text, hash_of(text)


def hash_of(text: str) -> str:
    """Return the hash of a token's text."""
    return sha256(text.encode(errors="surrogateescape")).hexdigest()


def read_tokens(folder: Path) -> dict[str, Token] | None:
    """Return the tokens by name, or None if no token was ever created; raise ConfigError for an invalid file."""
    entries = read_entries(folder / TOKENS_FILE, "hash")
    return None if entries is None else {name: Token(name, *entry) for name, entry in entries.items()}


def write_tokens(folder: Path, tokens: dict[str, Token]) -> None:
    """Replace the tokens."""
    write_entries(folder / TOKENS_FILE, "hash", {token.name: token[1:] for token in tokens.values()})


class TokenTable:
    """The tokens by hash. `refresh` reads a changed file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._watch = FileWatch(folder / TOKENS_FILE, self._load)
        self.by_hash: dict[str, Token] | None = None  # None: no token was ever created
        self._watch.read()

    def refresh(self) -> bool:
        """Read the file if it has changed; return whether it has. An invalid file changes nothing."""
        return self._watch.refresh()

    def _load(self) -> None:
        tokens = read_tokens(self._folder)
        self.by_hash = None if tokens is None else {token.hash: token for token in tokens.values()}
