"""python -m dualbus.projector"""

import sys

from dualbus.runtime.process import run

from .node import serve

sys.exit(run("projector", serve))
