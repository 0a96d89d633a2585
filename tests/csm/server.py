"""The server: HTTPS on a port of its own, its connections, and the paths of the REST API."""

import contextlib
import copy
import email.utils
import http.client
import json
import socket
import ssl
import struct
import threading
import time
import traceback
from typing import Any, Callable, Dict, List, Optional, Set, Tuple
from urllib.parse import parse_qsl, unquote

from .certificates import certificate as certificate_of
from .faults import INSTEAD, Fault, fault_of, reason
from .replies import ERROR_PAGE, LOGIN_PAGE, Replies, Reply, to_json
from .world import World, later

PREFIX = "/CSM/web/"


class Request:
    """One request as it arrived; `status` is what was sent in answer, None if nothing was."""

    def __init__(
        self, method: str, path: str, headers: Dict[str, str], body: bytes, connection: int
    ) -> None:
        self.n = 0
        self.method, self.path, self.headers = method, path, headers
        self.body, self.connection = body, connection
        self.form = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        self.token = headers.get("x-auth-token")
        self.cookie = headers.get("cookie", "").partition("=")[2]
        self.when = time.time()
        self.status: Optional[int] = None
        self.fault: Optional[str] = None

    def __repr__(self) -> str:
        return f"<{self.n}: {self.method} {self.path} -> {self.fault or self.status}>"


