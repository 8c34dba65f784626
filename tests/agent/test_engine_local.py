from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from sekisho_agent import wall
from sekisho_agent.engines import local_host
from sekisho_agent.engines.gang_log import GangLog
from sekisho_agent.engines.local import LocalEngine
from sekisho_agent.errors import EngineError
from tests.agent.engine_suite import WalledSuite, finish
from tests.agent.gang_suite import GangSuite, gang_task, lines, talking
from tests.agent.support import processes_with

pytestmark = pytest.mark.wall


class TestLocalEngine(WalledSuite):
    @pytest.fixture
    def engine(self, local_engine: LocalEngine) -> LocalEngine:
        return local_engine


class TestLocalGangs(GangSuite):
    @pytest.fixture
    def engine(self, local_engine: LocalEngine) -> LocalEngine:
        return local_engine

    def test_five_nodes_all_reach_each_other(self, engine: LocalEngine, tmp_path: Path) -> None:
        code = """
            import threading
            addresses = os.environ["SEKISHO_NODE_ADDRESSES"].split(",")
            server = socket.create_server((addresses[RANK], PORT))
            others = [rank for rank in range(len(addresses)) if rank != RANK]
            content = bytes(1 << 20)

            def send(rank):
                with dial(addresses[rank]) as connection:
                    connection.sendall(b"%d" % RANK + content)

            for rank in others:
                threading.Thread(target=send, args=(rank,)).start()
            heard = []
            for _ in others:
                connection, _ = server.accept()
                received = b"".join(iter(lambda: connection.recv(1 << 20), b""))
                heard.append((int(received[:1]), len(received) - 1))
            say(sorted(heard) == [(rank, len(content)) for rank in others])
        """
        task = talking(tmp_path, code, nodes=5)
        assert finish(engine, task).reason == "finished"
        assert lines(engine, task) == sorted(["True", *(f"[{rank}] True" for rank in range(1, 5))])

    def test_a_gang_that_finds_no_user_for_its_last_node_starts_none(
        self, engine: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if os.geteuid() != 0:
            pytest.skip("a plain user's payloads have one id")
        monkeypatch.setattr(wall, "PAYLOAD_UIDS", 2)
        monkeypatch.setattr(local_host, "USERS_FOLDER", tmp_path / "users")
        mark = f"sekisho-none-{time.monotonic_ns()}"
        task = gang_task(tmp_path, f": {mark}; sleep 30", nodes=3)
        with pytest.raises(EngineError) as caught:
            engine.submit(task)
        assert caught.value.code == "engine.full"
        assert not processes_with(mark)
        with pytest.raises(EngineError):
            engine.observe(task.attempt)
        assert finish(engine, gang_task(tmp_path, "true")).reason == "finished", "the users are free again"

    def test_a_log_that_cannot_be_kept_ends_the_gang_with_a_reason(
        self, engine: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(GangLog, "follow", broken)
        mark = f"sekisho-log-{time.monotonic_ns()}"
        end = finish(engine, gang_task(tmp_path, f": {mark}; sleep 30"))
        assert (end.reason, end.detail) == ("wall.broken", "OSError: [Errno 28] No space left on device")
        assert not processes_with(mark)
