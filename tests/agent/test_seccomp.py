"""The filter as the kernel reads it, by an interpreter of our own; then by real payloads behind the real wall."""

from __future__ import annotations

import errno
import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho_agent import seccomp
from sekisho_agent.engines.local import LocalEngine
from sekisho_agent.engines.local_run import _Verdict
from sekisho_agent.limits import Held
from sekisho_agent.seccomp import (
    ABSENT,
    ARCHITECTURES,
    CLONE,
    PERSONALITY,
    REFUSED,
    SOCKET,
    SOCKETPAIR,
    UNSHARE,
)
from tests.agent.engine_suite import finish, make_task
from tests.agent.support import NOBODY, SOURCE
from tests.support import components

MACHINES = list(ARCHITECTURES)
ALLOW, KILL = 0x7FFF0000, 0x80000000
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
PYTHON = "/usr/bin/python3"


def verdict(machine: str, number: int, argument: int = 0, *, architecture: int | None = None) -> int:
    """What the program answers to a call: the semantics of seccomp(2) and of the four instructions it uses."""
    given_by = ARCHITECTURES[machine] if architecture is None else architecture
    data = struct.pack("<IIQ6Q", number, given_by, 0, argument, *[0] * 5)
    program = list(struct.iter_unpack("=HBBI", seccomp.assemble(machine)))
    accumulator, place = 0, 0
    while True:
        code, if_so, if_not, operand = program[place]
        place += 1
        match code:
            case 0x20:
                accumulator = struct.unpack_from("<I", data, operand)[0]
            case 0x15:
                place += if_so if accumulator == operand else if_not
            case 0x35:
                place += if_so if accumulator >= operand else if_not
            case 0x45:
                place += if_so if accumulator & operand else if_not
            case 0x06:
                return operand
            case _:
                raise AssertionError(f"an instruction that nobody wrote: {code:#x}")


def refusal(number: int) -> int:
    return 0x00050000 | number


def special(machine: str) -> set[int]:
    column = MACHINES.index(machine)
    numbers = {row[column] for row in REFUSED.values()} | set(ABSENT.values())
    numbers |= {table[machine] for table in (CLONE, UNSHARE, SOCKET, SOCKETPAIR, PERSONALITY)}
    return numbers | (set(seccomp.REFUSED_X86.values()) if machine == "x86_64" else set())


@pytest.mark.parametrize("machine", MACHINES)
def test_the_program_is_one_that_a_kernel_takes(machine: str) -> None:
    program = list(struct.iter_unpack("=HBBI", seccomp.assemble(machine)))
    assert len(program) <= 4096
    for place, (code, if_so, if_not, _) in enumerate(program):
        assert code in {0x20, 0x15, 0x35, 0x45, 0x06}
        if code in {0x15, 0x35, 0x45}:
            assert place + 1 + max(if_so, if_not) < len(program), "a jump out of the program"
    assert program[-1][0] == 0x06


@pytest.mark.parametrize("machine", MACHINES)
def test_every_listed_call_is_refused_whatever_its_arguments(machine: str) -> None:
    column = MACHINES.index(machine)
    for argument in (0, 1, 2**32 - 1, 2**64 - 1):
        for name, row in REFUSED.items():
            assert verdict(machine, row[column], argument) == refusal(errno.EPERM), name
        for name, number in ABSENT.items():
            assert verdict(machine, number, argument) == refusal(errno.ENOSYS), name


@pytest.mark.parametrize("machine", MACHINES)
@given(number=st.integers(0, 2**30 - 1), argument=st.integers(0, 2**64 - 1))
def test_no_other_call_is_touched(machine: str, number: int, argument: int) -> None:
    expected = {ALLOW} if number not in special(machine) else {ALLOW, *map(refusal, errno.errorcode)}
    assert verdict(machine, number, argument) in expected


@pytest.mark.parametrize("machine", MACHINES)
@given(number=st.integers(0, 2**32 - 1), architecture=st.integers(0, 2**32 - 1))
def test_another_architecture_ends_the_process(machine: str, number: int, architecture: int) -> None:
    if architecture != ARCHITECTURES[machine]:
        assert verdict(machine, number, architecture=architecture) == KILL


@given(number=st.integers(0x40000000, 2**32 - 1))
def test_there_are_no_x32_calls(number: int) -> None:
    assert verdict("x86_64", number) == refusal(errno.ENOSYS)


