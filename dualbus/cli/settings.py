"""The settings of the command line: those of the cluster, from the same environment."""

import os

from dualbus.settings import Settings


def settings() -> Settings:
    """Return the settings; raise ConfigFault with every problem."""
    return Settings.from_env(os.environ)
