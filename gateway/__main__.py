"""python -m gateway"""

import sys

from dualbus.process import run
from gateway.node import serve

sys.exit(run("gateway", serve))
