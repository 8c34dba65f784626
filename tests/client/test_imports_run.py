"""What a translation's own lines make of the site's variables, run by the shells that run jobs."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from sekisho.compute import jobfile
from sekisho_client.imports import shell, translate
from sekisho_client.refusals import Refused

SHELLS = [path for path in ("/bin/sh", "/bin/bash") if shutil.which(path)]
RUNS = settings(deadline=None, max_examples=25)
SHOWN = "$SLURM_ARRAY_TASK_ID $SLURM_ARRAY_TASK_COUNT $SLURM_ARRAY_TASK_MIN $SLURM_ARRAY_TASK_MAX"

range_of_tasks = st.tuples(st.integers(0, 60), st.integers(0, 20), st.integers(1, 6))


def job_of(text: str) -> dict[str, Any]:
    """The translation as the server reads it."""
    found = translate(text, "job.x")
    jobfile.parse(found.text)
    job: dict[str, Any] = yaml.safe_load(found.text)
    return job


def refused_of(text: str) -> str:
    """The names that stand in the way; nothing for a file that is translated."""
    try:
        job_of(text)
    except Refused as refused:
        return str(refused.params["names"])
    return ""


def output(run: str, variables: list[dict[str, str]], program: str) -> list[str]:
    """The last line that the text prints in each environment, all in one process of the shell."""
    given = [" ".join(f"export {name}='{text}';" for name, text in each.items()) for each in variables]
    script = "\n".join(f"( {each}\n{run}\n) | tail -n 1" for each in given)
    done = subprocess.run(
        [program, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin"},
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def spelt(first: int, length: int, step: int) -> str:
    """One range as sbatch takes it."""
    last = first + length
    return f"{first}" if not length else f"{first}-{last}" if step == 1 else f"{first}-{last}:{step}"


@RUNS
@given(st.lists(range_of_tasks, min_size=1, max_size=5), st.integers(0, 9), st.sampled_from(SHELLS))
def test_the_jobs_of_an_array_have_the_task_numbers_that_slurm_gives(
    ranges: list[tuple[int, int, int]], limit: int, program: str
) -> None:
    wanted = [
        number
        for number in range(100)
        if any(
            first <= number <= first + length and (number - first) % step == 0
            for first, length, step in ranges
        )
    ]
    notation = ",".join(spelt(*each) for each in ranges) + (f"%{limit}" if limit else "")
    job = job_of(f"#!/bin/bash\n#SBATCH --array={notation}\necho {SHOWN}\n")
    size = job["array"]["size"]
    assert job["array"].get("parallel", size) == (min(limit, size) if limit else size)
    printed = output(job["run"], [{"SEKISHO_ARRAY_INDEX": str(index)} for index in range(size)], program)
    assert printed == [f"{number} {len(wanted)} {wanted[0]} {wanted[-1]}" for number in wanted]


@given(st.text(alphabet="0123456789-:,%ax ", max_size=14))
def test_any_notation_is_an_array_or_refused(notation: str) -> None:
    assume(notation.strip())
    text = f"#!/bin/bash\n#SBATCH '--array={notation}'\ntrue\n"
    names = refused_of(text)
    assert names in {"", "--array"}
    if not names:
        assert 1 <= job_of(text)["array"]["size"] <= jobfile.ARRAY_MAX


@given(st.integers(1, 64), st.integers(1, 16), st.integers(1, 8), st.integers(1, 600))
def test_nodes_tasks_and_gpus_are_neither_lost_nor_made_up(
    nodes: int, tasks: int, cpus: int, gpus: int
) -> None:
    spellings = [f"-N {nodes} --ntasks-per-node={tasks}", f"-N {nodes} -n {nodes * tasks}"]
    if nodes > 1:
        spellings.append(f"-n {nodes * tasks} --ntasks-per-node={tasks}")
    for spelling in spellings:
        text = f"#!/bin/bash\n#SBATCH {spelling} -c {cpus} --gpus=h100:{gpus}\nset -e\n"
        if gpus % nodes:
            assert refused_of(text) == "--gpus"
            continue
        job = job_of(text)
        assert job.get("num_nodes", 1) == nodes
        assert job["resources"] == {"cpus": tasks * cpus, "accelerators": f"H100:{gpus // nodes}"}


@given(st.integers(2, 32), st.integers(1, 100))
def test_tasks_that_differ_from_node_to_node_are_refused(nodes: int, tasks: int) -> None:
    assume(tasks % nodes)
    with pytest.raises(Refused) as caught:
        job_of(f"#!/bin/bash\n#SBATCH -N {nodes} -n {tasks}\nset -e\n")
    assert caught.value.params["names"] == "--ntasks"


FIELD = "{name: %s, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['%s']\"}}}"
JOBSET = """apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata: {name: set}
spec:
  replicatedJobs:
  - name: w
    replicas: %d
    template:
      spec:
        completions: %d
        parallelism: %d
        template:
          spec:
            containers:
            - env:
              - %s
              - {name: HEAD, value: 'set-w-0-0.set:7'}
              command: [sh, -c, 'echo $JOB $JOB_COMPLETION_INDEX $HEAD']