class SimulatedCsm:
    """One server, over a world that another server may share.

    with SimulatedCsm(messages="array") as csm:   # options of World and of Dialect
        csm.world.task(27).outcome = "error"
        csm.inject(3, "reset-after")
        ...                                       # drive a client against csm.host, csm.port
        assert csm.world.triggers == []
    """

    slow_seconds = 1.0  # of the fault "slow"
    refuse_seconds = 0.5  # of the fault "refuse"
    trickle_seconds = 0.2  # of the fault "trickle": the pause between two bytes
    redirect_to = "https://localhost:1/"  # of the fault "redirect"
    garbage = b"\x15\x03\x00 220 not HTTP at all\r\n\r\n"  # of the fault "garbage"
    interim: Optional[Callable[[Request], int]] = None  # the status of a 1xx before the answer
    date: Optional[str] = None  # the Date header, where it is not that of the world's clock
    mutate: Optional[Callable[[Request, Any], Any]] = None  # changes replies on their way out
    on_arrival: Optional[Callable[[Request], Any]] = None  # called before one is processed
    on_request: Optional[Callable[[Request], Any]] = None  # called after each one

    def __init__(
        self,
        world: Optional[World] = None,
        port: int = 0,
        active: bool = True,
        certificate: str = "localhost",
        host: str = "127.0.0.1",
        **world_options: Any,
    ) -> None:
        assert not (world and world_options), "the world has its options already"
        self.world = world or World(**world_options)
        self.replies = Replies(self.world)
        self.host, self.port, self.active = host, port, active
        self.context, self.fingerprint, self.ca_file = certificate_of(certificate)
        self.requests: List[Request] = []
        self.connections = 0  # whose TLS handshake succeeded
        self.tcp_connections = 0
        self.faults: List[Fault] = []
        self.errors: List[str] = []  # tracebacks: bugs in here or in a test's hook
        self._lock = threading.RLock()
        self._open: Set[ssl.SSLSocket] = set()
        self._listener: Optional[socket.socket] = None
        self._placeholder: Optional[socket.socket] = None
        self._acceptor: Optional[threading.Thread] = None
        self._stopped = threading.Event()

    # Starting and stopping.

    def start(self) -> "SimulatedCsm":
        """Listen."""
        self._stopped.clear()
        self.accept_connections()
        return self

    def stop(self) -> None:
        """End it all, and give the port back."""
        self._stopped.set()
        self.refuse_connections(keeps_port=False)
        self._drop_placeholder()

    def die(self) -> None:
        """Stop for good. Until stop() the port stays taken: nobody else will answer there."""
        self._stopped.set()
        self.refuse_connections()

    def promote(self) -> None:
        """A takeover: this server is the active one from now on."""
        self.active = True

    def __enter__(self) -> "SimulatedCsm":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _socket(self) -> socket.socket:
        new = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET)
        new.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        new.bind((self.host, self.port))
        return new

    def _drop_placeholder(self) -> None:
        placeholder, self._placeholder = self._placeholder, None
        if placeholder:
            placeholder.close()

    def accept_connections(self) -> None:
        """Listen (again)."""
        with self._lock:
            if self._listener or self._stopped.is_set():
                return
            self._drop_placeholder()
            listener = self._listener = self._socket()
            listener.listen(128)
            listener.settimeout(0.5)  # where shutting it down does not wake accept() up
            self.port = listener.getsockname()[1]
            self._acceptor = threading.Thread(target=self._accept, args=(listener,), daemon=True)
            self._acceptor.start()

    def refuse_connections(self, seconds: Optional[float] = None, keeps_port: bool = True) -> None:
        """Listen no more, and drop what is connected; listen again after `seconds`."""
        with self._lock:
            listener, self._listener = self._listener, None
            if listener:
                with contextlib.suppress(OSError):
                    listener.shutdown(socket.SHUT_RDWR)
                if self._acceptor:
                    self._acceptor.join()
            if listener and keeps_port:
                # Bound, but not listening: connections are refused, and the port stays ours.
                self._placeholder = self._socket()
            for connection in list(self._open):
                with contextlib.suppress(OSError):
                    # Not SSLSocket's own: another thread reads from this socket.
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
        if seconds is not None:
            later(seconds, self.accept_connections)

    def _accept(self, listener: socket.socket) -> None:
        # The thread that accepts is the one that closes: the number of a closed socket may be
        # given to another server's at once.
        while listener is self._listener:
            try:
                plain = listener.accept()[0]
            except (socket.timeout, ConnectionError):
                continue
            except OSError:
                break
            try:
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection = self.context.wrap_socket(
                    plain, server_side=True, do_handshake_on_connect=False
                )
            except (OSError, ValueError):
                plain.close()
                continue
            self.tcp_connections += 1
            self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()
        listener.close()

    # One connection.

    def _serve(self, connection: ssl.SSLSocket) -> None:
        reader = connection.makefile("rb")
        try:
            connection.settimeout(10)
            connection.do_handshake()
            connection.settimeout(None)
            with self._lock:
                self.connections += 1
                number = self.connections
            while True:
                request = self._read(reader, number)
                if not request or not self._answer(connection, reader, request):
                    break
        except (OSError, ValueError, http.client.HTTPException):
            pass  # a broken connection, or a client that does not speak HTTP
        finally:
            with self._lock:
                self._open.discard(connection)
            try:
                reader.close()
                connection.close()
            except OSError:
                pass

    @staticmethod
    def _read(reader: Any, number: int) -> Optional[Request]:
        line = reader.readline(65536).decode("latin-1").split()
        if len(line) != 3:
            return None
        headers = {key.lower(): value for key, value in http.client.parse_headers(reader).items()}
        length = int(headers.get("content-length", "0"))
        body = reader.read(length)
        if len(body) != length:
            return None
        return Request(method=line[0], path=line[1], headers=headers, body=body, connection=number)

    def inject(self, n: int, kind: str, permanent: bool = False) -> None:
        """A fault at this server's n-th request; permanent: at all from that one on."""
        if permanent:
            self.inject_when(lambda request: request.n >= n, kind, None)
        else:
            self.inject_when(lambda request: request.n == n, kind)

    def inject_when(
        self, predicate: Callable[[Request], bool], kind: str, times: Optional[int] = 1
    ) -> None:
        """A fault at the next `times` requests that the predicate holds for (None: at all)."""
        self.faults.append(Fault(predicate, kind, times))

    def _answer(self, connection: ssl.SSLSocket, reader: Any, request: Request) -> bool:
        """Process a request and answer it; False if the connection is to be closed."""
        with self._lock:
            request.n = len(self.requests) + 1
            self.requests.append(request)
            kind, processed = fault_of(self.faults, request)
        if self.on_arrival:
            self.on_arrival(request)
        reply = self._process(request) if processed else (0, "", b"")
        keep = self._send(
            connection=connection, reader=reader, request=request, kind=kind, reply=reply
        )
        if self.on_request:
            self.on_request(request)
        return keep and "close" not in request.headers.get("connection", "").lower()

    def _send(
        self,
        connection: ssl.SSLSocket,
        reader: Any,
        request: Request,
        kind: str,
        reply: Tuple[int, str, bytes],
    ) -> bool:
        if kind in ("reset", "refuse"):
            # Lingering for no time makes the close that follows a reset.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if kind == "refuse":
                with self._lock:
                    self._open.discard(connection)
                reader.close()
                connection.close()
                self.refuse_connections(self.refuse_seconds)
            return False
        if kind == "close":
            return False
        if kind == "silent":
            while reader.read(1):
                pass
            return False
        if kind == "garbage":
            connection.sendall(self.garbage)
            return False
        if kind == "slow":
            self._stopped.wait(self.slow_seconds)
        if kind == "401":
            reply = (401, "application/json", to_json(self.replies.no_token()[1]))
        status, content_type, body = INSTEAD.get(kind, reply)
        request.status = status
        length = 10**9 if kind == "trickle" else len(body)
        cookie = self._cookie(request, body) if status == 200 else ""
        answer = self._head(status, content_type, length, cookie) + body
        early = self.interim(request) if self.interim else 0
        if early:
            answer = f"HTTP/1.1 {early} Early\r\n\r\n".encode("latin-1") + answer
        if kind == "cut":
            connection.sendall(answer[: len(answer) - (len(body) + 1) // 2])
            return False
        if kind == "trickle":
            position = 0
            while not self._stopped.wait(self.trickle_seconds):
                connection.sendall(answer[position : position + 1] or b" ")
                position += 1
            return False
        connection.sendall(answer)
        return True

    def _cookie(self, request: Request, body: bytes) -> str:
        """Of a log-in, where this server sets one: it lives as long as the token."""
        if not self.world.dialect.cookies or not request.path.endswith("/tokens"):
            return ""
        return str(json.loads(body.decode("utf-8")).get("token", ""))

    def _head(self, status: int, content_type: str, length: int, cookie: str = "") -> bytes:
        date = self.date
        if date is None:
            date = email.utils.formatdate(self.world.clock(), usegmt=True)
        lines = [
            f"HTTP/1.1 {status} {reason(status)}",
            f"Date: {date}",
            f"Content-Type: {content_type}",
            f"Content-Length: {length}",
        ]
        if cookie:
            lines.append(f"Set-Cookie: JSESSIONID={cookie}; Path=/; Secure; HttpOnly")
        if status == 307:
            lines.append(f"Location: {self.redirect_to}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    # The REST API.

    def _process(self, request: Request) -> Tuple[int, str, bytes]:
        try:
            status, value = self._route(request)
            if self.mutate:
                value = self.mutate(request, copy.deepcopy(value))
                status = 200 if isinstance(value, bytes) and value != ERROR_PAGE else status
            kind = "text/html" if value in (LOGIN_PAGE, ERROR_PAGE) else "application/json"
            return status, kind, value if isinstance(value, bytes) else to_json(value)
        except Exception:
            self.errors.append(traceback.format_exc())
            return 500, "text/html", ERROR_PAGE

    def _route(self, request: Request) -> Reply:
        world, path = self.world, request.path.partition("?")[0]
        parts: List[str] = []
        if path.startswith(PREFIX):
            parts = [unquote(part) for part in path[len(PREFIX) :].split("/")]
        if request.cookie and world.dialect.cookies and not world.known_cookie(request.cookie):
            return self.replies.no_token()
        is_typed = "content-type" in request.headers
        if request.method == "POST" and world.dialect.content_type and not is_typed:
            return 415, ERROR_PAGE
        if request.method == "POST" and parts == ["system", "v1", "tokens"]:
            return self.replies.log_in(world.log_in(request.form, id(self)))
        if not world.known(request.token, id(self)):
            return self.replies.no_token()
        reply = None
        if request.method == "GET":
            if not world.may_read(parts):
                return self.replies.denied()
            with world.lock:  # a record as it is at one moment, not half before a change
                reply = self._get(parts)
        elif request.method == "POST" and parts[:1] == ["sessions"]:
            reply = self._post(parts, request)
        return reply or self.replies.nothing_there(path)

    def _get(self, parts: List[str]) -> Optional[Reply]:
        world, replies = self.world, self.replies
        if parts == ["system", "ha"] and world.dialect.ha_supported:
            return 200, replies.ha(self.active)
        if parts in (["sessions"], ["sessions", "short"]):
            return 200, [replies.session(session) for session in world.sessions]
        if parts == ["sessions", "scheduledtasks"]:
            return 200, replies.tasks()
        if parts[:2] == ["sessions", "scheduledtasks"]:
            return replies.single_task("/".join(parts[2:]))
        if parts[:1] == ["sessions"] and parts[2:] in ([], ["availablecommands"]):
            return replies.single_session(parts[1], commands=bool(parts[2:]))
        return None

    def _post(self, parts: List[str], request: Request) -> Optional[Reply]:
        if parts[1:3] == ["scheduledtasks", "cancel"] and len(parts) == 4:
            return self.replies.answer(self.world.cancel_run(parts[3], self.active))
        if len(parts) == 2 and parts[1] != "scheduledtasks":
            if self.world.role == "tasks-only":
                return self.replies.denied()
            command = request.form.get("cmd", "")
            answer = self.world.run_command(
                name=parts[1], command=command, active=self.active, stopped=self._stopped
            )
            return self.replies.answer(answer)
        how = "".join(parts[3:]).lower()
        if parts[1] == "scheduledtasks" and len(parts) in (3, 4):
            if how in ("true", "synchronous"):
                return self._run_to_the_end(parts[2])
            if how in ("", "false"):
                return self.replies.answer(self.world.run_task(parts[2], self.active))
        return None

    def _run_to_the_end(self, task_id: str) -> Reply:
        """A synchronous run: the reply is the run's last message."""
        answer = self.world.run_task(task_id, self.active)
        status, reply = self.replies.answer(answer)
        if reply["msg"] == "IWNR2211I":
            task = self.world.task(task_id)
            while task.running and not self._stopped.wait(0.02):
                pass
            reply["msg"] = task.messages[-1].id
            if self.world.dialect.command_text != "none":
                reply[self.world.dialect.command_text] = task.messages[-1].text
        return status, reply
