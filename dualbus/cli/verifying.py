"""dualbus verify"""

from dualbus.application.loader import load
from dualbus.cli import output
from dualbus.cli.settings import settings
from dualbus.operations.verify import verify as verify_data


def verify() -> None:
    """Verify the log and the read model.

    Checks the whole log for lost and changed events, and compares the read model row by row with a read model that is
    rebuilt from the log. The cluster may run meanwhile.
    """
    found = settings()
    with output.bar("Verifying") as progress:
        report = verify_data(found.data, load(found.app), progress)
    output.line(str(report))
    if report.warning:
        output.note(f"Warning: {report.warning}")
