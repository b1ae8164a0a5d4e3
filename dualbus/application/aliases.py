"""The names under which a message's field may be sent."""

from pydantic import AliasChoices, AliasPath, BaseModel

Path = tuple[str | int, ...]


def sent_paths(kind: type[BaseModel], name: str) -> list[Path]:
    """Return the paths under which a field may be sent: ("email",), or ("person", "emails", 0) of an AliasPath."""
    alias, config = kind.model_fields[name].validation_alias, kind.model_config
    paths: list[Path] = []
    if config.get("validate_by_alias") is not False:
        choices = alias.choices if isinstance(alias, AliasChoices) else [name if alias is None else alias]
        paths = [tuple(each.path) if isinstance(each, AliasPath) else (each,) for each in choices]
    by_name = config.get("populate_by_name") or config.get("validate_by_name")
    return [*paths, (name,)] if by_name else paths
