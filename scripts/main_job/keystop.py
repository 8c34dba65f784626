"""The part about keys: a confidential job that runs under its owner's key, and the next one once the key is stopped.

The key lies in a PKCS#11 token (SoftHSM, software that stands in for a device), which the charter takes at level 2.
Without SoftHSM it is the example's development key, which rule C04 refuses there, so the jobs are of level 1.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scripts.main_job import custody
from scripts.main_job.processes import StepFailedError
from scripts.main_job.verify import verify_offline
from sekisho_client import follow, transfer
from sekisho_client.client import Client
from sekisho_client.verbs import evidence_export
from tests.support import softhsm

if TYPE_CHECKING:
    from scripts.main_job.story import Story

KEY, DATASET = "wards", "ward-notes"
SECONDS = 60
CUSTODY = {"customer-hsm": "key_release.released", "development": "key_release.development"}


def tell(story: Story, engineer: Client, site: str) -> None:
    """Run a job on encrypted notes at a site that is proven by now, stop the key, and see the next one refused.

    Both bundles are verified offline and must tell the releases and the refusal; StepFailedError otherwise.
    """
    custodian = _custodian(story, engineer)
    key = custodian.register(story, engineer, KEY)
    level = 1 if key["stand_in"] else 2
    _add(story, engineer, custodian, key)
    first = _submit(engineer, "under-key", level, site)
    _end(story, engineer, first, state="succeeded")
    told = _verified(story, engineer, first, CUSTODY[key["custody"]])
    story.done(f"level {level} job ran under {KEY} ({key['custody']}): {told} in its bundle")
    engineer.call("data.key.stop", key=KEY)
    second = _submit(engineer, "after-stop", level, site)
    _end(story, engineer, second, state="failed", reason="key.stopped")
    refused = _verified(story, engineer, second, "key_release.refused")
    story.done(f"key {KEY} stopped: the next attempt was refused (key.stopped), {refused} in its bundle")
    story.found.places.append(("key of level " + str(level), f"{KEY}: {told}; stopped: {refused}"))


def _custodian(story: Story, engineer: Client) -> custody.Custodian:
    """Over a token where SoftHSM is there, else over a file, and saying so."""
    folder = Path(story.stack.enter_context(tempfile.TemporaryDirectory(prefix="sekisho-hsm-")))
    try:
        token = softhsm.token(folder)
    except (pytest.skip.Exception, pytest.fail.Exception) as error:
        story.warn(f"The part about keys runs at level 1 with a development key: {error}")
        return custody.start(story, engineer, name="custodian-of-notes")
    store = (
        f'[store]\nkind = "pkcs11"\nmodule = "{token.module}"\ntoken = "{token.label}"\n'
        f'pin_file = "{token.pin_file}"\n'
    )
    return custody.start(story, engineer, store, name="custodian-of-notes")


def _add(story: Story, engineer: Client, custodian: custody.Custodian, key: Mapping[str, Any]) -> None:
    """Some notes as a data set under the key."""
    folder = story.folder / DATASET
    folder.mkdir()
    (folder / "notes.txt").write_text("二号室、異常なし。\n", encoding="utf-8")
    with custodian.sealed(folder, key) as (stored, named):
        upload = engineer.call(
            "data.dataset.add",
            name=DATASET,
            object=stored.digest,
            size_bytes=stored.size_bytes,
            files=len(stored.files),
            level=1,
            residency=["JP"],
            **named,
        )
        transfer.send(engineer, stored, upload["ticket"], lambda _done, _total: None)
    engineer.call("data.dataset.seal", dataset=upload["id"])


def _submit(engineer: Client, name: str, level: int, site: str) -> str:
    text = (
        f"name: {name}\nrun: wc -c /data/notes.txt > /out/count.txt\n"
        f"data: [{{from: {DATASET}, mount: /data}}, {{to: count, mount: /out}}]\n"
        f"resources: {{cpus: 1, memory: 1}}\ncharter:\n  level: {level}\n  residency: [JP]\n  sites: [{site}]\n"
    )
    return str(engineer.call("compute.job.submit", file=text)["id"])


def _end(story: Story, engineer: Client, job: str, *, state: str, reason: str = "") -> None:
    """Follow to the end, which must be this one."""
    found = list(follow.steps(engineer, job, seconds_max=SECONDS))[-1].job
    if found["state"] != state or (reason and found["reason"] != reason):
        raise StepFailedError(f"job {job} is {found['state']} ({found['reason']}), not {state}")
    story.done(f"  {found['name']}: {state}{f' ({reason})' if reason else ''}")


def _verified(story: Story, engineer: Client, job: str, code: str) -> str:
    """Export and verify; what the verdict says of the key in one line."""
    bundle = story.folder / f"{job}.bundle.zip"
    evidence_export.export(engineer, job, bundle)
    verdict = verify_offline(bundle, story.folder / "data" / "trust.json")
    lines = [line for line in verdict.answer.get("lines", []) if line["code"] == code]
    if verdict.status or not lines:
        raise StepFailedError(f"the bundle of {job} was refused with {verdict.status}, or tells no {code}")
    word = "refused" if code == "key_release.refused" else "released"
    return f"key {lines[0]['fields']['key']} {word} {lines[0]['fields']['count']}x"
