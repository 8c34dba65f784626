"""PID 1 of the wall: canaries, then the payload under its lease and limits.

Standard library only; runs as `python -I -S` under the host's interpreter, so no hook of the image runs in it. It
is not dumpable, so a payload of the same user cannot trace it; signals from inside do not reach PID 1. When it ends,
the kernel kills whatever is left in its namespace.

It reads the order as one JSON line, then lines `go`, `lease <deadline>`, `term <reason> <grace>`; it writes JSON lines:
canaries, started, end. The end of the order stream means that the agent is gone.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from sekisho_agent import canaries, forward, health, tunnel

PR_SET_DUMPABLE: Final = 4
PR_SET_NO_NEW_PRIVS: Final = 38
PR_SET_SECCOMP: Final = 22
SECCOMP_MODE_FILTER: Final = 2
FILTER_INSTRUCTION_BYTES: Final = 8
LEASE_GRACE_SECONDS: Final = 3.0
POLL_OUTPUT_SECONDS: Final = 0.25
WAIT_SECONDS_MAX: Final = 1.0
FILES_COUNTED_MAX: Final = 200_000
LINE_BYTES_MAX: Final = 8 << 20
EXIT_NOT_STARTED: Final = 127
DISK_BLOCK_BYTES: Final = 512

libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Run one order: `inside <order descriptor> <report descriptor> [<words of tunnel.hand_out>]`."""
    orders, reports = (int(text) for text in sys.argv[1:3])
    if gang := sys.argv[3:]:
        tunnel.hand_out(gang)
        # A program belongs to the user namespace it was started in: to the payload's, not to the one left behind.
        os.execv(sys.executable, sys.orig_argv[: -len(gang)])  # noqa: S606 (this very program)
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for descriptor in (orders, reports):
        os.set_inheritable(descriptor, False)  # noqa: FBT003 (takes no keyword)
    supervisor = Supervisor(Channel(orders, reports))
    supervisor.run()


def now() -> float:
    """The clock of leases; the agent reads the same one."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Channel:
    """Lines from and to the agent."""

    def __init__(self, orders: int, reports: int) -> None:
        self.orders = orders
        self._reports = reports
        self._buffer = b""
        self.closed = False

    def tell(self, **event: object) -> None:
        """Write one report line; a vanished reader is noticed on the other stream."""
        line = json.dumps(event).encode() + b"\n"
        try:
            while line:
                line = line[os.write(self._reports, line) :]
        except BrokenPipeError:
            self.closed = True

    def wait_line(self) -> bytes:
        """The next line, however long it takes; exits when the agent is gone."""
        while b"\n" not in self._buffer:
            if not self._fill():
                sys.exit(1)
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def lines(self) -> list[bytes]:
        """Complete lines after the descriptor became readable."""
        self._fill()
        *complete, self._buffer = self._buffer.split(b"\n")
        return complete

    def readable(self) -> bool:
        """Whether something came in, or the agent went away, within a second."""
        poller = select.poll()
        poller.register(self.orders, select.POLLIN)
        return bool(poller.poll(WAIT_SECONDS_MAX * 1000))

    def close(self) -> None:
        """For children that run on as the payload's user: the payload can look into those."""
        os.close(self.orders)
        os.close(self._reports)

    def _fill(self) -> bool:
        received = os.read(self.orders, 65_536)
        self._buffer += received
        self.closed = not received or len(self._buffer) > LINE_BYTES_MAX
        return not self.closed


