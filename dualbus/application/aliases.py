"""The names under which a field of a model or a dataclass of pydantic may be sent."""

from typing import Any

from pydantic import AliasChoices, AliasPath, BaseModel

Path = tuple[str | int, ...]


def sent_paths(kind: Any, name: str) -> list[Path]:
    """Return the paths under which a field may be sent: ("email",), or ("person", "emails", 0) of an AliasPath."""
    alias = kind.__pydantic_fields__[name].validation_alias
    config = kind.model_config if issubclass(kind, BaseModel) else kind.__pydantic_config__
    paths: list[Path] = []
    if config.get("validate_by_alias") is not False:
        choices = alias.choices if isinstance(alias, AliasChoices) else [name if alias is None else alias]
        paths = [tuple(each.path) if isinstance(each, AliasPath) else (each,) for each in choices]
    by_name = config.get("populate_by_name") or config.get("validate_by_name")
    return [*paths, (name,)] if by_name else paths
