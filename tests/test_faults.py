"""Exactly one backup, and the truth about it, whatever breaks on the way.

Every run is one of the real program against the simulated CSM, over TLS, with short time-outs. The
matrices go through every request of a run; a fault that a run no longer reaches ends the row.
"""
import itertools
import random
import socket
import ssl
import threading
import time

import harness
import pytest
from conftest import load_program
from harness import run_inside, server_options
from simulated_csm import SimulatedCsm, World

# The session of the task, too, bears this name.
NAME = "ITSO_SGC_H3_LAH81"
TARGETS = {"task": ["-t", NAME], "session": ["-S", "SGC Payroll"]}
# Which request of a run without a fault is the trigger.
TRIGGER = {"task": 4, "session": 3}
KINDS = ("reset-before", "reset-after", "silent-before", "silent-after", "500", "500-after", "503",
         "503-after", "html", "html-after", "empty", "empty-before", "cut", "401", "403", "429",
         "slow", "trickle", "refuse", "garbage")
# At log-in these look like a refusal (design.md: how one looks is not known), and later they make
# the program log in again; where they are for good, it is the log-in that ends the run.
LIKE_A_REFUSED_LOGIN = ("401", "403", "html", "html-after", "empty", "empty-before")
REQUEST_TIMEOUT = 0.3
COMMON = ["--request-timeout", str(REQUEST_TIMEOUT), "--json"]


def quick_world(**options):
    return World(backup_seconds=0.05, step_seconds=0.005, **options)


@pytest.fixture(autouse=True)
def no_system_cas(monkeypatch):
    """The server is trusted by its fingerprint; to read the system's CAs for each connection would
    be half of the CPU time of these tests."""
    monkeypatch.setattr(ssl.SSLContext, "set_default_verify_paths", lambda context: None)


@pytest.fixture
def csm():
    with SimulatedCsm(quick_world()) as server:
        server.slow_seconds, server.refuse_seconds = 2 * REQUEST_TIMEOUT, 0.2
        yield server
    assert server.errors == []


@pytest.fixture
def pair():
    """Two servers of one world: the first is active, the second its standby."""
    world = quick_world()
    with SimulatedCsm(world) as first, SimulatedCsm(world, active=False) as second:
        yield first, second
    assert first.errors + second.errors == []


def check_truth(result, world, timeout, codes=(0, 3, 4, 6, 7, 8), ids=True):
    """What holds for every run, whatever happened; -> its JSON."""
    told = result.json
    assert "Traceback" not in result.text
    assert result.code in codes and told["exit_code"] == result.code, told["message"]
    assert len(world.triggers) <= 2
    assert result.seconds <= timeout + 1
    assert told["started"] != "no" or not world.triggers
    assert (told["started"] == "yes") or result.code
    if result.code == 0:
        assert world.backups_made
        for session in told["sessions"] if ids else []:
            assert (session["name"], session["backup"]["id"]) in world.backups_made
    return told


def check_one_backup(result, world, triggers=1):
    told = check_truth(result, world, 9)
    assert result.code == 0, told["message"]
    assert len(world.triggers) == triggers
    assert world.backups_made == [(session["name"], session["backup"]["id"])
                                  for session in told["sessions"]]
    assert result.err.count("Z ") == result.err.count("\n"), "stderr has more than progress"


def is_trigger(request):
    return request.method == "POST" and "tokens" not in request.path


def look_of(target):
    """Methods of the requests that a look at the server's state consists of."""
    return ["GET", "GET"] if target == "task" else ["GET"]


# --- One fault, at every request -----------------------------------------------------------------

@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("target", TARGETS)
def test_one_fault(target, kind):
    """At each request in turn, until a run does not reach it. All of them end well: in no case
    does a rule make that impossible; test_session_slower_than_the_time_out has the one there is.
    """
    for n in itertools.count(1):
        with SimulatedCsm(quick_world()) as csm:
            csm.slow_seconds, csm.refuse_seconds = 2 * REQUEST_TIMEOUT, 0.2
            csm.inject(n, kind)
            result = run_inside(*server_options(csm), *TARGETS[target], *COMMON, "--timeout", "9")
            hit = csm.faults[0]["left"] == 0
        print("fault at request", n, csm.requests)
        assert csm.errors == []
        check_one_backup(result, csm.world)
        if not hit:
            break
    assert n > TRIGGER[target] + len(look_of(target))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("target", TARGETS)
