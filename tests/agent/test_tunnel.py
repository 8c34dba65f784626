"""The interface between walls: what a payload finds of it, and machines that cannot have one."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from sekisho_agent import listeners
from sekisho_agent.config import AgentConfig
from sekisho_agent.engines import keeping
from sekisho_agent.engines.local import LocalEngine
from sekisho_agent.errors import EngineError
from tests.agent.engine_suite import finish, make_task
from tests.agent.gang_suite import GangSuite, lines, talking

pytestmark = pytest.mark.wall


class TestWhatAPayloadFinds:
    """Both nodes try; what either could do is in the log."""

    needs_gangs = GangSuite.gangs_can_be

    @pytest.fixture
    def engine(self, local_engine: LocalEngine) -> LocalEngine:
        return local_engine

    def test_no_right_is_left_to_the_payload(self, engine: LocalEngine, tmp_path: Path) -> None:
        code = """
            status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines())
            say([status[name] for name in ("CapEff", "CapPrm", "CapAmb")])
        """
        finish(engine, task := talking(tmp_path, code))
        none = str(["0" * 16] * 3)
        assert lines(engine, task) == sorted([none, f"[1] {none}"])

    def test_the_interface_cannot_be_changed_or_made_again(self, engine: LocalEngine, tmp_path: Path) -> None:
        code = """
            import fcntl, struct
            any_socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            changes = {
                "address": (0x8916, struct.pack("16sHH4s16x", b"peers", 2, 0, bytes([10, 73, 0, 9]))),
                "down": (0x8914, struct.pack("16sH22x", b"peers", 0)),
                "size": (0x8922, struct.pack("16si20x", b"peers", 1000)),
                "route": (0x890B, bytes(120)),
            }
            for name, (request, content) in changes.items():
                try:
                    fcntl.ioctl(any_socket, request, content)
                    say(f"CHANGED {name}")
                except OSError:
                    pass
            for family, kind in ((socket.AF_INET, socket.SOCK_RAW), (socket.AF_PACKET, socket.SOCK_RAW)):
                try:
                    socket.socket(family, kind, 1)
                    say(f"RAW {family}")
                except OSError:
                    pass
            say([os.path.exists(path) for path in ("/dev/net", "/dev/net/tun")])
            say(sorted(os.listdir("/proc/self/fd")) == ["0", "1", "2", "3", "4"])
        """
        finish(engine, task := talking(tmp_path, code))
        said = ["[False, False]", "True"]
        assert lines(engine, task) == sorted([*(f"[1] {line}" for line in said), *said])

    def test_pid_one_is_out_of_reach(self, engine: LocalEngine, tmp_path: Path) -> None:
        """It made the interface with rights of its own; none of its files may be the payload's because of that."""
        code = """
            import ctypes, signal
            libc = ctypes.CDLL(None)
            say(f"traced {libc.ptrace(16, 1, 0, 0) == 0}")
            for name in ("mem", "environ", "maps", "fd", "oom_score_adj", "uid_map", "ns/net"):
                for flags in (os.O_RDONLY, os.O_WRONLY):
                    try:
                        os.close(os.open(f"/proc/1/{name}", flags))
                        say(f"{name} {flags}")
                    except OSError:
                        pass
            for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP):
                try:
                    os.kill(1, number)
                except OSError:
                    pass
            try:
                open("/proc/sys/user/max_user_namespaces", "w").write("9")
                say("LIMIT")
            except OSError:
                pass
            say(f"namespace {libc.unshare(0x10000000) == 0 and os.environ['OUTSIDE'] != '0'}")
        """
        env = {"PATH": "/usr/bin:/bin", "OUTSIDE": str(os.geteuid())}
        end = finish(engine, task := talking(tmp_path, code, env=env))
        assert end.reason == "finished"
        # What anybody may read of any process, and nothing else.
        said = ["traced False", "oom_score_adj 0", "uid_map 0", "namespace False"]
        assert lines(engine, task) == sorted([*(f"[1] {line}" for line in said), *said])

    def test_there_is_no_way_but_to_the_gang(self, engine: LocalEngine, tmp_path: Path) -> None:
        code = """
            routes = [line.split() for line in open("/proc/net/route").read().splitlines()[1:]]
            say([(route[0], route[1], route[2], route[7]) for route in routes])
            for address in ("10.72.255.1", "10.74.0.1", "192.0.2.1", "8.8.8.8"):
                try:
                    socket.create_connection((address, 80), 0.5)
                except OSError as error:
                    say(os.strerror(error.errno or 0))
        """
        finish(engine, task := talking(tmp_path, code))
        said = ["Network is unreachable"] * 4 + ["[('peers', '0000490A', '00000000', '0000FFFF')]"]
        assert lines(engine, task) == sorted([*(f"[1] {line}" for line in said), *said])


def test_a_machine_without_the_device_starts_no_gang_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, needs_bwrap: None
) -> None:
    monkeypatch.setattr(keeping, "DEVICE", tmp_path / "absent")
    monkeypatch.setattr(listeners, "host_address", lambda: None)
    values = {"control_url": "https://control.invalid", "state_dir": str(tmp_path)}
    engine = LocalEngine(msgspec.convert(values, AgentConfig))
    capabilities = engine.capabilities()
    assert capabilities.nodes == 1
    assert capabilities.limits["nodes"] == f"none ({tmp_path}/absent: No such file or directory)"[:256]
    task = talking(tmp_path, "")
    with pytest.raises(EngineError) as caught:
        engine.submit(task)
    assert caught.value.code == "wall.missing"
    assert finish(engine, make_task(tmp_path, "true")).reason == "finished"
    engine.close()


def test_a_device_that_is_no_tunnel_starts_no_gang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, needs_bwrap: None
) -> None:
    monkeypatch.setattr(keeping, "DEVICE", Path("/dev/null"))
    monkeypatch.setattr(listeners, "host_address", lambda: None)
    values = {"control_url": "https://control.invalid", "state_dir": str(tmp_path)}
    engine = LocalEngine(msgspec.convert(values, AgentConfig))
    assert engine.capabilities().nodes == 1
    assert "Inappropriate ioctl" in engine.capabilities().limits["nodes"]
    engine.close()
