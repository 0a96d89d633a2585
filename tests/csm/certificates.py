"""The certificates of the simulated servers, and the CA that issues them: new in each process."""

import atexit
import functools
import hashlib
import os
import shutil
import ssl
import tempfile
from typing import Any, NamedTuple, Tuple

import trustme

# The names that a certificate of each kind is for.
NAMES = {"localhost": ("localhost", "127.0.0.1", "::1"), "other-name": ("csm.example.com",)}


class Certificate(NamedTuple):
    """What a server listens with, and what a client may trust it by."""

    context: ssl.SSLContext
    fingerprint: str
    ca_file: str


@functools.lru_cache(maxsize=None)
def _authority() -> Tuple[Any, str]:
    """The CA of this process, and the file that its certificate is in."""
    folder = tempfile.mkdtemp(prefix="simulated-csm-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    authority = trustme.CA()
    ca_file = os.path.join(folder, "ca.pem")
    authority.cert_pem.write_to_path(ca_file)
    return authority, ca_file


@functools.lru_cache(maxsize=None)
def certificate(kind: str) -> Certificate:
    """A server certificate: made once, since making keys is what would take long."""
    authority, ca_file = _authority()
    issued = authority.issue_cert(*NAMES[kind])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(context)
    der = ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode("ascii"))
    return Certificate(context, hashlib.sha256(der).hexdigest(), ca_file)
