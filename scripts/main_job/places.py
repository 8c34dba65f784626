"""The part about places: a job of level 2 that runs nowhere until landmarks have shown where a site is.

Three landmarks of two organisations, each in a network namespace of its own. First their lines to the site are longer
than Japan is wide, so that nothing is shown and the job is refused; then they are as short as this machine allows.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from scripts import territory
from scripts.main_job import keystop, processes
from scripts.main_job.example import Engine
from scripts.main_job.line import Line
from scripts.main_job.processes import StepFailedError, program
from scripts.main_job.verify import verify_offline
from sekisho_client import follow
from sekisho_client.client import Client
from sekisho_client.verbs import evidence_export

if TYPE_CHECKING:
    from scripts.main_job.story import Story

SITE, LEVEL = "azure-tokyo", 2
LANDMARKS = {"tokyo-1": "university", "tokyo-2": "exchange", "tokyo-3": "exchange"}
LATITUDE, LONGITUDE = 35.68, 139.77
LONG_MS = 8.0
"""What the lines add at first: 1,200 km at the speed of light; Korea is 809 km from Tokyo."""
ALONE = ("unshare", "--user", "--map-root-user", "--net")
PROOF_SECONDS = 40
JOB = f"""name: confidential
run: echo "level {LEVEL}, where the landmarks say"
resources: {{cpus: 1, memory: 1}}
charter:
  level: {LEVEL}
  residency: [JP]
