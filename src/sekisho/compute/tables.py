"""SQL of compute: jobs, attempts, events. Secrets and images are in `tables_keepsakes.py`."""

from __future__ import annotations

from typing import Any

import msgspec

from sekisho.compute.model import AttemptState, Event, JobState, SiteChoice
from sekisho.compute.views import as_json
from sekisho.kernel.tx import Row, Tx

_ACTIVE = "('offered', 'staging', 'starting', 'running')"


class NewJob(msgspec.Struct, frozen=True, kw_only=True):
    """What a submitted job starts with; lists are stored as JSON."""

    id: str
    name: str
    team: str
    owner: str
    submitter: str
    kind: str
    level: int
    labels: list[str]
    residency: list[str]
    owners: list[str]
    file: str
    spec: dict[str, Any]
    now_ms: int
    array: str | None = None
    index: int | None = None


class Held(msgspec.Struct, frozen=True):
    """What an attempt takes at its site while it is active."""

    site: str
    cpus: int
    memory_bytes: int
    gpus: int
    gpu_type: str


def insert_job(tx: Tx, job: NewJob) -> Row:
    """Put a job at the end of the queue; the row as it stands then."""
    (row,) = tx.all(
        "insert into compute_jobs (id, name, team, owner, submitter, kind, level, labels, residency, owners, file,"
        " spec, state, reason, site, attempts, cancelling, sites, created_ms, changed_ms, ended_ms, array_job,"
        " array_index, record_id) values (:id, :name, :team, :owner, :submitter, :kind, :level, :labels, :residency,"
        " :owners, :file, :spec, 'waiting', '', '', 0, 0, '[]', :now, :now, 0, :array, :index, :record_id)",
        id=job.id,
        name=job.name,
        team=job.team,
        owner=job.owner,
        submitter=job.submitter,
        kind=job.kind,
        level=job.level,
        labels=as_json(job.labels),
        residency=as_json(job.residency),
        owners=as_json(job.owners),
        file=job.file,
        spec=as_json(job.spec),
        array=job.array,
        index=job.index,
        now=job.now_ms,
    )
    return row


def find_job(tx: Tx, job: str, owner: str) -> Row | None:
    """By id, or the newest of that name within one organisation."""
    return tx.one(
        "select * from compute_jobs where id = :job or (name = :job and owner = :owner)"
        " order by case when id = :job then 0 else 1 end, id desc limit 1",
        job=job,
        owner=owner,
    )


def waiting_jobs(tx: Tx, after: str, limit: int, now_ms: int) -> list[Row]:
    """The queue from behind a job, longest waiting first; an array or service waits through its members."""
    return tx.all(
        "select * from compute_jobs where state = 'waiting' and kind not in ('array', 'service') and id > :after"
        " and coalesce(not_before_ms, 0) <= :now order by id limit :limit",
        after=after,
        now=now_ms,
        limit=limit,
    )


def page_jobs(
    tx: Tx, before: str, limit: int, *, state: str = "", submitter: str = "", array: str = ""
) -> list[Row]:
    """Jobs newest first, before an id: those of one array, or those of none."""
    within = "array_job = :array" if array else "array_job is null"
    return tx.all(
        f"select * from compute_jobs where {within} and (:before = '' or id < :before)"
        " and (:state = '' or state = :state) and (:submitter = '' or submitter = :submitter)"
        " order by id desc limit :limit",
        before=before,
        state=state,
        submitter=submitter,
        limit=limit,
        **({"array": array} if array else {}),
    )


def members_of(tx: Tx, array: str) -> list[Row]:
    """The jobs of an array in short, in order, each with its latest progress line in `note`.

    Each has a copy of the file, which a look at all of them does not need.
    """
    return tx.all(
        "select array_index, id, name, state, reason, site, attempts, kernel_heartbeats.note"
        " from compute_jobs left join kernel_heartbeats on subject = 'progress:' || id"
        " where array_job = :array order by array_index",
        array=array,
    )


def waiting_member(tx: Tx, array: str) -> Row | None:
    """The first job of an array that waits."""
    return tx.one(
        "select * from compute_jobs where array_job = :array and state = 'waiting' order by array_index limit 1",
        array=array,
    )


def members_to_cancel(tx: Tx, array: str, after: int, count: int) -> list[Row]:
    """The first jobs of an array behind an index that have not ended and were not told to, in short."""
    return tx.all(
        "select id, array_job, array_index, cancelling from compute_jobs where array_job = :array"
        " and array_index > :after and cancelling = 0 and state in ('waiting', 'staging', 'starting', 'running') order by array_index limit :count",
        array=array,
        after=after,
        count=count,
    )


def member_counts(tx: Tx, array: str) -> dict[JobState, int]:
    """How many jobs of an array are in which state."""
    rows = tx.all(
        "select state, count(*) as n from compute_jobs where array_job = :array group by state order by state",
        array=array,
    )
    return {JobState(row["state"]): row["n"] for row in rows}


def arrays_over(tx: Tx) -> list[Row]:
    """Arrays and services that have not ended although all their jobs have, each named as a member names it."""
    return tx.all(
        "select id as array_job from compute_jobs where state in ('waiting', 'running')"
        " and kind in ('array', 'service') and not exists (select 1 from compute_jobs as one"
        " where one.array_job = compute_jobs.id and one.state in ('waiting', 'staging', 'starting', 'running'))"
    )


def members_under_way(tx: Tx) -> dict[str, int]:
    """How many jobs hold room, by the array they are of."""
    rows = tx.all(
        "select array_job, count(*) as n from compute_jobs where array_job is not null"
        " and state in ('staging', 'starting', 'running') group by array_job"
    )
    return {row["array_job"]: row["n"] for row in rows}


