"""python -m querybus"""

import sys

from dualbus.process import run
from querybus.node import serve

sys.exit(run("querybus", serve))