def test_permanent_fault(target, kind):
    """From each request on until the first look after the trigger, and for good."""
    for n in range(1, TRIGGER[target] + len(look_of(target)) + 1):
        with SimulatedCsm(quick_world()) as csm:
            csm.slow_seconds, csm.refuse_seconds = 2 * REQUEST_TIMEOUT, 0.2
            csm.inject(n, kind, permanent=True)
            result = run_inside(*server_options(csm), *TARGETS[target], *COMMON, "--timeout", "1",
                                first_contact=0.3)
        print("fault from request", n, csm.requests)
        assert csm.errors == []
        told = check_truth(result, csm.world, 1)
        if n > TRIGGER[target]:
            expected, started = 8, "yes"
        elif n == TRIGGER[target] and kind not in ("401", "403"):
            expected, started = 8, "perhaps"
        else:  # 401 and 403 mean that the trigger was not processed
            expected, started = 4 if kind in LIKE_A_REFUSED_LOGIN else 3, "no"
        assert (result.code, told["started"]) == (expected, started), told["message"]
        assert (expected == 8) or csm.world.attempts == []
        assert told["message"] in result.err  # the text tells the same


@pytest.mark.parametrize("seed", range(20))
def test_two_faults(seed):
    """Ten draws of two faults, each of them at any request and of any kind."""
    draw = random.Random(seed)
    for _ in range(10):
        target = draw.choice(sorted(TARGETS))
        faults = [(draw.randint(1, 9 if target == "task" else 6), draw.choice(KINDS))
                  for _ in range(2)]
        with SimulatedCsm(quick_world()) as csm:
            csm.slow_seconds, csm.refuse_seconds = 2 * REQUEST_TIMEOUT, 0.2
            for n, kind in faults:
                csm.inject(n, kind)
            result = run_inside(*server_options(csm), *TARGETS[target], *COMMON, "--timeout", "4")
        print(seed, target, faults, csm.requests)
        assert csm.errors == []
        told = check_truth(result, csm.world, 4)
        # What two faults can cost: two log-ins refused, or both of the triggers lost.
        assert result.code == 0 or (result.code, told["started"]) == (4, "no") or len(
            [each for each in csm.requests if is_trigger(each)]) == 2, told["message"]


# --- The trigger ---------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", ["reset-before", "silent-before", "500", "html", "refuse"])
@pytest.mark.parametrize("target", TARGETS)
def test_never_a_third_trigger(csm, target, kind):
    csm.inject_when(is_trigger, kind, None)
    result = run_inside(*server_options(csm), *TARGETS[target], *COMMON, "--timeout", "3")
    assert result.code == 8 and result.json["started"] == "perhaps"
    sent = [each for each in csm.requests if is_trigger(each)]
    assert len(sent) == 2 and csm.world.attempts == []
    looks = csm.requests[csm.requests.index(sent[0]) + 1:csm.requests.index(sent[1])]
    assert len([each for each in looks if each.method == "GET"]) >= 2 * len(look_of(target))
    assert sent[1].when - sent[0].when >= REQUEST_TIMEOUT
    assert csm.requests[-1].method == "GET"  # it looks on until the end


@pytest.mark.parametrize("target", TARGETS)
def test_second_trigger_after_no_trace(csm, target):
    csm.inject_when(is_trigger, "silent-before")
    result = run_inside(*server_options(csm), *TARGETS[target], *COMMON, "--timeout", "9")
    check_one_backup(result, csm.world)
    sent = [each for each in csm.requests if is_trigger(each)]
    assert len(sent) == 2
    # Unanswered for one time-out, and no trace of it for another.
    assert sent[1].when - sent[0].when >= 2 * REQUEST_TIMEOUT


def test_session_slower_than_the_time_out(csm):
    """Where exactly one is impossible: a session shows nothing of a Backup that is at work, so
    one that outlasts request and look leaves no trace, and is sent once more (design.md: two
    backups are a smaller evil than none)."""
    csm.world.backup_seconds = 4 * REQUEST_TIMEOUT
    result = run_inside(*server_options(csm), *TARGETS["session"], *COMMON, "--timeout", "9")
    check_truth(result, csm.world, 9)
    assert result.code == 0 and len(csm.world.triggers) == 2


def test_task_slower_than_the_time_out(csm):
    """A task shows that it runs: the lost answer costs no second run, however long it takes."""
    csm.world.backup_seconds = 4 * REQUEST_TIMEOUT
    csm.inject_when(is_trigger, "silent-after")
    result = run_inside(*server_options(csm), *TARGETS["task"], *COMMON, "--timeout", "9")
    check_one_backup(result, csm.world)


