"""A job's bundle: exporting it through the gate, checking it in this process, and handing it out.

Each export is on record and has an address, so that a verdict can be looked at again. A bundle can be read only
once a signed checkpoint of the log covers its export; that takes a moment, which a page waits for, but not long.
"""

from __future__ import annotations

import time
from typing import Any

from sekisho.console import verdicts
from sekisho.console.asked import Answer, Download, Page, Redirect
from sekisho.console.drawing import say
from sekisho.console.visit import Visit
from sekisho.kernel.errors import SekishoError
from sekisho.ledger import BundleFile, ExportBundle, ReadBundle, ShowTrust
from sekisho_verify import parse_trust, verify_bundle

NOT_COVERED = "ledger.not_covered"
LOOK_SECONDS = 0.1


def verify(visit: Visit) -> Answer:
    """Export, wait for the checkpoint, and show the verdict."""
    job, export = _export(visit)
    return Redirect(f"/jobs/{job}/evidence/{export}")


def export(visit: Visit) -> Answer:
    """Export, wait for the checkpoint, and hand out the file; the verdict's page where that takes too long."""
    job, record = _export(visit)
    ready = _read(visit, record, seconds=visit.parts.limits.cover_seconds) is not None
    return Redirect(f"/jobs/{job}/evidence/{record}" + ("/bundle.zip" if ready else ""))


def show(visit: Visit) -> Answer:
    """The verdict over one export's bundle, checked now, by the verifier that auditors use."""
    job, record = visit.asked.path["job"], visit.asked.path["export"]
    bundle = _read(visit, record, seconds=visit.parts.limits.cover_seconds)
    values: dict[str, Any] = {
        "job": job,
        "export": record,
        "waiting": bundle is None,
        "name": "JOB.bundle.zip",
    }
    data: Any = {"export": record, "covered": bundle is not None}
    if bundle:
        trust = parse_trust(visit.ask(ShowTrust()).text.encode())
        verdict = verify_bundle(bundle.content, trust)
        values |= {
            "name": _zip_name(bundle.name),
            "size_bytes": len(bundle.content),
            "holds": verdict.holds,
            "summary": verdicts.summary(verdict, visit.language),
            "lines": verdicts.lines(verdict, visit.language),
            "unproven": verdicts.unproven(verdict, visit.language),
        }
        data = {**data, "verdict": verdicts.document(verdict)}
    return Page(
        template="evidence.html",
        title=say(visit.language, "evidence.title"),
        nav="jobs",
        values=values,
        data=data,
        command=f"sekisho evidence export {job}",
    )


def bundle_file(visit: Visit) -> Answer:
    """The bundle itself; `ledger.not_covered` until a checkpoint covers its export."""
    found = visit.ask(ReadBundle(export=visit.asked.path["export"]))
    return Download(_zip_name(found.name), found.content)


def _zip_name(name: str) -> str:
    return name if name.endswith(".zip") else f"{name}.zip"


def _export(visit: Visit) -> tuple[str, str]:
    found = visit.ask(ExportBundle(job=visit.asked.path["job"]))
    return found.subject_id, found.record


def _read(visit: Visit, record: str, *, seconds: int) -> BundleFile | None:
    """The bundle, waiting a little for the log; None when it is still not covered."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return visit.ask(ReadBundle(export=record))
        except SekishoError as error:
            if error.code != NOT_COVERED or time.monotonic() >= deadline:
                if error.code == NOT_COVERED:
                    return None
                raise
        time.sleep(LOOK_SECONDS)
