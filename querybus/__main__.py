"""python -m dualbus.querybus"""

import sys

from dualbus.runtime.process import run

from .node import serve

sys.exit(run("querybus", serve))
