"""A certificate for localhost, and clients that trust it."""

import shutil
import ssl
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.faults.needs import need


class Certificate(NamedTuple):
    """The files of a certificate and its key."""

    cert: Path
    key: Path

    @property
    def trusting(self) -> ssl.SSLContext:
        """The context of a client that trusts this certificate only."""
        return ssl.create_default_context(cafile=str(self.cert))


def certificate(folder: Path) -> Certificate:
    """Create a certificate; skip the test without openssl."""
    need("openssl", there=shutil.which("openssl") is not None)
    made = Certificate(folder / "cert.pem", folder / "key.pem")
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*command, "-out", str(made.cert), "-keyout", str(made.key)], check=True, capture_output=True)
    return made
