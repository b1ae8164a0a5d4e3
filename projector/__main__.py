"""python -m projector"""

import sys

from dualbus.process import run
from projector.node import serve

sys.exit(run("projector", serve))
