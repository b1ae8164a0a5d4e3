"""python -m dualbus.web"""

import sys

from dualbus.runtime.process import run

from .node import serve

sys.exit(run("web", serve))
