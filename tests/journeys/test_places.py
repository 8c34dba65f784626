"""The control plane's own place, shown by landmarks: real server, real agent that runs nothing, the command line."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sekisho.kernel.facts import Ref
from sekisho.sites import entity_of_site
from sekisho_client import cli
from sekisho_guarantor.landmark import Runner
from sekisho_guarantor.landmark_config import ControlConfig, LandmarkConfig, RoundsConfig
from sekisho_guarantor.landmark_control import ControlPlane
from sekisho_wire.problems import Language
from tests.journeys.world import House, house, until
from tests.sites.yard import LANDMARKS, territory_text, text_of
from tests.verify.places import key_of

PLACE = {"latitude-e6": 32_000_000, "longitude-e6": 132_000_000}


@pytest.fixture
def served(tmp_path: Path, db_url: str) -> Iterator[House]:
    with house(tmp_path, db_url) as opened:
        yield opened


@contextlib.contextmanager
def agent(served: House, folder: Path, port: int) -> Iterator[None]:
    """An agent at the site `control` that runs nothing and answers the landmarks."""
    folder.mkdir()
    config = folder / "agent.toml"
    lines = [f'control_url = "{served.url}"', f'state_dir = "{folder / "state"}"', 'engine = "none"']
    lines += ["[location]", f'listen = "127.0.0.1:{port}"']
    for name in LANDMARKS:
        lines += ["[[location.landmarks]]", f'name = "{name}"', f'key = "{text_of(name)}"']
    config.write_text("\n".join(lines))
    site = served.administrator.call("sites.site.show", site="control")["id"]
    code = served.administrator.call("identity.agent.invite", site=site)["code"]
    program = [sys.executable, "-m", "sekisho_agent"]
    subprocess.run(
        [*program, "register", "--config", str(config), "--code", "-"],
        input=code,
        text=True,
        check=True,
        timeout=60,
    )
    with subprocess.Popen([*program, "run", "--config", str(config)]) as running:
        try:
            until(lambda: bool(served.administrator.call("sites.site.show", site="control")["heard_at"]))
            yield
        finally:
            running.terminate()


@contextlib.contextmanager
def landmarks(served: House, folder: Path, organisations: dict[str, str]) -> Iterator[None]:
    """Three landmarks that ask the control plane what to measure, each with its organisation's token."""
    folder.mkdir()
    runners: list[Runner] = []
    threads: list[threading.Thread] = []
    closing: list[ControlPlane] = []
    for name, whose in LANDMARKS.items():
        token = folder / f"{name}.token"
        token.touch(mode=0o600)
        token.write_text(served.token(f"{name}-service", organisations[whose], "landmark"))
        config = LandmarkConfig(
            folder=str(folder / name),
            name=name,
            organisation=organisations[whose],
            latitude=32.0,
            longitude=132.0,
            rounds=RoundsConfig(sent=24, gap_ms_max=1),
            control=ControlConfig(served.url, str(token), poll_seconds=0.2),
        )
        assert config.control is not None
        runner = Runner(config, key_of(name), Language.EN)
        asked = ControlPlane(config.control, name)
        closing.append(asked)
        threads.append(threading.Thread(target=runner.follow, args=(asked, 0.2), daemon=True))
        runners.append(runner)
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for runner in runners:
            runner.stop()
        for thread in threads:
            thread.join()
        for asked in closing:
            asked.close()


def test_the_control_planes_own_site_is_proven_like_any_other(
    served: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    administrator, second = served.administrator, served.client(served.genesis.administrators[1].token)
    organisations = {name: served.organisation(name) for name in dict.fromkeys(LANDMARKS.values())}
    for name, whose in LANDMARKS.items():
        administrator.call(
            "sites.landmark.add",
            name=name,
            organisation=organisations[whose],
            public_key=text_of(name),
            latitude_udeg=32_000_000,
            longitude_udeg=132_000_000,
        )
    digest = administrator.call("sites.territory.add", territory=territory_text())["digest"]
    second.call(
        "kernel.proposal.approve",
        proposal=administrator.call("sites.territory.set", digest=digest)["proposal"],
    )
    keeper = served.token("keeper", served.genesis.organisation, "site_operator")
    with landmarks(served, tmp_path / "landmarks", organisations), contextlib.ExitStack() as stack:
        port = _free_port()
        stack.enter_context(agent(served, tmp_path / "agent", port))
        operator = served.client(keeper)
        for name, value in {**PLACE, "location-address": f"127.0.0.1:{port}"}.items():
            operator.call("sites.fact.state", site="control", name=name, fact={"value": value})
        for variable, value in (
            ("SEKISHO_URL", served.url),
            ("SEKISHO_TOKEN", keeper),
            ("SEKISHO_CONFIG", str(tmp_path / "c.json")),
        ):
            monkeypatch.setenv(variable, value)
        capsys.readouterr()
        assert cli.main(["site", "prove", "control"]) == 0
        told = capsys.readouterr().out
        assert cli.main(["sites", "prove", "control", "--json"]) == 0
    for name in LANDMARKS:
        assert f"{name} (" in told
    assert "Proof (grade M): 3 landmarks" in told
    assert "the site's own word (grade D)" in told
    assert told.count("Not shown: ") == 8
    site = administrator.call("sites.site.show", site="control")["id"]
    seen = served.control.database.read(lambda tx: entity_of_site(tx, site))
    assert seen.ref == Ref("Site", site)
    proof = seen.attributes["proof"]
    assert isinstance(proof, dict)
    assert proof["landmarks"] == 3
    assert served.check().findings == []


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
