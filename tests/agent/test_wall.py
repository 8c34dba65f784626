"""A hostile payload tries to get out. Every attempt runs inside a real wall."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from sekisho_agent import canaries, listeners
from sekisho_agent.engines import local_run
from sekisho_agent.engines.contract import Engine, Task
from sekisho_agent.engines.local import LocalEngine
from sekisho_agent.limits import Held
from sekisho_agent.wall import Mount
from sekisho_wire.messages import Limits
from tests.agent.engine_suite import finish, make_task, wait_end, wait_log

pytestmark = pytest.mark.wall

PYTHON = "/usr/bin/python3"


def said(engine: Engine, task: Task) -> str:
    finish(engine, task)
    return engine.logs(task.attempt, 0, 100_000).decode(errors="replace")


def python_task(folder: Path, code: str) -> Task:
    return make_task(folder, "", argv=(PYTHON, "-c", code))


def test_the_machine_is_not_seen(local_engine: LocalEngine, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.write_text("host file")
    code = f"""
import os
for path in ("/etc/shadow", "/root", "/var", "/sys", "/opt", {str(hidden)!r}, "/usr/local/bin", "/.dockerenv"):
    print(path, os.path.exists(path) and sorted(os.listdir(path)) if os.path.isdir(path) else os.path.exists(path))
print(sorted(os.listdir("/etc")), sorted(name for name in os.listdir("/dev")))
print(sorted(int(name) for name in os.listdir("/proc") if name.isdigit()))
"""
    lines = said(local_engine, python_task(tmp_path, code)).splitlines()
    assert lines[:6] == [
        f"{path} False" for path in ("/etc/shadow", "/root", "/var", "/sys", "/opt", str(hidden))
    ]
    assert lines[6] == "/usr/local/bin False"
    assert lines[8].startswith("['passwd'] ")
    assert "'sda'" not in lines[8]
    assert "'vda'" not in lines[8]
    assert len(lines[9].split(",")) <= 3, "PID 1, the payload, and nobody else"


def test_nothing_but_the_given_folders_can_be_written(local_engine: LocalEngine, tmp_path: Path) -> None:
    code = """
import os
for folder in ("/", "/usr", "/usr/bin", "/usr/local", "/etc", "/run", "/wall", "/wall/sekisho_agent", "/proc", "/bin", "/dev", "/dev/pts"):
    try:
        open(f"{folder}/new", "w").close()
        print("WRITTEN", folder)
    except OSError as error:
        pass
for path in ("/etc/passwd", "/wall/sekisho_agent/inside.py", "/proc/sys/kernel/hostname", "/proc/sysrq-trigger"):
    try:
        open(path, "a").write("x")
        print("WRITTEN", path)
    except OSError as error:
        pass
open("/dev/null", "w").write("x")
for folder in ("/out", "/tmp", "/home", "/dev/shm"):
    open(f"{folder}/new", "w").close()
print("ok")
"""
    assert said(local_engine, python_task(tmp_path, code)) == "ok\n"


def test_pid_one_is_out_of_reach(local_engine: LocalEngine, tmp_path: Path) -> None:
    code = """
import ctypes, os, signal
libc = ctypes.CDLL(None, use_errno=True)
print("traced", libc.ptrace(16, 1, 0, 0) == 0)
for path in ("/proc/1/mem", "/proc/1/environ", "/proc/1/fd", "/proc/1/root"):
    try:
        os.listdir(path) if os.path.isdir(path) else open(path, "rb").read(1)
        print("READ", path)
    except OSError:
        pass
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV, signal.SIGUSR1):
    try:
        os.kill(1, number)
    except OSError:
        pass
