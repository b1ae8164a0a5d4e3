"""python -m dualbus.gateway"""

import sys

from dualbus.runtime.process import run

from .node import serve

sys.exit(run("gateway", serve))