"""


@RUNS
@given(st.integers(1, 6), st.integers(1, 6), st.sampled_from(SHELLS))
def test_each_node_is_one_pod_of_the_set(replicas: int, pods: int, program: str) -> None:
    field = FIELD % ("JOB", "jobset.sigs.k8s.io/job-index")
    job = job_of(JOBSET % (replicas, pods, pods, field))
    nodes = job.get("num_nodes", 1)
    assert nodes == replicas * pods
    told = [{"NODE_RANK": str(rank), "MASTER_ADDR": "10.0.0.1"} for rank in range(nodes)]
    head = "10.0.0.1:7" if nodes > 1 else "127.0.0.1:7"
    assert output(job["run"], told if nodes > 1 else [{}], program) == [
        f"{number} {index} {head}" for number, index in itertools.product(range(replicas), range(pods))
    ]


def told(rank: int, nodes: int) -> Mapping[str, str]:
    """What the site of a gang sets."""
    return {
        "NODE_RANK": str(rank),
        "RANK": str(rank),
        "NNODES": str(nodes),
        "WORLD_SIZE": str(nodes),
        "MASTER_ADDR": "10.73.0.1",
        "MASTER_PORT": "29500",
    }


GANG = """#!/bin/bash
#SBATCH --nodes=3 --ntasks-per-node=1
nodes=( $( scontrol show hostnames $SLURM_JOB_NODELIST ) )
head=${nodes[0]}
export MASTER_ADDR=$(scontrol show hostnames $SLURM_JOB_NODELIST | head -n 1)
export MASTER_PORT=$((10000 + SLURM_JOBID % 20000))
SIZE=$((SLURM_NNODES * 8))
srun --label \\
  --ntasks=3 bash -c 'echo "$@" rank $SLURM_PROCID of $SLURM_NTASKS, $SLURM_LOCALID, $0' \\
  "$MASTER_ADDR" $head:$MASTER_PORT --size $SIZE "two words"
"""


@pytest.mark.parametrize("program", SHELLS)
def test_a_script_of_several_nodes_starts_its_command_on_each(program: str) -> None:
    job = job_of(GANG)
    assert job["num_nodes"] == 3
    printed = output(job["run"], [dict(told(rank, 3)) for rank in range(3)], program)
    assert printed == [
        f"10.73.0.1:29500 --size 24 two words rank {rank} of 3, 0, 10.73.0.1" for rank in range(3)
    ]


@given(st.text(alphabet="ab $'\"`\\\n#;&|<>(){}=-\t", max_size=40))
def test_statements_are_the_whole_text_again(text: str) -> None:
    try:
        found = shell.statements(text)
    except shell.UnreadableError:
        return
    assert "\n".join(statement.text for statement in found) == text
    for statement in found:
        for word in statement.words:
            assert text[word.start : word.end].replace("\\\n", "") == word.text


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet="ab $'\"\\#;&|<>()=-\t", max_size=30))
def test_no_other_command_and_no_file_hides_behind_srun(tmp_path: Path, text: str) -> None:
    script = f"#!/bin/bash\n#SBATCH -N 2\nsrun a {text}\n"
    if refused_of(script):
        return
    probe = f"a() {{ echo called; }}\n{job_of(script)['run']}"
    done = subprocess.run(
        ["/bin/bash", "-c", probe],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "", "NODE_RANK": "0"},
        cwd=tmp_path,
        timeout=60,
    )
    assert (done.stdout, done.stderr, list(tmp_path.iterdir())) == ("called\n", "", [])
