"""Every state and every reason to wait has a sentence in both languages."""

from __future__ import annotations

import msgspec
import pytest

from sekisho.compute import JobState, JobView, reason_sentence
from sekisho.compute.placement import Reason


def job(state: JobState, reason: str = "", site: str = "ishikari") -> JobView:
    return JobView(
        id="job_1",
        name="a",
        team="",
        owner="org_a",
        submitter="usr_a",
        kind="batch",
        array="",
        index=None,
        level=0,
        labels=[],
        residency=["any"],
        state=state,
        reason=reason,
        site="site_a",
        site_name=site,
        attempts=1,
        cancelling=False,
        progress={},
        created_ms=0,
        changed_ms=0,
        ended_ms=0,
        record_id="rec_1",
    )


@pytest.mark.parametrize(
    "state", [JobState.WAITING, JobState.RUNNING, *(one for one in JobState if one.ended)]
)
def test_an_array_speaks_of_its_jobs_and_names_no_site(state: JobState) -> None:
    text = reason_sentence(msgspec.structs.replace(job(state, site=""), kind="array"))
    assert "-" not in text.en + text.ja
    assert "job" in text.en
    assert "ジョブ" in text.ja


@pytest.mark.parametrize("state", JobState)
def test_a_state_in_both_languages(state: JobState) -> None:
    text = reason_sentence(job(state, "job.time_limit"))
    assert text.en.isascii()
    assert text.en.endswith(".")
    assert text.ja.endswith("。")
    named = state not in {JobState.WAITING, JobState.FAILED, JobState.CANCELLED}
    assert ("ishikari" in text.en, "ishikari" in text.ja) == (named, named)
    assert ("job.time_limit" in text.en) == (state is JobState.FAILED)


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.PLACED])
def test_a_reason_to_wait_has_its_own_sentence(reason: Reason) -> None:
    others = {reason_sentence(job(JobState.WAITING, other)).en for other in Reason if other is not reason}
    text = reason_sentence(job(JobState.WAITING, reason))
    assert text.en not in others
    assert text.ja.endswith("。")


def test_words_of_a_site_stay_words() -> None:
    odd = msgspec.structs.replace(job(JobState.FAILED, "{site} %s"), site_name="{reason}")
    assert reason_sentence(odd).en == "It failed: {site} %s."


def test_a_shape_is_more_than_a_size() -> None:
    """Nodes of one job, a type of GPU, somebody inside who asks a service: a small job may ask for them too."""
    text = reason_sentence(job(JobState.WAITING, "NoSuchShape"))
    assert (text.en, text.ja) == (
        "No allowed site has what it asks for.",
        "この構成を満たす拠点がありません。",
    )