@pytest.mark.parametrize("running_again", ["refuse-E", "409", "500"])
def test_somebody_else_was_faster(csm, running_again):
    """The schedule starts the task after we have read it: our trigger is refused, and we join."""
    csm.world.running_again, csm.world.backup_seconds = running_again, 0.4

    def start_after_the_session_was_read(request):
        if request.n == TRIGGER["task"] - 1:
            csm.world.start_run(27)

    csm.on_request = start_after_the_session_was_read
    result = run_inside(*server_options(csm), *TARGETS["task"], *COMMON, "--timeout", "9")
    check_one_backup(result, csm.world, triggers=0)
    assert len([each for each in csm.requests if is_trigger(each)]) == 1


def test_joined_run_without_a_second_trigger(csm):
    """Running already when we come: no trigger at all, and only its own backup counts."""
    csm.world.backup_seconds = 0.3
    csm.world.start_run(27)
    result = run_inside(*server_options(csm), *TARGETS["task"], *COMMON, "--timeout", "9")
    check_one_backup(result, csm.world, triggers=0)
    assert csm.world.attempts == []


@pytest.mark.parametrize("token_requests", range(1, 7))
@pytest.mark.parametrize("target", TARGETS)
def test_short_lived_tokens(csm, target, token_requests):
    csm.world.token_requests = token_requests
    result = run_inside(*server_options(csm), *TARGETS[target], *COMMON, "--timeout", "9")
    check_one_backup(result, csm.world)
    assert len(csm.world.attempts) == 1


# --- A pair --------------------------------------------------------------------------------------

def die_and_promote(first, second, condition, delay=0.0):
    """The active server dies after the first request for which `condition` holds."""
    def after(request):
        if condition(request):
            first.on_request = None
            first.die()
            if delay:
                threading.Timer(delay, second.promote).start()
            else:
                second.promote()

    first.on_request = after


def is_look(request):
    return request.method == "GET" and request.n > 5


@pytest.mark.parametrize("condition, fault, delay", [
    pytest.param(lambda request: "tokens" in request.path, None, 0, id="after log-in"),
    pytest.param(lambda request: "/system/ha" in request.path, None, 0, id="after /system/ha"),
    pytest.param(lambda request: request.path.endswith("LAH81"), None, 0, id="before the trigger"),
    pytest.param(lambda request: request.path.endswith("LAH81"), None, 0.3,
                 id="before the trigger, takeover later"),
    pytest.param(is_trigger, None, 0, id="after the trigger's answer"),
    pytest.param(is_trigger, "reset-after", 0, id="trigger processed, no answer"),
    pytest.param(is_trigger, "reset-after", 0.3, id="trigger processed, takeover later"),
    pytest.param(is_trigger, "reset-before", 0, id="trigger not processed"),
    pytest.param(is_trigger, "reset-before", 0.3, id="trigger not processed, takeover later"),
    pytest.param(is_look, None, 0, id="while waiting"),
    pytest.param(is_look, None, 0.3, id="while waiting, takeover later"),
])
@pytest.mark.parametrize("shared_tokens", [True, False])
def test_takeover(pair, condition, fault, delay, shared_tokens):
    first, second = pair
    first.world.shared_tokens = shared_tokens
    die_and_promote(first, second, condition, delay)
    if fault:
        first.inject_when(is_trigger, fault)
    result = run_inside(*server_options(first, second), *TARGETS["task"], *COMMON,
                        "--timeout", "9", first_contact=2)
    check_one_backup(result, first.world)
    assert result.json["server"] == "%s:%d" % (second.host, second.port)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("trouble", ["refuses", "standby", "silent", "dead in mid-start"])
def test_first_of_the_pair_is_no_use(pair, trouble, target):
    first, second = pair
    second.promote()
    if trouble == "refuses":
        first.die()
    elif trouble == "standby":
        first.active = False
    elif trouble == "silent":
        first.inject(1, "silent-before", permanent=True)
    else:
        first.inject(2, "reset-before", permanent=True)
    result = run_inside(*server_options(first, second), *TARGETS[target], *COMMON,
                        "--timeout", "9")
    check_one_backup(result, first.world)
    assert not [each for each in first.requests if is_trigger(each)]


@pytest.mark.parametrize("standby", ["error", "http", "503"])
def test_becomes_standby_before_the_trigger(pair, standby):
    """It answers still, but no longer runs commands: the other one does, but after a refusal, which
    is believed."""
    first, second = pair
    first.world.standby = standby

    def after(request):
        if request.path.endswith("LAH81"):
            first.active, second.active = False, True

    first.on_request = after
    result = run_inside(*server_options(first, second), *TARGETS["task"], *COMMON,
                        "--timeout", "9")
    if standby == "503":
        check_one_backup(result, first.world)
    else:
        assert result.code == 6 and first.world.triggers == []
        assert len([each for each in first.requests if is_trigger(each)]) == 1


