"""python -m dualbus.reactor"""

import sys

from dualbus.runtime.process import run

from .node import serve

sys.exit(run("reactor", serve))