print("fds", [fd for fd in range(3, 100) if os.path.exists(f"/proc/self/fd/{fd}") and "fd" not in os.readlink(f"/proc/self/fd/{fd}")])
print("alive", os.path.exists("/proc/1"))
"""
    task = python_task(tmp_path, code)
    assert said(local_engine, task) == "traced False\nfds []\nalive True\n"
    assert local_engine.reason(task.attempt) == "finished"


def test_the_forwarder_is_out_of_reach(local_engine: LocalEngine, tmp_path: Path) -> None:
    """It is the payload's user, and not the payload: nobody looks into it."""
    code = """
import os
for number in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
    for part in ("mem", "maps", "environ"):
        try:
            open(f"/proc/{number}/{part}", "rb").close()
        except OSError:
            continue
        print("me" if number == os.getpid() else number, part)
print(len([name for name in os.listdir("/proc") if name.isdigit()]))
"""
    task = msgspec.structs.replace(python_task(tmp_path, code), egress=("a.example:443",))
    assert said(local_engine, task) == "me mem\nme maps\nme environ\n3\n"


def test_privileges_cannot_be_regained(local_engine: LocalEngine, tmp_path: Path) -> None:
    code = """
import os
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines() if ":" in line)
print(status["CapEff"].strip(), status["CapPrm"].strip(), status["CapAmb"].strip(), status["NoNewPrivs"].strip())
for call in (lambda: os.setuid(0), lambda: os.chown("/out", 0, 0), lambda: os.mknod("/out/dev", 0o20600, os.makedev(1, 1)), lambda: os.chroot("/")):
    try:
        call()
        print("ALLOWED")
    except OSError:
        pass
print(os.getuid() != 0, os.getgroups() in ([], [os.getgid()], [65534], [os.getgid(), 65534]))
"""
    lines = said(local_engine, python_task(tmp_path, code)).splitlines()
    assert lines == ["0" * 16 + " " + "0" * 16 + " " + "0" * 16 + " 1", "True True"]


def test_there_is_no_network(local_engine: LocalEngine, tmp_path: Path) -> None:
    code = """
import socket
import sys
print([name for _, name in socket.if_nameindex()])
for address in (("192.0.2.1", 80), ("127.0.0.1", 22)):
    try:
        socket.create_connection(address, 2)
        print("CONNECTED", address)
    except OSError:
        pass
"""
    assert said(local_engine, python_task(tmp_path, code)) == "['lo']\n"


def test_a_second_payload_does_not_see_the_first(local_engine: LocalEngine, tmp_path: Path) -> None:
    first = make_task(tmp_path, "echo secret > /tmp/shared; echo ready; sleep 30")
    local_engine.submit(first)
    wait_log(local_engine, first, b"ready")
    code = "import os; print(os.listdir('/tmp'), os.listdir('/dev/shm'), os.listdir('/out'))"
    assert said(local_engine, python_task(tmp_path, code)) == "[] [] []\n"
    local_engine.cancel(first.attempt, "job.cancelled", 0)
    wait_end(local_engine, first)


def test_scratch_space_has_a_size(local_engine: LocalEngine, tmp_path: Path) -> None:
    task = make_task(
        tmp_path, "head -c 3000000 /dev/zero > /tmp/big; ls -l /tmp/big", limits={"tmp_bytes": 1 << 20}
    )
    assert "No space left" in said(local_engine, task)


