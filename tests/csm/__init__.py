"""A simulated IBM Copy Services Manager (CSM): a real HTTPS server that speaks its REST API.

What of it is published, and what is assumed: README.md. By hand: `python tests/csm --help`.
It runs on Python 3.6 and later; beside the standard library it needs trustme.
"""

from .dialects import DIALECTS, Dialect
from .faults import FAULTS
from .replies import LOGIN_PAGE
from .server import PREFIX, Request, SimulatedCsm
from .world import Backup, Message, Session, Task, World

__all__ = [
    "DIALECTS",
    "FAULTS",
    "LOGIN_PAGE",
    "PREFIX",
    "Backup",
    "Dialect",
    "Message",
    "Request",
    "Session",
    "SimulatedCsm",
    "Task",
    "World",
]