"""
AROUND = frozenset(
    {"Japan", "South Korea", "North Korea", "Russia", "China", "Taiwan", "Mongolia", "Vietnam", "Philippines"}
    | {"Guam", "N. Mariana Is."}
)
"""Enough of the map for discs of a few thousand kilometres; a real territory file has all of it."""
DECIDED = dict.fromkeys(("takeshima", "senkaku", "northern-territories"), "home")
_UDEG = 1_000_000


class Apart(NamedTuple):
    """One landmark in its namespace: the folder of its sockets, its configuration, what others must know of it."""

    name: str
    sockets: Path
    config: Path
    described: Mapping[str, Any]


class Places:
    """What the part about places needs: keys are made before the site's agent starts, the rest after the main job."""

    def __init__(self, story: Story) -> None:
        """Makes the landmarks' keys, where namespaces can be made; else says so and does nothing more."""
        self._story = story
        self._answer_port = processes.free_port(0)
        self._landmarks: list[Apart] = []
        self._missing = missing()
        if self._missing:
            story.warn(f"The part about places is left out: {self._missing}.")
            return
        short = Path(story.stack.enter_context(tempfile.TemporaryDirectory(prefix="sekisho-")))
        self._landmarks = [self._make(name, short / name) for name in LANDMARKS]

    def engine(self) -> Mapping[str, Engine]:
        """The local engine at the site, whose agent answers these landmarks."""
        if self._missing:
            return {}
        lines = ["[location]", f'listen = "127.0.0.1:{self._answer_port}"']
        for each in self._landmarks:
            lines += ["[[location.landmarks]]", f'name = "{each.name}"', f'key = "{each.described["key"]}"']
        return {SITE: Engine("local", "\n".join(lines) + "\n")}

    def tell(self, administrator: Client, engineer: Client) -> None:
        """Refused without a proof, refused over long lines, run after the proof; all of it in a bundle."""
        if self._missing:
            return
        story = self._story
        job = engineer.call("compute.job.submit", file=JOB)["id"]
        story.done(f"level {LEVEL} job refused: {self._why(engineer, job)}")
        digest = self._territory(administrator)
        keeper = self._register(administrator)
        with contextlib.ExitStack() as stack:
            lines = [stack.enter_context(line) for line in self._run()]
            for line in lines:
                line.stretch(LONG_MS)
            self._prove(keeper, shown=False)
            story.done(f"level {LEVEL} job refused: {self._why(engineer, job)}")
            for line in lines:
                line.stretch(0.0)
            found = self._prove(keeper, shown=True)
            self._finish(engineer, job)
            keystop.tell(story, engineer, SITE)
        figures = found["standing"]["value"]
        text = "{landmarks} landmarks, within {bound_km} km, margin {foreign_margin_km} km (grade M)".format(
            **figures
        )
        story.found.places.append(("place of " + SITE, text))
        story.found.places += [("  not shown", told["en"]) for told in found["not_shown"]]
        self._verify(engineer, job, digest)

    def _make(self, name: str, sockets: Path) -> Apart:
        """A landmark's folder and key; the organisation is filled in once the control plane knows it."""
        sockets.mkdir(mode=0o700)
        folder = self._story.folder / "landmarks" / name
        folder.mkdir(parents=True)
        config = folder / "landmark.toml"
        config.write_text(
            f'folder = "{folder / "state"}"\nname = "{name}"\norganisation = "unknown"\n'
            f"latitude = {LATITUDE}\nlongitude = {LONGITUDE}\n",
            encoding="utf-8",
        )
        made = processes.run(
            [*program("sekisho_guarantor"), "landmark", "init", "--config", str(config)],
            env={},
            log=self._story.log(name),
        )
        return Apart(name, sockets, config, json.loads(made))

    def _territory(self, administrator: Client) -> str:
        """Add a map and put it in force, by two people; its digest."""
        document = territory.read_map(territory.archive())
        countries = document["objects"]["countries"]
        near = [each for each in countries["geometries"] if each["properties"]["name"] in AROUND]
        document["objects"] = {"countries": countries | {"geometries": near}}
        data = territory.build(document, home={"JP": "Japan"}, version="example", decisions=DECIDED)
        digest = str(administrator.call("sites.territory.add", territory=data.decode())["digest"])
        proposed = administrator.call("sites.territory.set", digest=digest)
        second = self._story.client(self._story.second_token)
        second.call("kernel.proposal.approve", proposal=proposed["proposal"])
        self._story.done(f"territory file in force, {len(data) / 1e6:.1f} MB, by two people")
        return digest

    def _register(self, administrator: Client) -> Client:
        """Organisations, accounts and landmarks; a client of whoever operates the site."""
        organisations: dict[str, str] = {}
        tokens: dict[str, str] = {}
        for name in dict.fromkeys(LANDMARKS.values()):
            organisations[name] = administrator.call(
                "identity.organisation.create",
                name=f"Example {name}",
                jurisdiction="JP",
                parent_jurisdiction="JP",
                foreign_control_pct=0,
            )["id"]
            tokens[name] = _account(administrator, f"landmarks of {name}", organisations[name], "landmark")
        for each in self._landmarks:
            whose = LANDMARKS[each.name]
            text = each.config.read_text(encoding="utf-8").replace('"unknown"', f'"{organisations[whose]}"')
            token = each.config.with_name("token")
            token.touch(mode=0o600)
            token.write_text(tokens[whose], encoding="ascii")
            text += f'[rounds]\ngap_ms_max = 10\n[control]\nurl = "{self._story.url}"\n'
            text += f'token_file = "{token}"\npoll_seconds = 0.3\n'
            each.config.write_text(text, encoding="utf-8")
            administrator.call(
                "sites.landmark.add",
                name=each.name,
                organisation=organisations[whose],
                public_key=each.described["key"],
                latitude_udeg=round(LATITUDE * _UDEG),
                longitude_udeg=round(LONGITUDE * _UDEG),
            )
        operator = administrator.call("sites.site.show", site=SITE)["operator"]
        keeper = self._story.client(_account(administrator, "keeper of the place", operator, "site_operator"))
        address = {"value": f"127.0.0.1:{self._answer_port}"}
        keeper.call("sites.fact.state", site=SITE, name="location-address", fact=address)
        return keeper

    def _run(self) -> Iterator[contextlib.AbstractContextManager[Line]]:
        """Each landmark in a namespace of its own, at the near end of a line."""
        port = urlsplit(self._story.url).port or 0
        for each in self._landmarks:
            command = [*ALONE, *program("scripts.main_job.apart")]
            command += [str(each.sockets), str(port), str(self._answer_port), str(each.config)]
            line = Line(each.sockets, control_port=port, answer_port=self._answer_port)
            yield line.running()
            self._story.stack.enter_context(
                processes.running(command, env={}, log=self._story.log(each.name))
            )

    def _prove(self, keeper: Client, *, shown: bool) -> Mapping[str, Any]:
        """Ask until every landmark has answered; StepFailedError unless it came to what was to be expected."""
        deadline = time.monotonic() + PROOF_SECONDS
        found: Mapping[str, Any] = keeper.call("sites.proof.request", site=SITE)
        while found["state"] == "open" and time.monotonic() < deadline:
            time.sleep(0.2)
            found = keeper.call("sites.proof.show", site=SITE)
        for finding in found["findings"]:
            self._story.done("  " + finding["told"]["en"])
        if bool(found["standing"]) is not shown or found["state"] == "open":
            raise StepFailedError(f"the proof of {SITE} came to {found['state']} {found['code']}")
        return found

    @staticmethod
    def _why(engineer: Client, job: str) -> str:
        """What the charter says of the site, down to the first landmark it names."""
        sites = engineer.call("compute.job.explain", job=job)["sites"]
        why = str(next(site["why"] for site in sites if site["name"] == SITE))
        return " Landmark ".join(why.split(" Landmark ")[:2])

    def _finish(self, engineer: Client, job: str) -> None:
        """Follow the job to its end."""
        step = None
        for step in follow.steps(engineer, job, seconds_max=PROOF_SECONDS):
            for event in step.events:
                if event["what"] in {"placed", "succeeded"}:
                    self._story.done("  " + follow.describe_event(event, "en")[1])
        if step is None or step.job["state"] != "succeeded":
            raise StepFailedError(f"the job of level {LEVEL} did not succeed")

    def _verify(self, engineer: Client, job: str, digest: str) -> None:
        """The bundle, by a trust file that names the landmarks and the map and demands a measured place."""
        story = self._story
        bundle, trust = story.folder / f"{job}.bundle.zip", story.folder / "trust-places.json"
        evidence_export.export(engineer, job, bundle)
        known = [
            {name: each[name] for name in ("name", "organisation", "latitude_udeg", "longitude_udeg")}
            | {"key": each["public_key"]}
            for each in engineer.call("sites.landmark.list")["items"]
        ]
        body = json.loads((story.folder / "data" / "trust.json").read_text(encoding="utf-8"))
        body |= {"landmarks": known, "territory": digest, "demand": {"max_level_without_place": LEVEL - 1}}
        trust.write_text(json.dumps(body), encoding="utf-8")
        verdict = verify_offline(bundle, trust)
        told = [line for line in verdict.answer.get("lines", []) if line["code"] == "transcript.shown"]
        if verdict.status or not told:
            raise StepFailedError(f"the bundle of the level {LEVEL} job was refused with {verdict.status}")
        story.done(
            f"its bundle: verdict on the place computed again offline, on {len(known)} landmarks we name"
        )
        story.found.places.append((f"level {LEVEL} bundle", f"everything holds; trust file {trust.name}"))


def missing() -> str:
    """What this machine lacks for landmarks in namespaces; nothing where they can run."""
    for name in ("unshare", "ip", "npm"):
        if shutil.which(name) is None:
            return f"there is no {name} here"
    probe = subprocess.run([*ALONE, "ip", "link", "set", "lo", "up"], capture_output=True, check=False)
    return "this machine lets nobody make network namespaces" if probe.returncode else ""


def _account(administrator: Client, name: str, organisation: str, role: str) -> str:
    """A service account with one role; its token."""
    account = administrator.call("identity.service.create", name=name, organisation=organisation)["id"]
    administrator.call("identity.role.grant", account=account, role=role)
    return str(
        administrator.call("identity.service.token.create", service=account, label="example")["secret"]
    )