def test_start_up_hooks_of_an_image_do_not_run_in_pid_one(local_engine: LocalEngine, tmp_path: Path) -> None:
    """An image whose hooks write a mark: the mark may only come from the payload's own interpreter."""
    image = tmp_path / "image"
    packages = image / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    packages.mkdir(parents=True)
    (image / "bin").mkdir()
    (image / "bin" / "python").symlink_to(PYTHON)
    (image / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.11.2\n")
    (packages / "hook.pth").write_text("import os; os.write(1, b'hook in %d\\n' % os.getpid())\n")
    task = make_task(tmp_path, "", argv=("/image/bin/python", "-c", "print('payload')"))
    image_of = msgspec.structs.replace(task.image, name="test", folder=image)
    lines = said(local_engine, msgspec.structs.replace(task, image=image_of)).splitlines()
    assert lines[-1] == "payload"
    assert set(lines[:-1]) == {"hook in 3"}, "the hook ran elsewhere than in the payload's interpreter"


def test_canaries_find_no_way_out(local_engine: LocalEngine, tmp_path: Path) -> None:
    task = make_task(tmp_path, "true", level=2)
    assert finish(local_engine, task).reason == "finished"
    report = local_engine.wall(task.attempt)
    assert report is not None
    unproven = {"tcp_host"} | ({"raw"} if os.geteuid() else set())
    assert {route for route, result in report.canaries.items() if result == "unproven"} == unproven
    assert "open" not in report.canaries.values()
    assert list(report.canaries) == list(canaries.ROUTES)


@pytest.fixture
def shown_socket(local_engine: LocalEngine) -> Mount:
    """A hole on purpose: the canary's socket path shown inside under the path it has outside."""
    folder = local_engine._host._listeners._folder
    return Mount(source=folder, inside=f"/hole{folder}")


@pytest.mark.parametrize(
    ("level", "reason"), [(1, "finished"), (2, "wall.canary_open"), (4, "wall.canary_open")]
)
def test_an_open_route_stops_protected_levels(
    local_engine: LocalEngine,
    tmp_path: Path,
    shown_socket: Mount,
    monkeypatch: pytest.MonkeyPatch,
    *,
    level: int,
    reason: str,
) -> None:
    task = make_task(tmp_path, "echo ran > /out/ran", level=level)
    task = msgspec.structs.replace(task, mounts=(*task.mounts, shown_socket))
    original = listeners.Listeners.targets

    def through_the_hole(
        self: listeners.Listeners, *, proxy: str | None = None
    ) -> dict[str, canaries.Target]:
        targets = original(self, proxy=proxy)
        if proxy is not None:
            targets["unix_path"]["address"] = f"/hole{targets['unix_path']['address']}"
        return targets

    monkeypatch.setattr(listeners.Listeners, "targets", through_the_hole)
    end = finish(local_engine, task)
    report = local_engine.wall(task.attempt)
    assert report is not None
    assert report.canaries["unix_path"] == "open"
    assert end.reason == reason
    assert (task.folder / "out" / "ran").exists() == (reason == "finished")


def test_canaries_that_die_stop_the_attempt(
    local_engine: LocalEngine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Too little memory for the canaries' own process: nothing is known about the wall, so nothing runs."""
    task = make_task(tmp_path, "echo ran > /out/ran", level=1)
    held = local_run.hold

    def no_files(limits: Limits, controllers: frozenset[str]) -> Held:
        return msgspec.structs.replace(held(limits, controllers), rlimits={"NOFILE": 0})

    monkeypatch.setattr(local_run, "hold", no_files)
    finish(local_engine, task)
    assert not (task.folder / "out" / "ran").exists()


class _Upstream:
    """A loopback server that answers one word to whoever connects."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.server.accept()
            except OSError:
                return
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhere")

    def close(self) -> None:
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()


@pytest.fixture
def upstream() -> Iterator[_Upstream]:
    server = _Upstream()
    yield server
    server.close()


def test_the_egress_proxy_lets_only_the_list_through(
    local_engine: LocalEngine,
    tmp_path: Path,
    upstream: _Upstream,
) -> None:
    code = f"""
import os, urllib.error, urllib.request
for port in ({upstream.port}, {upstream.port + 1}):
    try:
        print(urllib.request.urlopen(f"http://127.0.0.1:{{port}}/x", timeout=10).read().decode())
    except urllib.error.HTTPError as error:
        print(error.code)
"""
    task = msgspec.structs.replace(
        python_task(tmp_path, code.replace("import os,", "import")),
        egress=(f"127.0.0.1:{upstream.port}",),
        egress_private=True,
        level=2,
    )
    # urllib leaves out proxies for loopback when no_proxy says so; nothing does here.
    assert said(local_engine, task) == "here\n403\n"
    report = local_engine.wall(task.attempt)
    assert report is not None
    assert report.canaries["proxy_unlisted"] == "closed"
    end = local_engine.observe(task.attempt).end
    assert end is not None
    assert end.egress is not None
    (reached,) = end.egress.reached
    assert (reached.destination, reached.connections, reached.addresses) == (task.egress[0], 1, ["127.0.0.1"])
    assert (reached.sent_bytes > 20, reached.received_bytes) == (True, 42)
    assert [held.reason for held in end.egress.refused] == ["not_listed", "not_listed"]
    assert end.egress.mechanism == "network namespace + proxy"
