"""What every engine that starts gangs must do with one. A test class of an engine inherits this beside `EngineSuite`.

Two nodes are enough: what more of them could do to each other is tested on the relay and on the pure rules.
"""

from __future__ import annotations

import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from sekisho_agent import clock
from sekisho_agent.engines.contract import EndReport, Engine, Task
from sekisho_agent.errors import EngineError
from sekisho_wire.messages import WALL_PEERS
from tests.agent.engine_suite import finish, make_task, wait_end, wait_log
from tests.agent.support import LIMITS, processes_with, until
from tests.support import components

PYTHON = "/usr/bin/python3"
TALK = """
import os, socket, time
RANK, PORT = int(os.environ["RANK"]), 5000

def other(rank):
    return os.environ["SEKISHO_NODE_ADDRESSES"].split(",")[rank]

def dial(address, port=PORT):
    while True:
        try:
            return socket.create_connection((address, port), 10)
        except ConnectionRefusedError:
            time.sleep(0.02)

def say(text):
    print(text, flush=True)
"""


def gang_task(folder: Path, run: str, **changes: Any) -> Task:
    return make_task(folder, run, **({"nodes": 2} | changes))


def talking(folder: Path, code: str, **changes: Any) -> Task:
    """A gang whose nodes run this Python, with the helpers above."""
    return gang_task(folder, "", argv=(PYTHON, "-c", TALK + textwrap.dedent(code)), **changes)


def lines(engine: Engine, task: Task) -> list[str]:
    return sorted(engine.logs(task.attempt, 0, 1 << 20).decode().splitlines())