class Supervisor:
    """Runs one order and ends its payload for the first reason that comes up."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._order: dict[str, Any] = json.loads(channel.wait_line())
        self._lease: float = self._order["lease"]
        self._reason = ""
        self._kill_at: float | None = None
        self._started_at = 0.0
        self._child = 0
        self._status: int | None = None
        self._next_count = 0.0
        self._health = health.Health(
            self._order.get("health"),
            self._ask_health,
            lambda healthy: channel.tell(event="health", healthy=healthy),
        )

    def run(self) -> None:
        """Canaries, permission, payload, end."""
        self._channel.tell(event="canaries", **self._probe())
        refused = self._wait_for_go()
        if refused:
            self._channel.tell(event="end", reason=refused)
            return
        if self._order["forward"]:
            self._forward()
        self._started_at = now()
        self._channel.tell(event="started", filtered=self._start())
        self._health.begin(self._started_at)
        self._watch()
        self._report_end()

    def _forward(self) -> None:
        """Returns once the port is open, so that no payload is too early for it; or once the forwarder has failed."""
        read_end, write_end = os.pipe()
        self._fork(lambda: forward.serve(lambda: os.close(write_end)))
        os.close(write_end)
        with os.fdopen(read_end, "rb") as opened:
            opened.read()

    def _probe(self) -> dict[str, Any]:
        """The canaries run as the payload will: same user, capabilities, limits, filter. Null when they died."""
        read_end, write_end = os.pipe()

        def try_all() -> None:
            found = {"reached": canaries.probe(self._order["canaries"]), "filtered": _filtered(os.getpid())}
            _write_all(write_end, json.dumps(found).encode())

        child = self._fork(try_all)
        os.close(write_end)
        with os.fdopen(read_end, "rb") as results:
            content = results.read()
        os.waitpid(child, 0)
        return json.loads(content) if content else {"reached": None, "filtered": False}

    def _wait_for_go(self) -> str:
        """Empty once the agent says go, else the reason for ending before the payload ran."""
        while True:
            if now() >= self._lease:
                return "lease.lost"
            lines = self._channel.lines() if self._channel.readable() else []
            for line in lines:
                self._obey(line)
            if self._reason:
                return self._reason
            if self._channel.closed:
                return "agent.gone"
            if b"go" in lines:
                return ""

    def _start(self) -> bool:
        """Start the payload; whether the kernel says that its own process, held still for a moment, is filtered."""
        become_read, become_write = os.pipe()
        go_read, go_write = os.pipe()

        def wait_then_go() -> None:
            os.close(become_write)
            os.close(go_write)
            os.read(go_read, 1)
            self._payload()

        self._child = self._fork(wait_then_go)
        os.close(become_write)
        os.read(become_read, 1)
        filtered = _filtered(self._child)
        for descriptor in (become_read, go_read, go_write):
            os.close(descriptor)
        return filtered

    def _payload(self) -> None:
        order = self._order
        _write_secrets(order["secrets_folder"], order["secrets"])
        try:
            os.chdir(order["cwd"])
            os.execvpe(order["argv"][0], order["argv"], order["env"])  # noqa: S606 (the payload)
        except OSError as error:
            os.write(2, f"{order['argv'][0]}: {error.strerror}\n".encode(errors="replace"))
        os._exit(EXIT_NOT_STARTED)

    def _ask_health(self, command: str) -> int:
        """What it says is nobody's: the log is the payload's."""

        def ask() -> None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            for descriptor in range(3):
                os.dup2(nowhere, descriptor)
            order = self._order
            os.chdir(order["cwd"])
            os.execve("/bin/sh", ["sh", "-c", command], order["env"])  # noqa: S606 (the job's own words)

        return self._fork(ask)

    def _fork(self, work: Callable[[], None]) -> int:
        """Run `work` in a child that is what the payload is; the child never returns."""
        child = os.fork()
        if child:
            return child
        try:
            self._channel.close()
            _become(self._order)
            work()
            os._exit(0)
        except BaseException as error:  # noqa: BLE001 (a child must never go on as PID 1's twin)
            os.write(2, f"the wall could not start the payload: {error}\n".encode(errors="replace"))
        os._exit(EXIT_NOT_STARTED)

    def _watch(self) -> None:
        poller = select.poll()
        poller.register(self._channel.orders, select.POLLIN)
        poller.register(os.pidfd_open(self._child), select.POLLIN)
        while self._status is None:
            self._check_deadlines()
            if self._kill_at is not None and now() >= self._kill_at:
                return
            for descriptor, _ in poller.poll(self._pause_ms()):
                if descriptor == self._channel.orders:
                    for line in self._channel.lines():
                        self._obey(line)
                    if self._channel.closed:
                        poller.unregister(self._channel.orders)
                        self._end("agent.gone", LEASE_GRACE_SECONDS)
            self._reap()

    def _check_deadlines(self) -> None:
        moment = now()
        if moment >= self._lease:
            self._end("lease.lost", LEASE_GRACE_SECONDS)
        if moment - self._started_at >= self._order["wall_s"]:
            self._end("job.time_limit", self._order["grace_s"])
        if moment >= self._next_count:
            self._next_count = moment + POLL_OUTPUT_SECONDS
            fault = _output_fault(self._order["writable"], self._order["output_bytes"])
            if fault:
                self._end(fault, LEASE_GRACE_SECONDS)
        if self._kill_at is None:
            self._health.look(moment)
            if self._health.failed:
                self._end("service.unhealthy", self._order["grace_s"])

    def _pause_ms(self) -> int:
        due = [
            self._lease,
            self._started_at + self._order["wall_s"],
            self._next_count,
            self._health.due,
        ]
        if self._kill_at is not None:
            due = [self._kill_at]
        return max(5, int(min(WAIT_SECONDS_MAX, min(due) - now()) * 1000))

    def _obey(self, line: bytes) -> None:
        verb, *words = line.decode("ascii", "replace").split(" ")
        if verb == "lease":
            self._lease = max(self._lease, float(words[0]))
        elif verb == "term":
            self._end(words[0], float(words[1]))

    def _end(self, reason: str, grace_seconds: float) -> None:
        """TERM now, KILL after the grace. The first reason stays; a shorter grace is always honoured."""
        kill_at = now() + grace_seconds
        if self._kill_at is None:
            self._reason, self._kill_at = reason, kill_at
            self._signal(signal.SIGTERM)
        self._kill_at = min(self._kill_at, kill_at)

    def _signal(self, number: int) -> None:
        """To the payload's group, or to the payload alone in the instant before it has made its group."""
        if not self._child:
            return
        try:
            os.killpg(self._child, number)
        except ProcessLookupError:
            os.kill(self._child, number)

    def _reap(self) -> None:
        """PID 1 reaps everybody, orphans of the payload included."""
        while True:
            try:
                child, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if child == 0:
                return
            if child == self._child:
                self._status = os.waitstatus_to_exitcode(status)
            else:
                self._health.ended(child, status)

    def _report_end(self) -> None:
        killed = self._status is None
        if killed:
            os.kill(-1, signal.SIGKILL)
            os.waitpid(self._child, 0)
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        self._channel.tell(
            event="end",
            reason=self._reason,
            exit_status=-signal.SIGKILL if killed else self._status,
            seconds=now() - self._started_at,
            cpu_seconds=usage.ru_utime + usage.ru_stime,
            max_rss_bytes=usage.ru_maxrss * 1024,
        )