@pytest.mark.parametrize("machine", MACHINES)
@given(flags=st.integers(0, 2**64 - 1))
def test_namespaces_are_refused_and_threads_and_processes_are_not(machine: str, flags: int) -> None:
    asked = flags & 0x7E020000
    assert verdict(machine, CLONE[machine], flags) == (refusal(errno.EPERM) if asked else ALLOW)
    asked_time = flags & 0x7E020080
    assert verdict(machine, UNSHARE[machine], flags) == (refusal(errno.EPERM) if asked_time else ALLOW)
    process, thread = 0x01200011, 0x003D0F00  # as glibc calls it for fork and for pthread_create
    assert verdict(machine, CLONE[machine], process) == verdict(machine, CLONE[machine], thread) == ALLOW


@pytest.mark.parametrize("machine", MACHINES)
@given(value=st.integers(0, 2**32 - 1) | st.integers(0, 64))
def test_only_these_families_and_personalities(machine: str, value: int) -> None:
    family = ALLOW if value in {1, 2, 10, 16} else refusal(errno.EAFNOSUPPORT)
    assert verdict(machine, SOCKET[machine], value) == family
    assert verdict(machine, SOCKETPAIR[machine], value) == family
    known = {0, 8, 0x20000, 0x20008, 0xFFFFFFFF}
    assert verdict(machine, PERSONALITY[machine], value) == (
        ALLOW if value in known else refusal(errno.EPERM)
    )


