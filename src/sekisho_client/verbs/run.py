"""`sekisho run FILE`: sends the working folder, submits the job, follows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sekisho_client import follow, transfer
from sekisho_client.client import Client, connect
from sekisho_client.imports import translate
from sekisho_client.refusals import Refused
from sekisho_client.session import Session

FAILED, STILL_WAITING = 1, 8


def run(session: Session, values: dict[str, Any]) -> int:
    """Submit and follow. Ctrl-C only stops following: the job goes on."""
    file = Path(values["path"])
    text = read_translated(session, file, values)
    if values.get("dry_run"):
        if session.screen.as_json:
            session.screen.json({"file": text})
        else:
            session.screen.text(text.rstrip("\n"))
        return 0
    with connect(session.settings) as client:
        workdir = send_workdir(client, file, text)
        job = client.call("compute.job.submit", file=text, workdir=workdir)
        if values.get("detach"):
            session.screen.answer(job, ())
            return 0
        try:
            return watch(session, client, job["id"], float(values.get("timeout") or 0))
        except KeyboardInterrupt:
            session.screen.hint(f"sekisho logs {job['id']} --follow")
            return 0


def read_translated(session: Session, file: Path, values: dict[str, Any]) -> str:
    """The job file's text, also of one that was written for SkyPilot, Slurm or Kubernetes; notes go to the person."""
    found = translate(
        read_job_file(file), str(file), image=values.get("image") or "", gpu=values.get("gpu") or ""
    )
    for english, japanese in found.notes:
        session.screen.progress(f"- {session.screen.say(english, japanese)}")
    return found.text


def read_job_file(file: Path) -> str:
    """The job file's text; Refused for one that is not there or not UTF-8."""
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Refused("input.bad_file", path=str(file)) from error
    except OSError as error:
        raise Refused("input.no_file", path=str(file)) from error


def send_workdir(client: Client, file: Path, text: str) -> str:
    """Send the folder that `workdir:` names, relative to the job file; answers the artefact's id, or nothing.

    The server reads the job file properly; here only this one line is looked for.
    """
    named = [
        line.partition(":")[2].split("#")[0].strip()
        for line in text.splitlines()
        if line.startswith("workdir:")
    ]
    if not named or not named[0]:
        return ""
    folder = file.parent / named[0].strip("\"'")
    local = transfer.scan(folder, lambda _done, _total: None)
    upload = client.call("data.workdir.add", object=local.digest, size_bytes=local.size_bytes)
    transfer.send(client, local, upload["ticket"], lambda _done, _total: None)
    return str(upload["id"])


def watch(session: Session, client: Client, job: str, seconds_max: float) -> int:
    """Follow to the end; exit 1 when the job failed, 8 when the time was over first."""
    screen, step = session.screen, None
    for step in follow.steps(client, job, seconds_max=seconds_max):
        if screen.as_json:
            screen.json(step.job)
            continue
        for event in step.events:
            mark, sentence = follow.describe_event(event, screen.language)
            screen.line(mark, sentence)
        line = follow.describe_progress(step.job["progress"], screen.language)
        if line and session.progress and not step.ended:
            screen.overwrite(line)
    if step is None or not step.ended:
        return STILL_WAITING
    screen.hint(f"sekisho evidence export {job}")
    return 0 if step.job["state"] == "succeeded" else FAILED
