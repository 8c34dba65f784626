"""Scripts run by a real Slurm, and their translations run as a site runs them: the same commands, told the same."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from sekisho_client.imports import translate
from tests.support import components, slurm

pytestmark = [pytest.mark.slurm]
OPTIONS = "#!/bin/bash\n#SBATCH -t 1 --mem=10 -o /dev/null\n"
ARRAY = "echo $SLURM_ARRAY_TASK_ID $SLURM_ARRAY_TASK_COUNT $SLURM_ARRAY_TASK_MIN $SLURM_ARRAY_TASK_MAX > $OUT.$SLURM_ARRAY_TASK_ID\n"
STEP = "echo $SLURM_ARRAY_TASK_ID $SLURM_ARRAY_TASK_STEP > $OUT.$SLURM_ARRAY_TASK_ID\n"
TELL = """bash -c 'echo "$@" $SLURM_PROCID $SLURM_NODEID $SLURM_LOCALID $SLURM_NTASKS $SLURM_NNODES > $OUT.$SLURM_PROCID' x"""
SCRIPTS = {
    "array-of-a-range": f"#SBATCH --array=0-2\n{ARRAY}",
    "array-of-a-step": f"#SBATCH --array=1-8:3%2\n{STEP}",
    "array-of-a-list": f"#SBATCH -a 7,2-3,3\n{ARRAY}{STEP.replace('> $OUT', '>> $OUT')}",
    "nodes": f"#SBATCH -N 2 --ntasks-per-node=1\nsrun {TELL} plain\n",
    "nodes-by-tasks": f"#SBATCH -n 2 --ntasks-per-node=1\nsrun -n 2 -N $SLURM_NNODES {TELL} $SLURM_NNODES\n",
    "nodes-with-settings": f"""#SBATCH --nodes=2-2 -n2 -c 2
set -e
A=$(echo one) B="two words" # no further command
export C=$((3 * SLURM_NNODES))
srun --label --kill-on-bad-exit=1 \\
  {TELL} "$A" $B '$C' "$C" \\
  $SLURM_CPUS_PER_TASK
""",
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[slurm.Cluster]:
    """A Slurm of two nodes, with nothing of ours in it."""
    try:
        slurm.find()
    except slurm.SlurmUnavailableError as error:
        components.missing("a real Slurm", str(error))
    with slurm.running("alpha") as started:
        yield started.clusters["alpha"]


def by_slurm(cluster: slurm.Cluster, script: str, folder: Path) -> dict[str, str]:
    """What each task wrote, by its number."""
    folder.mkdir()
    path = folder / "script"
    path.write_text(script, encoding="utf-8")
    cluster.run("sbatch", f"--chdir={folder}", f"--export=ALL,OUT={folder}/out", str(path))
    deadline = time.monotonic() + slurm.WAIT_SECONDS
    while cluster.run("squeue", "-h").strip():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return written(folder)


def by_a_site(script: str, folder: Path) -> dict[str, str]:
    """The same of the translation, once for each job of the array or each node."""
    folder.mkdir()
    job = yaml.safe_load(translate(script, "job.x").text)
    nodes = job.get("num_nodes", 1)
    for number in range(job["array"]["size"] if "array" in job else nodes):
        own = {"NODE_RANK": str(number), "SEKISHO_ARRAY_INDEX": str(number), "OUT": f"{folder}/out"}
        environment = {"PATH": os.environ["PATH"], **own}
        subprocess.run(["/bin/bash", "-c", job["run"]], env=environment, cwd=folder, check=True, timeout=60)
    return written(folder)


def written(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.glob("out.*")}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_translation_does_what_the_script_did(name: str, cluster: slurm.Cluster, tmp_path: Path) -> None:
    script = OPTIONS + SCRIPTS[name]
    wanted = by_slurm(cluster, script, tmp_path / "slurm")
    assert wanted
    assert by_a_site(script, tmp_path / "site") == wanted
