"""Registers what an example's `federation.yaml` lists: organisations, sites, teams, accounts, agents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from scripts.main_job.example import Engine
from sekisho_client.client import Client


class Federation(NamedTuple):
    """What was registered: site ids, their engines and account tokens by name, and a person who may look around."""

    sites: dict[str, str]
    engines: dict[str, str]
    tokens: dict[str, str]
    visitor: str


def register(administrator: Client, file: Path, engines: Mapping[str, Engine]) -> Federation:
    """Read the file and register everything in it, in the administrator's name.

    `engines` gives, by site, what really runs behind it, where that is not what the file says.
    """
    described: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    organisations = {item["name"]: _organisation(administrator, item) for item in described["organisations"]}
    behind = {item["name"]: item["engine"] for item in described["sites"]}
    behind |= {name: engine.name for name, engine in engines.items()}
    sites = {
        item["name"]: _site(administrator, item | {"engine": behind[item["name"]]}, organisations)
        for item in described["sites"]
    }
    for item in described["teams"]:
        administrator.call(
            "identity.team.create", name=item["name"], organisation=organisations[item["organisation"]]
        )
    tokens = {item["name"]: _account(administrator, item, organisations) for item in described["accounts"]}
    visitor = administrator.call(
        "identity.person.create",
        display_name="Visitor",
        organisation=organisations[described["accounts"][0]["organisation"]],
    )["id"]
    for role in ("engineer", "auditor"):
        administrator.call("identity.role.grant", account=visitor, role=role)
    return Federation(sites, behind, tokens, str(visitor))


def agent_folders(
    administrator: Client,
    sites: Mapping[str, str],
    folder: Path,
    *,
    ways: Mapping[str, str],
    engines: Mapping[str, Engine],
) -> Iterator[tuple[Path, str]]:
    """A configuration file and a one-time registration code for each site's agent.

    `ways` gives, by site, where it finds the control plane; `engines` what runs behind it, where that is not the local
    engine as it comes. A run's custodians are on this machine, so its agents are told that they may call them there.
    """
    for name, site in sites.items():
        home = folder / name
        home.mkdir(parents=True, exist_ok=True)
        config = home / "agent.toml"
        text = f'control_url = "{ways[name]}"\nstate_dir = "{home / "state"}"\n'
        text += "custodians_private = true\n"
        text += engines[name].settings if name in engines else ""
        config.write_text(text, encoding="utf-8")
        yield config, administrator.call("identity.agent.invite", site=site)["code"]


def _organisation(administrator: Client, item: Mapping[str, Any]) -> str:
    facts = {name: fact["value"] for name, fact in item["facts"].items()}
    created = administrator.call("identity.organisation.create", name=item["name"], **facts)
    return str(created["id"])


def _site(administrator: Client, item: Mapping[str, Any], organisations: Mapping[str, str]) -> str:
    fields = dict(item) | {"operator": organisations[item["operator"]]}
    return str(administrator.call("sites.site.register", **fields)["id"])


def _account(administrator: Client, item: Mapping[str, Any], organisations: Mapping[str, str]) -> str:
    """A service account with its roles; answers its token."""
    account = administrator.call(
        "identity.service.create", name=item["name"], organisation=organisations[item["organisation"]]
    )["id"]
    for role in item["roles"]:
        administrator.call("identity.role.grant", account=account, role=role)
    token = administrator.call("identity.service.token.create", service=account, label="example")
    return str(token["secret"])
