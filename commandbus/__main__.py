"""python -m commandbus"""

import sys

from commandbus.node import serve
from dualbus.process import run

sys.exit(run("commandbus", serve))
