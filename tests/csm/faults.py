"""What can go wrong with one request: the kinds of faults, and which request gets which."""

import http.client
from typing import Any, Callable, Dict, List, Optional, Tuple

from .replies import ERROR_PAGE, LOGIN_PAGE

# What can be done to a request. Without "-before" or "-after": those of NOT_PROCESSED come in
# place of the processing, the others after it.
FAULTS = (
    "reset-before",  # the connection is reset
    "reset-after",
    "close-before",  # the connection is closed in good order, without an answer
    "close-after",
    "silent-before",  # no answer ever comes
    "silent-after",
    "500",  # a page of HTML with that status
    "500-after",
    "503",
    "503-after",
    "html",  # a log-in page with status 200
    "html-after",
    "empty",  # status 200 and no body
    "empty-before",
    "cut",  # the connection ends in the middle of the body
    "401",  # as for a token that is not known
    "403",
    "404",
    "415",
    "429",
    "429-after",
    "slow",  # the right answer, after SimulatedCsm.slow_seconds
    "trickle",  # an answer that never ends, a byte each SimulatedCsm.trickle_seconds
    "refuse",  # a reset, and no connections for SimulatedCsm.refuse_seconds
    "redirect",  # 307 to SimulatedCsm.redirect_to
    "garbage",  # SimulatedCsm.garbage in place of HTTP
    "garbage-after",
)
NOT_PROCESSED = (
    "500",
    "503",
    "html",
    "401",
    "403",
    "404",
    "415",
    "429",
    "refuse",
    "redirect",
    "garbage",
)

# Status, content type and body, whatever the answer would have been (but for 401).
INSTEAD: Dict[str, Tuple[int, str, bytes]] = {
    "500": (500, "text/html", ERROR_PAGE),
    "503": (503, "text/html", ERROR_PAGE),
    "403": (403, "text/html", ERROR_PAGE),
    "404": (404, "text/html", ERROR_PAGE),
    "415": (415, "text/html", ERROR_PAGE),
    "429": (429, "application/json", b'{"resultText": "Too many requests"}'),
    "html": (200, "text/html", LOGIN_PAGE),
    "empty": (200, "application/json", b""),
    "redirect": (307, "text/html", b""),
}


class Fault:
    """A kind of fault, and the requests that it is for."""

    def __init__(self, predicate: Callable[[Any], bool], kind: str, left: Optional[int]) -> None:
        if kind not in FAULTS:
            raise ValueError(f"no such fault: {kind!r}")
        self.predicate, self.kind = predicate, kind
        self.left = left  # how many more requests get it; None: all

    def hits(self, request: Any) -> bool:
        """Whether it is this request's; then there is one less to come."""
        if self.left == 0 or not self.predicate(request):
            return False
        if self.left:
            self.left -= 1
        return True


def fault_of(faults: List[Fault], request: Any) -> Tuple[str, bool]:
    """-> the kind without "-before" or "-after", and whether the request is processed."""
    for fault in faults:
        if fault.hits(request):
            request.fault = fault.kind
            kind, _, when = fault.kind.partition("-")
            return kind, when != "before" and bool(when or kind not in NOT_PROCESSED)
    return "", True


def reason(status: int) -> str:
    """The words of an HTTP status."""
    return http.client.responses.get(status, "Unknown")
