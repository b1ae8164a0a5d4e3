"""Bearer tokens for HTTP, in the folder of the keys.

`http.header` has the token of the operator, as a header for curl; the first process that needs the token creates the
file. `tokens.json` has the hashes of the tokens of others.
"""

import re
import secrets
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from dualbus.protocol.permissions import EVERYTHING, Permissions
from dualbus.runtime.errors import ConfigError
from dualbus.runtime.files import write_private
from dualbus.transport.keys import (
    FileWatch,
    load_cluster_keys,
    locked,
    read_entries,
    read_private,
    write_entries,
)

HEADER_FILE, TOKENS_FILE = "http.header", "tokens.json"
PREFIX = "dualbus_"  # scanners for leaked secrets find tokens by their prefix
_HEADER = re.compile(rf"Authorization: Bearer ({PREFIX}[\w-]{{43}})\n", re.ASCII)


class Token(NamedTuple):
    """A token: the name of its holder, the hash of its text, and what it permits. The operator has no name."""

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


def operator_token(folder: Path) -> str:
    """Return the text of the operator's token; create the token, and the keys, if they are missing."""
    load_cluster_keys(folder)
    path = folder / HEADER_FILE
    if not path.exists():
        with locked(folder):
            if not path.exists():
                write_private(path, f"Authorization: Bearer {new_token()[0]}")
    return _read_header(path)


def _read_header(path: Path) -> str:
    match = _HEADER.fullmatch(read_private(path).decode("latin-1"))
    if match is None:
        raise ConfigError(f"{path} is not valid: remove the file, and run `dualbus tokens show`.")
    return match[1]


def read_tokens(folder: Path) -> dict[str, Token]:
    """Return the tokens of others by name; raise ConfigError for an invalid file."""
    return {name: Token(name, *entry) for name, entry in read_entries(folder / TOKENS_FILE, "hash").items()}


def write_tokens(folder: Path, tokens: dict[str, Token]) -> None:
    """Replace the tokens of others."""
    write_entries(folder / TOKENS_FILE, "hash", {token.name: token[1:] for token in tokens.values()})


class TokenTable:
    """The tokens by hash. `refresh` reads changed files: an invalid file does not delay the changes of the other."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._operator: dict[str, Token] = {}
        self._others: dict[str, Token] = {}
        self._watches = [
            FileWatch(folder / HEADER_FILE, self._load_operator),
            FileWatch(folder / TOKENS_FILE, self._load_others),
        ]
        for watch in self._watches:
            watch.read()

    def refresh(self) -> bool:
        """Read the files if one has changed; return whether one has. An invalid file changes nothing."""
        changed = [watch.refresh() for watch in self._watches]
        return any(changed)

    @property
    def tokens(self) -> dict[str, Token]:
        """All tokens by hash."""
        return self._others | self._operator

    def holder(self, text: str) -> Token | None:
        """Return the token of a text, or None."""
        hash_ = hash_of(text)
        return self._operator.get(hash_) or self._others.get(hash_)

    def holds(self, token: Token) -> bool:
        """Return whether a token is still valid, with the same permissions."""
        return token in (self._operator.get(token.hash), self._others.get(token.hash))

    def _load_operator(self) -> None:
        path = self._folder / HEADER_FILE
        found = [Token("", hash_of(_read_header(path)), EVERYTHING)] if path.exists() else []
        self._operator = {token.hash: token for token in found}

    def _load_others(self) -> None:
        self._others = {token.hash: token for token in read_tokens(self._folder).values()}
