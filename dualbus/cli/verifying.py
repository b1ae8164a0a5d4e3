"""dualbus verify"""

from dualbus.application.loader import load
from dualbus.cli import output
from dualbus.cli.settings import settings
from dualbus.operations.verify import verify as prove


def verify() -> None:
    """Verify the log's hash chain and the read model's rows.

    Reads the whole log, projects it again, and compares the rows. The cluster may run meanwhile.
    """
    found = settings()
    with output.bar("Verifying") as progress:
        proof = prove(found.data, load(found.app), progress)
    output.line(str(proof))