def _become(order: dict[str, Any]) -> None:
    """From PID 1's twin to the payload's user: filter, session, limits, no capabilities; first to go without memory.

    The filter comes first. Whatever the payload can reach of a process that becomes one of its own, and it could stop
    it anywhere, is then filtered and limited as itself. Until `exec` nobody may look in but for one write.
    """
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _filter_calls(bytes.fromhex(order["seccomp"]))
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)  # PID 1 itself was started with them ignored
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for name, value in order["rlimits"].items():
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        held = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (held, held))
    libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # else a plain user may not write its own score
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as score:  # noqa: PTH123 (no pathlib in PID 1's child)
        score.write("1000")
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    uid = order["uid"]
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)


class _Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _filter_calls(program: bytes) -> None:
    """Hold this process and all that it starts to the filter (`seccomp`); OSError where the kernel refuses it."""
    if not program:
        return
    given = _Program(len(program) // FILTER_INSTRUCTION_BYTES, program)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(given), 0, 0):
        raise OSError(ctypes.get_errno(), "the kernel took no filter")


def _filtered(process: int) -> bool:
    """Whether the kernel says that this process runs under a filter; no for one that has ended."""
    try:
        with open(f"/proc/{process}/status", encoding="ascii", errors="replace") as status:  # noqa: PTH123 (as above)
            return any(line.split() == ["Seccomp:", str(SECCOMP_MODE_FILTER)] for line in status)
    except OSError:
        return False


def _write_secrets(folder: str, secrets: dict[str, str]) -> None:
    """Secrets come over the order pipe and go to a tmpfs, readable by the payload's user only."""
    for name, value in secrets.items():
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(f"{folder}/{name}", flags, 0o400)
        _write_all(descriptor, bytes.fromhex(value))
        os.close(descriptor)


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


def _output_fault(folders: list[str], bytes_max: int) -> str:
    """Empty while the writable folders together stay under the limit; by polling, so a fast writer overshoots."""
    seen: set[tuple[int, int]] = set()
    total = 0
    try:
        for found in _files(folders):
            identity = (found.st_dev, found.st_ino)
            if identity not in seen:
                seen.add(identity)
                total += found.st_blocks * DISK_BLOCK_BYTES
            if total > bytes_max or len(seen) > FILES_COUNTED_MAX:
                return "output.too_large"
    except (OSError, RecursionError):
        return "output.unreadable"
    return ""


def _files(folders: list[str]) -> Iterator[os.stat_result]:
    """Every entry below the folders; what vanishes while we look is skipped, what cannot be read is an error."""
    pending = list(folders)
    while pending:
        try:
            entries = list(os.scandir(pending.pop()))
        except FileNotFoundError:
            continue
        for entry in entries:
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if stat.S_ISDIR(found.st_mode):
                pending.append(entry.path)
            yield found
