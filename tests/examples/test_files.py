"""The job files, the locks and the federations, read by the product's own code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from sekisho.compute import jobfile
from sekisho.identity.model import CreateOrganisation, Role
from sekisho.sites import rules as sites_rules
from sekisho.sites.model import Fact, RegisterSite
from tests.examples import programs
from tests.support import tree

FEDERATIONS: dict[str, dict[str, Any]] = {
    folder: yaml.safe_load((tree.ROOT / "examples" / folder / "federation.yaml").read_text())
    for folder in ("japan", "robot-arm")
}
FEDERATION = FEDERATIONS["japan"]
SITES = {site["name"]: site for site in FEDERATION["sites"]}
ARM_SITES = {site["name"]: site for site in FEDERATIONS["robot-arm"]["sites"]}


def test_the_job_is_read_by_the_product_and_stays_in_japan() -> None:
    job = jobfile.parse((programs.FOLDER / "job.yaml").read_text(encoding="utf-8"))
    assert job.charter.residency == ["JP"]
    assert job.charter.egress == "none"
    assert {(mount.source or mount.target, mount.mount) for mount in job.data} == {
        ("japanese-text", "/data"),
        ("japanese-lm", "/out"),
    }
    assert job.checkpoint is not None
    assert job.checkpoint.path == "/ckpt"
    assert (programs.FOLDER / job.workdir / job.run.rsplit("/", 1)[-1]).is_file()
    assert job.team in {team["name"] for team in FEDERATION["teams"]}


def test_the_array_is_read_by_the_product_and_keeps_its_results_in_japan() -> None:
    job = jobfile.parse((programs.ARM / "job.yaml").read_text(encoding="utf-8"))
    assert job.kind == "array"
    assert job.array is not None
    assert (job.array.size, job.array.parallel) == (8, 4)
    assert (job.charter.residency, job.charter.egress) == (["JP"], "none")
    assert [(mount.target, mount.mount) for mount in job.data] == [("policy", "/out")]
    assert job.checkpoint is not None
    assert (programs.ARM / job.workdir / job.run.rsplit("/", 1)[-1]).is_file()
    assert job.team in {team["name"] for team in FEDERATIONS["robot-arm"]["teams"]}


def test_no_site_that_is_allowed_holds_all_members_at_once() -> None:
    job = jobfile.parse((programs.ARM / "job.yaml").read_text(encoding="utf-8"))
    assert job.array is not None
    allowed = [site for site in ARM_SITES.values() if site["country"]["value"] == "JP"]
    room = {site["name"]: site["cpus"] // job.resources.cpus for site in allowed}
    assert sum(room.values()) >= job.array.parallel
    assert all(0 < count < job.array.parallel for count in room.values())
    assert min(ARM_SITES, key=lambda name: ARM_SITES[name]["yen_per_hour"]) == "us-west"


@pytest.mark.parametrize(
    ("folder", "sites"), [(programs.FOLDER, SITES), (programs.ARM, ARM_SITES)], ids=["main job", "arm"]
)
def test_the_job_fits_each_site_and_its_budget_everywhere(folder: Path, sites: dict[str, Any]) -> None:
    job = jobfile.parse((folder / "job.yaml").read_text(encoding="utf-8"))
    assert job.budget is not None
    for site in sites.values():
        assert site["cpus"] >= job.resources.cpus
        assert site["memory_bytes"] >= jobfile.memory_bytes(job.resources.memory)
        hours = jobfile.seconds(job.time_limit) / 3600
        assert site["yen_per_hour"] * job.resources.cpus * hours <= job.budget.max_yen


@pytest.mark.parametrize(
    "values", [*SITES.values(), *ARM_SITES.values()], ids=[*SITES, *(f"arm-{name}" for name in ARM_SITES)]
)
def test_each_site_can_be_registered_and_says_that_it_is_a_stand_in(values: dict[str, Any]) -> None:
    site = msgspec.convert(values, RegisterSite)
    assert site.stand_in
    for fact, statement in site.facts.items():
        sites_rules.check_fact(fact, statement.value)
    for statement in (site.country, *site.facts.values()):
        assert (statement.grade, statement.source) == ("D", "")
        assert statement.issuer


@pytest.mark.parametrize("folder", FEDERATIONS)
def test_sites_belong_to_organisations_that_can_be_created(folder: str) -> None:
    federation, names = FEDERATIONS[folder], set()
    for organisation in federation["organisations"]:
        facts = msgspec.convert(organisation["facts"], dict[str, Fact])
        assert {fact.grade for fact in facts.values()} == {"D"}
        values = {name: fact.value for name, fact in facts.items()}
        names.add(msgspec.convert({"name": organisation["name"], **values}, CreateOrganisation).name)
    assert {site["operator"] for site in federation["sites"]} <= names
    assert {account["organisation"] for account in federation["accounts"] + federation["teams"]} <= names
    msgspec.convert([role for account in federation["accounts"] for role in account["roles"]], list[Role])


def test_the_overseas_site_is_the_cheapest_of_the_five() -> None:
    assert set(SITES) == {"azure-tokyo", "azure-osaka", "sakura-ishikari", "softbank-tomakomai", "us-west"}
    overseas = [name for name, site in SITES.items() if site["country"]["value"] != "JP"]
    assert overseas == ["us-west"]
    assert min(SITES, key=lambda name: SITES[name]["yen_per_hour"]) == "us-west"
    prices = {name: min(one["yen_per_hour"] for one in site["accelerators"]) for name, site in SITES.items()}
    assert min(prices, key=lambda name: prices[name]) == "us-west"


@pytest.mark.parametrize("name", ["japanese-lm/image", "japanese-lm/image-cuda", "robot-arm/image"])
def test_each_locked_package_of_an_environment_has_a_version_and_hashes(name: str) -> None:
    text = (tree.ROOT / "examples" / f"{name}.txt").read_text()
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert entries
    for entry in entries:
        assert re.match(r"[a-z0-9.\-]+(\[[a-z0-9,]+\])?==[^\s;]+", entry), entry.splitlines()[0]
        assert "--hash=sha256:" in entry, entry.splitlines()[0]
    assert "://" not in text


def test_both_environments_agree_on_what_they_share() -> None:
    pins = [
        dict(
            re.findall(
                r"^([a-z0-9.\-]+)(?:\[\S+\])?==(\S+)",
                (programs.FOLDER / f"{name}.txt").read_text(),
                re.MULTILINE,
            )
        )
        for name in ("image", "image-cuda")
    ]
    assert pins[0].items() <= pins[1].items()
    wanted = {
        line for line in (programs.FOLDER / "image.in").read_text().splitlines() if not line.startswith("#")
    }
    assert wanted <= pins[0].keys()


def test_the_readmes_of_both_languages_show_the_same_figures() -> None:
    for folder in ("japan", "japanese-lm", "robot-arm"):
        texts = [
            (tree.ROOT / "examples" / folder / name).read_text() for name in ("README.md", "README.ja.md")
        ]
        tables = [re.findall(r"\| ([\d.]+) \|$", text, re.MULTILINE) for text in texts]
        assert tables[0] == tables[1]
        assert tables[0], folder
