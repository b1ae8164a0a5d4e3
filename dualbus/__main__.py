"""Run the command line: python -m dualbus."""

import sys

from dualbus.cli.main import main

sys.exit(main())
