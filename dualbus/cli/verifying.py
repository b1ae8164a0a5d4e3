"""dualbus verify"""

from dualbus.application.loader import load
from dualbus.cli import output
from dualbus.cli.settings import settings
from dualbus.operations.verify import verify as prove


def verify() -> None:
    """Prove that nothing was lost, changed or skipped; the cluster may run meanwhile.

    Walks the whole log, folds it again, and compares the read model with it row by row.
    """
    found = settings()
    with output.bar("Verifying") as progress:
        proof = prove(found.data, load(found.app), progress)
    output.line(str(proof))