@pytest.mark.parametrize("machine", MACHINES)
def test_the_numbers_are_the_kernels(machine: str) -> None:
    if not HEADERS[machine].exists():
        components.missing("the kernel's headers", "apt-get install linux-libc-dev")
    text = HEADERS[machine].read_text(encoding="utf-8")
    known = {name: int(number) for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", text)}
    column = MACHINES.index(machine)
    ours = {name: row[column] for name, row in REFUSED.items()} | ABSENT
    ours |= {"clone": CLONE[machine], "unshare": UNSHARE[machine], "socket": SOCKET[machine]}
    ours |= {"socketpair": SOCKETPAIR[machine], "personality": PERSONALITY[machine]}
    ours |= seccomp.REFUSED_X86 if machine == "x86_64" else {}
    newer = {name for name, number in ours.items() if number > 443}
    assert {name: known[name] for name in ours if name not in newer} == {
        name: number for name, number in ours.items() if name not in newer
    }


def test_a_machine_without_a_list_has_none_and_says_so() -> None:
    found = seccomp.find("riscv64")
    assert found.program == b""
    assert found.mechanism.startswith("none (")


HOSTILE = """
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)

def call(*arguments):
    ctypes.set_errno(0)
    answer = libc.syscall(*(ctypes.c_long(each) for each in arguments))
    return "OPEN" if answer >= 0 else errno.errorcode[ctypes.get_errno()]

buffer = ctypes.addressof(ctypes.create_string_buffer(4096))
USER, NET = 0x10000000, 0x40000000
for name, arguments in {
    "unshare user": (UNSHARE, USER), "unshare net": (UNSHARE, NET), "unshare time": (UNSHARE, 0x80),
    "clone user": (CLONE, USER | 17, 0, 0, 0, 0),
    "clone3": (435, buffer, 88), "setns": (SETNS, 0, 0), "keyctl": (KEYCTL, 0, -3, 0),
    "add_key": (ADD_KEY, buffer, buffer, buffer, 1, -3), "bpf": (BPF, 0, buffer, 64),
    "perf": (PERF, buffer, 0, -1, -1, 0), "userfaultfd": (UFFD, 1), "io_uring": (425, 8, buffer),
    "ptrace": (PTRACE, 0, 0, 0, 0), "mount": (MOUNT, buffer, buffer, buffer, 0, 0), "fsopen": (430, buffer, 0),
    "open_tree": (428, -100, buffer, 0), "module": (MODULE, 0, buffer, 0), "kexec": (KEXEC, 0, 0, buffer, 0),
    "handle": (HANDLE, 0, buffer, 0), "fanotify": (FANOTIFY, 0, 0), "vsock": (SOCKET, 40, 1, 0),
    "alg": (SOCKET, 38, 5, 0), "tipc pair": (SOCKETPAIR, 30, 1, 0, buffer), "unix pair": (SOCKETPAIR, 1, 1, 0, buffer),
    "read memory": (READ, os.getpid(), buffer, 0, buffer, 0, 0), "write memory": (WRITE, os.getpid(), buffer, 0, buffer, 0, 0),
    "kcmp": (KCMP, os.getpid(), os.getpid(), 0, 0, 0), "take": (TAKE, -1, 0, 0), "packet": (SOCKET, 17, 3, 0), "personality": (PERSONALITY, 0x0400000),
    "unshare files": (UNSHARE, 0x400), "inet": (SOCKET, 2, 1, 0),
}.items():
    print(name, call(*arguments))
"""
NUMBERS = {
    "UNSHARE": "unshare",
    "CLONE": "clone",
    "SETNS": "setns",
    "KEYCTL": "keyctl",
    "ADD_KEY": "add_key",
    "BPF": "bpf",
    "PERF": "perf_event_open",
    "UFFD": "userfaultfd",
    "PTRACE": "ptrace",
    "MOUNT": "mount",
    "MODULE": "finit_module",
    "KEXEC": "kexec_load",
    "HANDLE": "open_by_handle_at",
    "FANOTIFY": "fanotify_init",
    "SOCKET": "socket",
    "SOCKETPAIR": "socketpair",
    "READ": "process_vm_readv",
    "WRITE": "process_vm_writev",
    "KCMP": "kcmp",
    "TAKE": "pidfd_getfd",
    "PERSONALITY": "personality",
}


def hostile() -> str:
    machine = os.uname().machine
    column = MACHINES.index(machine)
    tables = {"clone": CLONE, "unshare": UNSHARE, "socket": SOCKET, "personality": PERSONALITY}
    tables["socketpair"] = SOCKETPAIR
    lines = []
    for word, name in NUMBERS.items():
        number = tables[name][machine] if name in tables else REFUSED[name][column]
        lines.append(f"{word} = {number}")
    return "\n".join(lines) + HOSTILE


@pytest.mark.wall
def test_a_payload_is_refused_each_of_them(local_engine: LocalEngine, tmp_path: Path) -> None:
    task = make_task(tmp_path, "", argv=(PYTHON, "-c", hostile()))
    finish(local_engine, task)
    lines = local_engine.logs(task.attempt, 0, 100_000).decode().splitlines()
    said = dict(line.rsplit(" ", 1) for line in lines)
    none = {"clone3": "ENOSYS", "io_uring": "ENOSYS"} | dict.fromkeys(
        ("vsock", "alg", "packet", "tipc pair"), "EAFNOSUPPORT"
    )
    harmless = {"unshare files": "OPEN", "inet": "OPEN", "unix pair": "OPEN"}
    assert said == dict.fromkeys(said, "EPERM") | none | harmless
    report = local_engine.wall(task.attempt)
    assert report is not None
    assert report.limits["seccomp"] == seccomp.find(os.uname().machine).mechanism
    assert report.limits["seccomp"].startswith("filter ")
    assert local_engine.capabilities().limits["seccomp"] == report.limits["seccomp"]


@pytest.mark.wall
def test_without_the_filter_the_same_payload_gets_further(
    local_engine: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the filter takes away is there without it, and the report does not claim one."""
    host = local_engine._host
    monkeypatch.setattr(host, "_calls", seccomp.Filter(b"", "none (taken out for this test)"))
    task = make_task(tmp_path, "", argv=(PYTHON, "-c", hostile()))
    finish(local_engine, task)
    said = local_engine.logs(task.attempt, 0, 100_000).decode()
    assert (
        "keyctl OPEN" in said or "io_uring OPEN" in said or "alg OPEN" in said or "userfaultfd OPEN" in said
    )
    report = local_engine.wall(task.attempt)
    assert report is not None
    assert report.limits["seccomp"] == "none (taken out for this test)"


@pytest.mark.wall
def test_a_filter_that_the_kernel_does_not_take_stops_the_attempt(
    local_engine: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel refuses a program that jumps past its own end: nothing runs without the filter that was meant."""
    broken = struct.pack("=HBBI", 0x15, 200, 200, 0)
    monkeypatch.setattr(local_engine._host, "_calls", seccomp.Filter(broken, "filter"))
    task = make_task(tmp_path, "echo ran > /out/ran")
    end = finish(local_engine, task)
    assert end.reason == "wall.canary_broken"
    assert not (task.folder / "out" / "ran").exists()


BECOME = """
import json, os, sys
from sekisho_agent import inside

class Watched:
    def __init__(self, libc):
        self.libc = libc

    def prctl(self, option, *arguments):
        if option == inside.PR_SET_DUMPABLE and arguments[0]:
            print("filtered", inside._filtered(os.getpid()), "limited", inside.resource.getrlimit(inside.resource.RLIMIT_CORE))
        return self.libc.prctl(option, *arguments)

if os.fork() == 0:
    real = inside.libc
    real.prctl(inside.PR_SET_DUMPABLE, 0, 0, 0, 0)
    inside.libc = Watched(real)
    inside._become(json.loads(sys.argv[1]))
    print("dumpable", real.prctl(3, 0, 0, 0, 0), "filtered", inside._filtered(os.getpid()))
    print("score", open("/proc/self/oom_score_adj").read().strip(), flush=True)
    os._exit(0)
os.wait()
print("parent filtered", inside._filtered(os.getpid()), "nobody", inside._filtered(2**22 + 1))
"""


def test_nobody_may_look_into_what_becomes_a_payload_before_it_is_filtered() -> None:
    """A payload could otherwise have such a process run, unfiltered, what it likes: some ask it for its health."""
    found = seccomp.find(os.uname().machine)
    uid = NOBODY if os.geteuid() == 0 else None
    order = {"seccomp": found.program.hex(), "rlimits": {"CORE": 0}, "uid": uid}
    said = subprocess.run(
        [sys.executable, "-c", BECOME, json.dumps(order)],
        env={"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout.splitlines()
    assert said == [
        "filtered True limited (0, 0)",
        "dumpable 0 filtered True",
        "score 1000",
        "parent filtered False nobody False",
    ]


@pytest.mark.wall
def test_the_report_is_what_the_kernel_says_of_the_payload_itself(
    local_engine: LocalEngine, tmp_path: Path
) -> None:
    """Canaries that were filtered do not vouch for a payload that is not."""
    run = local_engine._host.admit(make_task(tmp_path, "true"))
    held = Held(mechanisms={"cpus": "none"}, rlimits={})
    run._decide({}, _Verdict(outside={}, targets={}, held=held), filtered=True)
    claimed: list[str] = []
    for filtered in (True, False):
        run._take({"event": "started", "filtered": filtered}, _Verdict(outside={}, targets={}, held=held))
        report = run.observation(known=None, timeout_seconds=0).wall
        assert report is not None
        claimed.append(report.limits["seccomp"])
    assert claimed == [seccomp.find(os.uname().machine).mechanism, "none (not in force)"]
    run.abandon()


@pytest.mark.wall
def test_ordinary_programs_run(local_engine: LocalEngine, tmp_path: Path) -> None:
    code = """
import concurrent.futures, multiprocessing, os, socket, subprocess, tempfile, threading, mmap
from multiprocessing import shared_memory

def square(number):
    return number * number

if __name__ == "__main__":
    for method in ("fork", "spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            assert pool.map(square, range(5)) == [0, 1, 4, 9, 16]
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(square, range(10))) == 285
    block = shared_memory.SharedMemory(create=True, size=4096)
    block.close(); block.unlink()
    assert subprocess.run(["/bin/sh", "-c", "echo out | cat"], capture_output=True).stdout == b"out\\n"
    left, right = socket.socketpair()
    left.sendall(b"x"); assert right.recv(1) == b"x"
    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(server.getsockname()); client.close()
    socket.getaddrinfo("127.0.0.1", 80)
    os.sched_setaffinity(0, os.sched_getaffinity(0))
    mmap.mmap(-1, 1 << 20).madvise(mmap.MADV_HUGEPAGE)
    os.memfd_create("x"); os.pidfd_open(os.getpid())
    print("ok")
"""
    task = make_task(
        tmp_path, "", argv=("/bin/sh", "-c", f"cat > /tmp/t.py <<'X'\n{code}\nX\n{PYTHON} /tmp/t.py")
    )
    task = msgspec.structs.replace(task, limits=msgspec.structs.replace(task.limits, processes=128))
    finish(local_engine, task)
    assert local_engine.logs(task.attempt, 0, 10_000) == b"ok\n"
