"""Control groups against a real hierarchy where there is one, and against folders that look like one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from sekisho_agent import limits
from sekisho_agent.limits import ControlGroups, hold
from tests.agent.support import LIMITS
from tests.support import components


@pytest.fixture
def groups() -> ControlGroups:
    found = ControlGroups.discover()
    if found.controllers != frozenset(limits.CONTROLLERS):
        components.missing("control groups", "a machine that lets this user make memory, pids and cpu groups")
    return found


def test_a_group_holds_reports_and_goes(groups: ControlGroups) -> None:
    group = groups.make("sekisho-test", LIMITS)
    assert group.controllers == frozenset(limits.CONTROLLERS)
    with subprocess.Popen(["sleep", "60"]) as process:
        group.join(process.pid)
        memberships = Path(f"/proc/{process.pid}/cgroup").read_text()
        process.kill()
    assert "-sekisho-test" in memberships
    assert group.oom_kills() == 0
    group.release()
    assert not [folder for folder in group._folders.values() if folder.exists()]


def test_a_kill_for_memory_is_counted(groups: ControlGroups) -> None:
    group = groups.make("sekisho-test-oom", LIMITS)
    code = "import sys; sys.stdin.read(1); held = bytearray(1 << 30)"
    with subprocess.Popen(["/usr/bin/python3", "-c", code], stdin=subprocess.PIPE) as process:
        group.join(process.pid)
        assert process.stdin is not None
        process.stdin.write(b"x")
        process.stdin.close()
        assert process.wait(timeout=60) == -9
    assert group.oom_kills() >= 1
    group.release()


def test_groups_of_a_killed_agent_are_removed(groups: ControlGroups, monkeypatch: pytest.MonkeyPatch) -> None:
    """And only those: several agents may share a machine, and a group is empty before its payload joins it."""
    own = groups.make("own", LIMITS)
    with subprocess.Popen(["true"]) as process:
        process.wait()
    monkeypatch.setattr(os, "getpid", lambda: process.pid)
    left = groups.make("left", LIMITS)
    monkeypatch.undo()
    ControlGroups.discover()
    assert not [folder for folder in left._folders.values() if folder.exists()]
    assert all(folder.exists() for folder in own._folders.values())
    own.release()


def test_without_groups_every_limit_names_another_mechanism() -> None:
    held = hold(LIMITS, frozenset())
    assert held.mechanisms["memory_bytes"] == "rlimit"
    assert held.mechanisms["cpus"] == "none"
    assert (held.rlimits["DATA"], held.rlimits["NPROC"]) == (LIMITS.memory_bytes, LIMITS.processes)
    full = hold(LIMITS, frozenset(limits.CONTROLLERS))
    assert {full.mechanisms[name] for name in ("memory_bytes", "cpus", "processes")} == {"cgroup"}
    assert "DATA" not in full.rlimits
    assert set(full.mechanisms) == set(held.mechanisms)
    assert {"wall_s", "output_bytes", "log_bytes", "tmp_bytes"} <= set(full.mechanisms)


@pytest.fixture
def lookalike(tmp_path: Path) -> Path:
    """Plain folders: what /sys/fs/cgroup is on hybrid machines, where writes succeed and limit nothing."""
    (tmp_path / "memory").mkdir()
    return tmp_path / "memory"


def test_a_plain_folder_is_not_taken_for_a_group(lookalike: Path) -> None:
    groups = ControlGroups({"memory": lookalike}, unified=False)
    group = groups.make("sekisho-test", LIMITS)
    assert group.controllers == frozenset()
    assert not list(lookalike.iterdir()), "nothing is created where nothing limits"


def test_the_second_version_is_set_through_one_folder(tmp_path: Path) -> None:
    folder = tmp_path / f"{limits.GROUP_PREFIX}-{os.getpid()}-sekisho-test"
    folder.mkdir()
    for name in ("memory.max", "memory.swap.max", "pids.max", "cpu.max", "cgroup.procs"):
        (folder / name).write_text("")
    (folder / "memory.events").write_text("low 0\noom 2\noom_kill 2\n")
    groups = ControlGroups(dict.fromkeys(limits.CONTROLLERS, tmp_path), unified=True)
    group = groups.make("sekisho-test", LIMITS)
    assert group.controllers == frozenset(limits.CONTROLLERS)
    assert (folder / "memory.max").read_text() == str(LIMITS.memory_bytes)
    assert (folder / "cpu.max").read_text() == "100000 100000"
    assert group.oom_kills() == 2
    group.join(os.getpid())
    assert (folder / "cgroup.procs").read_text() == str(os.getpid())


def test_own_groups_come_from_mountinfo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mountinfo = (
        "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
        "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
        "35 31 0:32 /outer /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
        "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    )
    own = "4:memory:/outer/inner\n3:cpu,cpuacct:/a\n2:pids:/x\n0::/user.slice\n"
    texts = {"/proc/self/mountinfo": mountinfo, "/proc/self/cgroup": own}
    original = Path.read_text

    def read_text(self: Path, encoding: str | None = None, errors: str | None = None) -> str:
        return texts.get(str(self)) or original(self, encoding, errors)

    monkeypatch.setattr(Path, "read_text", read_text)
    legacy, unified = limits._own_groups()
    assert legacy == {
        "memory": Path("/sys/fs/cgroup/memory/inner"),
        "cpu": Path("/sys/fs/cgroup/cpu,cpuacct/a"),
        "cpuacct": Path("/sys/fs/cgroup/cpu,cpuacct/a"),
    }
    assert unified == Path("/sys/fs/cgroup/unified/user.slice")
