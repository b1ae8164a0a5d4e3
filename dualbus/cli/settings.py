"""The settings of the command line: those of the cluster, from the same environment."""

import os
from pathlib import Path

from honcho.environ import parse

from dualbus.runtime.settings import Settings


def settings() -> Settings:
    """Return the settings; raise ConfigError with every problem.

    A file .env in the current folder takes precedence, as for the cluster started by honcho there.
    """
    file = Path(".env")
    return Settings.from_env(os.environ | (parse(file.read_text()) if file.exists() else {}))
