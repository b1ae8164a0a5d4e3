"""The settings of the command line: the settings of the cluster, from the environment and the file .env."""

import os
from pathlib import Path

from honcho.environ import parse

from dualbus.runtime.settings import Settings


def settings() -> Settings:
    """Return the settings; raise ConfigError with all problems.

    The file .env of this folder overrides the environment, as in honcho.
    """
    file = Path(".env")
    return Settings.from_env(os.environ | (parse(file.read_text()) if file.exists() else {}))