@pytest.mark.parametrize("target", TARGETS)
def test_both_standby(pair, target):
    first, second = pair
    first.active = False
    result = run_inside(*server_options(first, second), *TARGETS[target], *COMMON,
                        "--timeout", "9")
    assert result.code == 6 and result.json["started"] == "no"
    assert first.world.attempts == [] and first.requests and second.requests


def test_both_dead(pair):
    first, second = pair
    first.die()
    second.die()
    result = run_inside(*server_options(first, second), *TARGETS["task"], *COMMON,
                        "--timeout", "2", first_contact=0.3)
    assert result.code == 3 and result.json["started"] == "no"
    for server in pair:
        assert str(server.port) in result.json["message"]


# --- A name with several addresses ---------------------------------------------------------------

@pytest.fixture
def dead_address():
    """A port that swallows connections: its backlog is full, so that nothing is answered."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        yield listener.getsockname()
        for each in waiting:
            each.close()


@pytest.mark.parametrize("dead_first", [True, False])
@pytest.mark.parametrize("how", ["swallows", "refuses"])
def test_name_with_a_dead_address(csm, dead_address, monkeypatch, how, dead_first):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: refuses
        dead = dead_address if how == "swallows" else closed.getsockname()
        addresses = [dead, (csm.host, csm.port)][::1 if dead_first else -1]
        asked = []

        def getaddrinfo(host, port, *_args, **_options):
            asked.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", each) for each in addresses]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        result = run_inside("-s", "csm.example.com", *server_options(csm)[2:], *TARGETS["task"],
                            *COMMON, "--timeout", "9")
    check_one_backup(result, csm.world)
    assert set(asked) == {"csm.example.com"} and csm.connections == 1


# --- Pauses and polls ----------------------------------------------------------------------------

class JumpingTime(harness.QuickTime):
    """A sleep takes no time, and the clock tells that it did."""

    def sleep(self, seconds):
        self.slept.append(seconds)

    def monotonic(self):
        return time.monotonic() + sum(self.slept)


@pytest.fixture
def jumping(monkeypatch):
    """Run the program with that clock -> the result and the pauses."""
    def run(csm, *argv, **options):
        program = load_program()
        result = run_inside(*server_options(csm), *argv, program=program, **options)
        return result, program.time_used.slept

    monkeypatch.setattr(harness, "QuickTime", JumpingTime)
    return run


@pytest.mark.parametrize("how", ["refused", "503", "html"])
@pytest.mark.parametrize("n", [1, 5])
def test_pauses_grow_in_an_outage(csm, jumping, how, n):
    """Ten minutes of it, right after log-in and right after the first look."""
    if how == "refused":
        csm.on_request = lambda request: request.n == n and csm.die()
    else:  # where HTML comes in place of a list, a log-in works still
        csm.inject_when(lambda request: request.n > n and request.method == "GET", how, None)
    result, slept = jumping(csm, *TARGETS["task"], "--timeout", "600", "--json")
    assert result.code == (3 if n == 1 else 8)
    pauses = slept[n > 1:]  # the first one after a trigger is the poll's
    growing = pauses[:6]
    assert growing == sorted(growing) and growing[-1] > 8 * growing[0] > 0
    assert min(pauses) > 0.2 and max(pauses) <= 15
    assert len(pauses) < 80 and len(csm.requests) < 4 * 80


def test_silent_server_at_the_start_is_given_up(csm, jumping):
    csm.die()
    result, slept = jumping(csm, *TARGETS["task"], "--json", first_contact=30)
    assert result.code == 3
    assert len(slept) >= 2 and 15 <= sum(slept) <= 60


def test_polls_of_a_long_wait(csm, jumping):
    """Half an hour: the first look after 1 s, then at 5 % of the time waited, up to 15 s."""
    csm.world.task(27).outcome = "hang"
    result, slept = jumping(csm, *TARGETS["task"], "--timeout", "1800", "--json")
    assert result.code == 8 and result.json["started"] == "yes"
    looks = [each for each in csm.requests[4:] if each.path.endswith("/scheduledtasks")]
    assert 100 < len(looks) < 200
    assert 28 <= result.err.count("INFO task running") <= 32  # a sign of life each minute
    assert 0.9 <= slept[0] <= 1
    waited = list(itertools.accumulate(slept))
    for before, pause in zip([0] + waited, slept):
        assert pause <= min(max(1, 0.05 * (before + 5)), 15)
    assert csm.connections == 1
