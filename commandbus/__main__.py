"""python -m dualbus.commandbus"""

import sys

from dualbus.runtime.process import run

from .node import serve

sys.exit(run("commandbus", serve))
