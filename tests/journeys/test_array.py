"""An array from one submission to one picture: a real agent runs its members, the example's program collects them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.main_job import federation, processes
from sekisho_client import follow, settings
from sekisho_client.client import Client
from tests.agent.support import needs_bubblewrap
from tests.examples import programs
from tests.journeys.world import House, export, house, until, verify

pytestmark = [pytest.mark.wall, pytest.mark.slow]

SIZE = 3
# Writes what training would, as far as it is read back; a higher index does better.
JOB = f"""
name: arm
kind: array
array: {{size: {SIZE}, parallel: 2}}
resources: {{cpus: 1, memory: 1}}
charter: {{residency: [JP]}}
data: [{{to: policy, mount: /out}}]
run: |
  i=$SEKISHO_ARRAY_INDEX
  test "$SEKISHO_ARRAY_SIZE" = {SIZE}
  echo "{{\\"event\\": \\"progress\\", \\"step\\": 10, \\"reward\\": 0.$i}}"
  printf '{{"v": 1, "index": %s, "points": [{{"reaches": 0, "reward": 0.01}}, {{"reaches": 10, "reward": 0.%s}}]}}' \\
    "$i" "$i" > /out/curve.json
  printf '{{"index": %s, "held_out_reward": 0.%s, "held_out_success": 0.5, "untrained_reward": 0.01, %s}}' \\
    "$i" "$i" '"untrained_success": 0, "tolerance_mm": 1' > /out/result.json
  echo "{{\\"weights\\": $i}}" > /out/policy.json
"""


@pytest.fixture
def served(tmp_path: Path, db_url: str) -> Iterator[House]:
    needs_bubblewrap()
    with house(tmp_path, db_url) as opened:
        yield opened


@pytest.fixture
def engineer(served: House, tmp_path: Path) -> Iterator[Client]:
    """An engineer whose settings lie where the program will look, and one site that serves."""
    works = served.organisation("Works")
    token = served.token("engineer", works, "engineer")
    settings.write(tmp_path / "client.json", {"url": served.url, "token": token})
    sites = {"edge": served.site("edge", works, "JP")}
    agents = federation.agent_folders(
        served.administrator, sites, tmp_path / "agents", ways={"edge": served.url}, engines={}
    )
    with contextlib.ExitStack() as stack:
        for config, code in agents:
            agent, log = processes.program("sekisho_agent"), tmp_path / "agent.log"
            registering = [*agent, "register", "--config", str(config), "--name", "edge", "--code", "-"]
            processes.run(registering, env={}, log=log, stdin=code + "\n")
            stack.enter_context(processes.running([*agent, "run", "--config", str(config)], env={}, log=log))
        yield served.client(token)


def collected(job: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The program as a person runs it, with the engineer's settings."""
    return subprocess.run(
        [sys.executable, str(programs.ARM / "collect.py"), job, "--out", str(folder / "results")],
        env=os.environ | {"SEKISHO_CONFIG": str(folder / "client.json")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def ended(client: Client, job: str) -> dict[str, Any]:
    """The job once nothing changes any more."""
    *_, last = follow.steps(client, job, seconds_max=60)
    return dict(last.detail)


def test_an_array_is_submitted_run_collected_and_proven(
    served: House, engineer: Client, tmp_path: Path
) -> None:
    job = str(engineer.call("compute.job.submit", file=JOB)["id"])
    shown = ended(engineer, job)
    assert shown["job"]["state"] == "succeeded", shown
    assert [member["progress"]["reward"] for member in shown["members"]] == ["0", "0.1", "0.2"]
    # Twice: what an earlier collection left is replaced.
    runs = [collected(job, tmp_path) for _ in range(2)]
    assert [done.returncode for done in runs] == [0, 0], runs
    out, summary = tmp_path / "results", json.loads(runs[-1].stdout)
    assert summary == json.loads((out / "summary.json").read_text())
    assert (summary["best"], summary["missing"]) == (2, 0)
    assert [one["job"] for one in summary["tries"]] == [member["id"] for member in shown["members"]]
    assert json.loads((out / "best" / "policy.json").read_text()) == {"weights": 2}
    assert sorted(path.name for path in (out / "tries").iterdir()) == ["0", "1", "2"]
    assert "</svg>" in (out / "curves.svg").read_text()
    for proven in (job, summary["tries"][2]["job"]):
        until(lambda proven=proven: served.closed(proven), what="the end of the stream")
        export(engineer, proven, tmp_path / "bundle.zip")
        assert verify(tmp_path / "bundle.zip", tmp_path / "data" / "trust.json").status == 0


def test_what_cannot_be_collected_is_refused_in_one_line(engineer: Client, tmp_path: Path) -> None:
    failing = "name: a\nkind: array\narray: {size: 1}\nrun: exit 3\ncharter: {residency: [JP]}\n"
    job = str(engineer.call("compute.job.submit", file=failing)["id"])
    assert ended(engineer, job)["job"]["state"] == "failed"
    for name, status in ((job, 2), ("job_" + "0" * 26, 5)):
        done = collected(name, tmp_path)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (status, "", 1)
        assert done.stderr.startswith("error: ")
    assert not (tmp_path / "results").exists()
