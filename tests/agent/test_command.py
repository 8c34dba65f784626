"""`sekisho-agent register` from outside: what a provider is told to hand out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from sekisho_agent.state import AgentState
from sekisho_verify import canonical
from tests.agent.control import ControlPlane


def test_register_prints_the_id_and_the_public_key_and_no_private_one(
    control: ControlPlane, tmp_path: Path
) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(
        f'control_url = "{control.url}"\nstate_dir = "{tmp_path / "state"}"\n', encoding="utf-8"
    )
    done = subprocess.run(
        [sys.executable, "-m", "sekisho_agent", "register", "--config", str(config), "--code", "-"],
        input=control.code(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    identity = AgentState.open(tmp_path / "state").identity()
    said = json.loads(done.stdout)
    public = identity.signing_key().public_key().public_bytes_raw()
    assert (said["agent"], canonical.from_base64url(said["key"])) == (identity.agent, public)
    assert identity.private_key not in done.stdout + done.stderr