def move_job(tx: Tx, job: str, state: JobState, now_ms: int, *, reason: str = "") -> None:
    """Change a job's state and the reason that people read."""
    tx.run(
        "update compute_jobs set state = :state, reason = :reason, changed_ms = :now,"
        " ended_ms = case when :ended = 1 then :now else 0 end, record_id = :record_id where id = :job",
        job=job,
        state=state.value,
        reason=reason,
        now=now_ms,
        ended=int(state.ended),
    )


def hold_back(tx: Tx, job: str, until_ms: int) -> None:
    """No round looks at the job before then."""
    tx.run(
        "update compute_jobs set not_before_ms = :until, record_id = :record_id where id = :job",
        job=job,
        until=until_ms,
    )


def place_job(tx: Tx, job: str, site: str, sites: list[SiteChoice], *, now_ms: int) -> None:
    """The job goes to a site, for its next attempt."""
    tx.run(
        "update compute_jobs set state = 'staging', reason = '', site = :site, attempts = attempts + 1,"
        " sites = :sites, changed_ms = :now, record_id = :record_id where id = :job",
        job=job,
        site=site,
        sites=as_json(sites),
        now=now_ms,
    )


def keep_waiting(tx: Tx, job: str, reason: str, sites: list[SiteChoice], *, now_ms: int) -> None:
    """The round left the job where it is; what it found is kept for `why`."""
    tx.run(
        "update compute_jobs set reason = :reason, sites = :sites, changed_ms = :now, record_id = :record_id"
        " where id = :job",
        job=job,
        reason=reason,
        sites=as_json(sites),
        now=now_ms,
    )


def mark_cancelling(tx: Tx, job: str, now_ms: int) -> None:
    """Somebody asked; the site's agent learns of it at its next renewal."""
    tx.run(
        "update compute_jobs set cancelling = 1, changed_ms = :now, record_id = :record_id where id = :job",
        job=job,
        now=now_ms,
    )


def insert_attempt(tx: Tx, attempt: Row) -> None:
    """Offer a job to a site; `attempt` holds id, job, number, site, token, needs, offer_record, now."""
    tx.run(
        "insert into compute_attempts (id, job, number, site, agent, token, state, reason, detail, wall, canaries, limits,"
        " image, usage, cpus, memory_bytes, gpus, gpu_type, offered_ms, started_ms, ended_ms, offer_record,"
        " record_id) values (:id, :job, :number, :site, '', :token, 'offered', '', '', '', '{}', '{}', '', '{}', :cpus,"
        " :memory_bytes, :gpus, :gpu_type, :now, 0, 0, :offer_record, :record_id)",
        **attempt,
    )


def find_attempt(tx: Tx, attempt: str) -> Row | None:
    """One attempt's row, whatever its state."""
    return tx.one("select * from compute_attempts where id = :id", id=attempt)


def attempts_of(tx: Tx, job: str, count: int) -> list[Row]:
    """The last `count` tries of a job, oldest first; a replica may have any number of them."""
    return tx.all(
        "select * from (select * from compute_attempts where job = :job order by number desc limit :count) as last"
        " order by number",
        job=job,
        count=count,
    )


def attempt_numbered(tx: Tx, job: str, number: int) -> Row | None:
    """One try of a job; the newest for 0."""
    return tx.one(
        "select * from compute_attempts where job = :job and (:number = 0 or number = :number)"
        " order by number desc limit 1",
        job=job,
        number=number,
    )


def active_attempts(tx: Tx, site: str = "") -> list[Row]:
    """Attempts that hold room, at one site or everywhere."""
    return tx.all(
        f"select * from compute_attempts where state in {_ACTIVE} and (:site = '' or site = :site) order by id",
        site=site,
    )


def active_of_job(tx: Tx, job: str) -> Row | None:
    """The one attempt of a job that may still run."""
    return tx.one(f"select * from compute_attempts where job = :job and state in {_ACTIVE}", job=job)


def move_attempt(tx: Tx, attempt: str, state: AttemptState, now_ms: int, **changes: Any) -> None:
    """Change an attempt's state and what its agent reported with it."""
    settings = "".join(f", {name} = :{name}" for name in sorted(changes))
    stamp = (
        ", ended_ms = :now" if state.ended else ", started_ms = :now" if state is AttemptState.RUNNING else ""
    )
    values = {
        name: value if isinstance(value, (str, int)) else as_json(value) for name, value in changes.items()
    }
    tx.run(
        f"update compute_attempts set state = :state{settings}{stamp}, record_id = :record_id where id = :attempt",
        attempt=attempt,
        state=state.value,
        **values,
        **({"now": now_ms} if stamp else {}),
    )


def add_event(tx: Tx, job: str, what: str, now_ms: int, **params: str) -> None:
    """One line of the timeline."""
    tx.run(
        "insert into compute_events (job, number, time_ms, what, params, record_id)"
        " select :job, coalesce(max(number), 0) + 1, :now, :what, :params, :record_id"
        " from compute_events where job = :job",
        job=job,
        now=now_ms,
        what=what,
        params=as_json(params),
    )


def events_of(tx: Tx, job: str, count: int) -> list[Event]:
    """The last `count` lines of the timeline, in order."""
    rows = tx.all(
        "select * from (select * from compute_events where job = :job order by number desc limit :count) as last"
        " order by number",
        job=job,
        count=count,
    )
    return [
        Event(row["time_ms"], row["what"], msgspec.json.decode(row["params"]), row["record_id"])
        for row in rows
    ]