class GangSuite:
    """Inherit, and define a fixture `engine`."""

    @pytest.fixture(autouse=True)
    def gangs_can_be(self, engine: Engine) -> None:
        capabilities = engine.capabilities()
        if capabilities.nodes < 2:
            components.missing("an overlay between walls", capabilities.limits.get("nodes", "/dev/net/tun"))

    def test_the_nodes_of_a_gang_reach_each_other_both_ways(self, engine: Engine, tmp_path: Path) -> None:
        task = talking(
            tmp_path,
            """
            server = socket.create_server((os.environ["SEKISHO_NODE_ADDRESSES"].split(",")[RANK], PORT))
            out = dial(other(1 - RANK))
            into, sender = server.accept()
            content = bytes(range(256)) * 4096
            out.sendall(content + b"%d" % RANK)
            out.shutdown(socket.SHUT_WR)
            received = b"".join(iter(lambda: into.recv(1 << 20), b""))
            say(f"{RANK} heard {received[len(content):].decode()} from {sender[0]} {received[:len(content)] == content}")
            """,
        )
        end = finish(engine, task)
        assert (end.reason, end.exit_status, end.detail) == ("finished", 0, "")
        assert lines(engine, task) == ["0 heard 1 from 10.73.0.2 True", "[1] 1 heard 0 from 10.73.0.1 True"]

    def test_each_node_knows_its_place_in_the_words_of_its_field(
        self, engine: Engine, tmp_path: Path
    ) -> None:
        names = "MASTER_ADDR MASTER_PORT WORLD_SIZE RANK NODE_RANK NNODES SEKISHO_NODE_ADDRESSES"
        names += " SKYPILOT_NODE_RANK SKYPILOT_NUM_NODES GLOO_SOCKET_IFNAME NCCL_SOCKET_IFNAME"
        task = talking(
            tmp_path,
            f"""
            say(" ".join(os.environ[name] for name in {names.split()!r}))
            say(repr(os.environ["SKYPILOT_NODE_IPS"]))
            say(repr(open(os.environ["SEKISHO_HOSTFILE"]).read()))
            say(f"{{socket.gethostname()}} {{socket.gethostbyname('node-0')}} {{socket.gethostbyname('node-1')}}")
            say(sorted(name for _, name in socket.if_nameindex()))
            """,
            gpus=getattr(self, "gang_gpus", 0),
        )
        assert finish(engine, task).reason == "finished"
        slots = max(1, task.gpus)
        for rank, prefix in ((0, ""), (1, "[1] ")):
            said = [line.removeprefix(prefix) for line in self._of(engine, task, rank)]
            assert said == [
                f"10.73.0.1 29500 2 {rank} {rank} 2 10.73.0.1,10.73.0.2 {rank} 2 peers peers",
                "'10.73.0.1\\n10.73.0.2'",
                f"'node-0 slots={slots}\\nnode-1 slots={slots}\\n'",
                f"node-{rank} 10.73.0.1 10.73.0.2",
                "['lo', 'peers']",
            ]

    def _of(self, engine: Engine, task: Task, rank: int) -> list[str]:
        """The lines of one node, in their order."""
        logged = engine.logs(task.attempt, 0, 1 << 20).decode().splitlines()
        return [line for line in logged if line.startswith("[1] ") == bool(rank)]

    def test_a_variable_of_the_jobs_own_wins(self, engine: Engine, tmp_path: Path) -> None:
        env = {"PATH": "/usr/bin:/bin", "MASTER_PORT": "4000", "RANK": "7"}
        task = gang_task(tmp_path, "echo $MASTER_PORT $RANK $NODE_RANK", env=env)
        finish(engine, task)
        assert lines(engine, task) == ["4000 7 0", "[1] 4000 7 1"]

    def test_outputs_are_those_of_the_first_node(self, engine: Engine, tmp_path: Path) -> None:
        task = gang_task(tmp_path, "cat /out/before; echo $RANK > /out/rank; echo $RANK >> /out/before")
        (task.folder / "out" / "before").write_text("resumed\n")
        assert finish(engine, task).reason == "finished"
        assert lines(engine, task) == ["[1] resumed", "resumed"]
        out = engine.artefacts(task.attempt)["/out"]
        assert ((out / "rank").read_text(), (out / "before").read_text()) == ("0\n", "resumed\n0\n")
        (other,) = (task.folder / "ranks" / "1" / "writable").iterdir()
        assert ((other / "rank").read_text(), (other / "before").read_text()) == ("1\n", "resumed\n1\n")

    def test_secrets_reach_every_node_and_no_disk(self, engine: Engine, tmp_path: Path) -> None:
        task = gang_task(tmp_path, "cat /run/secrets/key; echo", secrets={"key": b"s3cret"})
        finish(engine, task)
        assert lines(engine, task) == ["[1] s3cret", "s3cret"]
        others = [path for path in task.folder.rglob("*") if path.is_file() and path.name != "log"]
        assert not any(
            b"s3cret" in path.read_bytes() or b"733363726574" in path.read_bytes() for path in others
        )

    def test_the_first_node_that_fails_ends_the_others_with_the_grace(
        self, engine: Engine, tmp_path: Path
    ) -> None:
        run = 'if [ $RANK = 1 ]; then sleep 0.5; exit 3; fi; trap "echo saved; exit 75" TERM; while :; do sleep 0.1; done'
        task = gang_task(tmp_path, run)
        end = finish(engine, task)
        assert (end.reason, end.exit_status, end.detail) == ("failed", 3, "node 1")
        assert "saved" in lines(engine, task)

    def test_a_node_that_ends_well_early_is_no_end(self, engine: Engine, tmp_path: Path) -> None:
        task = gang_task(tmp_path, "if [ $RANK = 1 ]; then exit 0; fi; sleep 1; echo done")
        end = finish(engine, task)
        assert (end.reason, end.exit_status) == ("finished", 0)
        assert lines(engine, task) == ["done"]

    def test_what_a_node_sent_last_arrives_though_it_has_ended(self, engine: Engine, tmp_path: Path) -> None:
        """On a machine of its own its kernel would go on sending; the wall's must as well."""
        task = talking(
            tmp_path,
            """
            if RANK == 0:
                dial(other(1)).sendall(bytes(900_000))
            else:
                connection, _ = socket.create_server((other(1), PORT)).accept()
                time.sleep(1.5)
                say(len(b"".join(iter(lambda: connection.recv(1 << 20), b""))))
            """,
        )
        assert finish(engine, task).reason == "finished"
        assert lines(engine, task) == ["[1] 900000"]

    def test_cancel_ends_all_nodes(self, engine: Engine, tmp_path: Path) -> None:
        mark = f"sekisho-gang-{time.monotonic_ns()}"
        run = f": {mark}; trap 'echo saved; exit 75' TERM; echo ready; while :; do sleep 0.1; done"
        task = gang_task(tmp_path, run)
        engine.submit(task)
        wait_log(engine, task, b"[1] ready\n")
        wait_log(engine, task, b"\nready\n" if engine.logs(task.attempt, 0, 1) == b"[" else b"ready\n")
        engine.cancel(task.attempt, "job.cancelled", 10)
        end = wait_end(engine, task).end
        assert end is not None
        assert (end.reason, end.exit_status) == ("job.cancelled", 75)
        assert lines(engine, task).count("[1] saved") + lines(engine, task).count("saved") == 2
        until(lambda: not processes_with(mark), what="no process of the gang left")

    def test_a_lost_lease_ends_all_nodes(self, engine: Engine, tmp_path: Path) -> None:
        mark = f"sekisho-gang-{time.monotonic_ns()}"
        run = f": {mark}; while :; do sleep 0.1; done"
        end = finish(engine, gang_task(tmp_path, run, lease_deadline=clock.monotonic() + 2))
        assert end.reason == "lease.lost"
        until(lambda: not processes_with(mark), what="no process of the gang left")

    def test_a_gang_has_a_time_limit(self, engine: Engine, tmp_path: Path) -> None:
        task = gang_task(tmp_path, "sleep 60", limits={"wall_s": 1, "grace_s": 1})
        assert finish(engine, task).reason == "job.time_limit"

    def test_too_much_output_of_any_node_ends_the_gang(self, engine: Engine, tmp_path: Path) -> None:
        run = "[ $RANK = 0 ] || for name in 1 2; do head -c 6000000 /dev/zero > /out/$name; done; sleep 60"
        end = finish(engine, gang_task(tmp_path, run))
        assert (end.reason, end.detail) == ("output.too_large", "node 1")

    def test_every_wall_of_a_gang_is_as_closed_as_any(self, engine: Engine, tmp_path: Path) -> None:
        single = make_task(tmp_path, "true")
        finish(engine, single)
        alone = engine.wall(single.attempt)
        task = gang_task(tmp_path, "true", level=3)
        assert finish(engine, task).reason == "finished"
        together = engine.wall(task.attempt)
        assert alone is not None
        assert together is not None
        assert together.canaries == alone.canaries
        assert "open" not in together.canaries.values()
        assert (together.wall, together.limits) == (alone.wall + WALL_PEERS, alone.limits)

    def test_another_gang_is_out_of_reach(self, engine: Engine, tmp_path: Path) -> None:
        """Both have the same addresses: whoever answered there would be of the other one."""
        first = talking(
            tmp_path,
            """
            server = socket.create_server(("", PORT))
            say("listening")
            time.sleep(60)
            """,
        )
        engine.submit(first)
        wait_log(engine, first, b"listening")
        second = talking(
            tmp_path,
            """
            for number in (0, 1, 2, 3, 255):
                for host in (f"10.73.0.{number}", f"10.73.{number}.1"):
                    try:
                        socket.create_connection((host, PORT), 0.3).close()
                        say(f"reached {host}")
                    except OSError:
                        pass
            say("tried")
            time.sleep(1)  # else its own end would be what the other one meets
            """,
        )
        assert finish(engine, second).reason == "finished"
        assert lines(engine, second) == ["[1] tried", "tried"]
        engine.cancel(first.attempt, "job.cancelled", 0)
        wait_end(engine, first)

    def test_capacity_counts_every_node(self, engine: Engine, tmp_path: Path) -> None:
        before = engine.capacity()
        task = gang_task(tmp_path, "sleep 60")
        engine.submit(task)
        during = engine.capacity()
        assert before.attempts - during.attempts == 1
        assert before.memory_bytes - during.memory_bytes == 2 * LIMITS.memory_bytes
        assert before.cpus - during.cpus == 2
        engine.cancel(task.attempt, "job.cancelled", 0)
        wait_end(engine, task)

    def test_cancel_before_the_gang_has_begun(self, engine: Engine, tmp_path: Path) -> None:
        task = gang_task(tmp_path, "echo ran")
        engine.submit(task)
        engine.cancel(task.attempt, "job.cancelled", 1)
        end: EndReport | None = wait_end(engine, task).end
        assert end is not None
        assert (end.reason, end.exit_status, lines(engine, task)) == ("job.cancelled", None, [])

    def test_mounts_that_would_cover_the_wall_start_no_node(self, engine: Engine, tmp_path: Path) -> None:
        task = gang_task(tmp_path, "true")
        bad = Task(
            **{name: getattr(task, name) for name in Task.__struct_fields__}
            | {"mounts": (*task.mounts, task.mounts[0])}
        )
        with pytest.raises(EngineError) as caught:
            engine.submit(bad)
        assert caught.value.code == "wall.mount"
        with pytest.raises(EngineError):
            engine.observe(task.attempt)
