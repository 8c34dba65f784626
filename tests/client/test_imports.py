"""Files of other systems, in many styles: each is translated as expected, or refused by name.

Below `imports/<system>/` lie the files as people write them; `expected.yml` beside them says what each becomes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sekisho.compute import jobfile
from sekisho_client.imports import draft, translate
from sekisho_client.refusals import Refused
from tests.support import tree

FOLDER = Path(__file__).parent / "imports"
SYSTEMS = {"slurm": "Slurm", "skypilot": "SkyPilot", "kubernetes": "Kubernetes"}


def cases() -> list[Any]:
    found: list[Any] = []
    for folder in sorted(path for path in FOLDER.iterdir() if path.is_dir()):
        expected = yaml.safe_load((folder / "expected.yml").read_text(encoding="utf-8"))
        files = {path.stem: path for path in folder.iterdir() if path.name != "expected.yml"}
        assert set(files) == set(expected)
        found += [
            pytest.param(folder.name, files[name], expected[name], id=f"{folder.name}-{name}")
            for name in sorted(files)
        ]
    return found


def translated(text: str) -> str:
    """The translation; nothing when it was refused, which must be with the one code."""
    try:
        return translate(text, "job.x").text
    except Refused as refused:
        if refused.code != "run.import":
            raise
        return ""


@pytest.mark.parametrize(("system", "file", "expected"), cases())
def test_each_file_is_translated_or_refused_by_name(
    system: str, file: Path, expected: dict[str, Any]
) -> None:
    text = file.read_bytes().decode()
    options = expected.get("options", {})
    if "refused" in expected:
        with pytest.raises(Refused) as caught:
            translate(text, "file.x", **options)
        assert caught.value.code == "run.import"
        assert caught.value.params["names"] == ", ".join(expected["refused"])
        return
    found = translate(text, "file.x", **options)
    assert found.system == SYSTEMS[system]
    written = yaml.safe_load(found.text)
    holds = expected["holds"]
    assert {name: written.get(name) for name in holds} == holds
    job = jobfile.parse(found.text)
    assert job.run == written["run"]
    again = translate(found.text, "file.x")
    assert (again.text, again.system) == (found.text, "")


def test_there_are_enough_of_them() -> None:
    assert len(cases()) >= 450


@pytest.mark.parametrize(
    "text",
    [
        "name: a\nrun: x\nresources: {cpus: 1}\n",
        "name: a\nrun: x\nkind: batch\nnum_nodes: 3\n",
        "name: a\nrun: x\ncharter: {residency: [JP]}\nresources: {cloud: aws}\n",
        "- a list\n",
        "just text\n",
        "name: [unclosed\n",
        "a: &x [1]\nb: *x\nrun: y\n",
        "",
    ],
)
def test_what_is_ours_or_nobodys_is_left_for_the_server_to_read(text: str) -> None:
    assert translate(text, "job.yaml").text == text


@pytest.mark.parametrize(
    "value",
    [
        "!!bool maybe",
        "!!int ''",
        "!!float ''",
        "!!timestamp x",
        "9" + ":9" * 300 + ".5",
        "1" + ":1" * 100_000,
    ],
)
def test_a_value_that_is_not_what_it_says_is_left_for_the_server_to_read(value: str) -> None:
    text = f"num_nodes: 2\nname: x\nrun: true\nenvs: {{A: {value}}}\n"
    began = time.process_time()
    assert translate(text, "job.yaml").text == text
    assert time.process_time() - began < 2


def test_a_deep_file_and_a_long_one_are_no_danger() -> None:
    for text in ('srun "$(' * 3000, "export X=" + "$(echo " * 3000 + ")" * 3000, "srun a\n" * 20_000):
        with pytest.raises(Refused):
            translate(f"#!/bin/bash\n#SBATCH -N 2\n{text}\n", "job.sbatch")
    deep = "run: x\nenvs: " + "[" * 5000 + "]" * 5000
    assert translate(deep, "job.yaml").text == deep
    with pytest.raises(Refused):
        translate("#!/bin/bash\n" + "x" * (1 << 20), "job.sbatch")


def test_a_name_is_made_of_the_files_when_none_is_given() -> None:
    assert (
        yaml.safe_load(translate("run: x\nnum_nodes: 1\n", "dir/Big_Run.v2.yaml").text)["name"] == "big-run"
    )
    with pytest.raises(Refused) as caught:
        translate("run: x\nnum_nodes: 1\n", "学習.yaml")
    assert caught.value.params["names"] == "name"


def test_a_nul_byte_is_refused() -> None:
    with pytest.raises(Refused) as caught:
        translate("#!/bin/bash\n#SBATCH -t 5\necho \0\n", "job.sbatch")
    assert caught.value.params["names"] == "NUL"


def test_both_languages_say_why() -> None:
    with pytest.raises(Refused) as caught:
        translate("#!/bin/bash\n#SBATCH -p gpu -N 4\nx\n", "job.sbatch")
    assert caught.value.sentence("en").startswith("job.sbatch: cannot be kept: --partition, x (")
    assert "複数ノード" in caught.value.sentence("ja")


def test_a_probe_is_sent_where_a_command_can_ask() -> None:
    with pytest.raises(Refused) as caught:
        translate("run: serve\nservice: {replicas: 2, readiness_probe: /ready}\n", "serve.yaml")
    assert all("service.health" in caught.value.sentence(language) for language in ("en", "ja"))


def test_limits_are_those_of_the_job_file() -> None:
    assert draft.ARRAY_MAX == jobfile.ARRAY_MAX
    for english, japanese in draft.WHY.values():
        assert english
        assert any(letter > "\u3000" for letter in japanese)


@pytest.mark.parametrize(
    ("file", "note"),
    [
        ("slurm/nodes-of-torchrun.sbatch", "the first node's address: MASTER_ADDR, which the site sets"),
        ("slurm/port-0.sbatch", "MASTER_PORT: the site sets it"),
        ("slurm/head-of-one-node.sbatch", "MASTER_PORT: 29500"),
        ("slurm/srun-with-harmless-options.sbatch", "srun --label: left out"),
        ("slurm/words-printed.sbatch", "echo: printed on every node"),
        (
            "skypilot/service-of-two.yaml",
            "time_limit: 1h, because the file names none; a replica is begun again after it",
        ),
        (
            "kubernetes/completions-not-told-apart.yaml",
            "completions: the jobs are told apart here, by SEKISHO_ARRAY_INDEX",
        ),
        ("kubernetes/indexed-with-a-deadline.yaml", "activeDeadlineSeconds: holds for each job of the array"),
        (
            "kubernetes/jobset-said-to-be-indexed.yaml",
            "network: the nodes are named node-0, node-1 and so on",
        ),
        (
            "kubernetes/jobset-with-a-subdomain.yaml",
            "MASTER_ADDR: the first node's address, which is in MASTER_ADDR",
        ),
    ],
)
def test_what_is_kept_in_another_way_is_told(file: str, note: str) -> None:
    found = translate((FOLDER / file).read_text(encoding="utf-8"), "job.x")
    assert note in [english for english, _ in found.notes]


@given(
    st.lists(
        st.sampled_from(
            [
                "-t 5",
                "-N 2",
                "-a 1-9:2%3",
                "-n 4",
                "--ntasks-per-node=2",
                "-c 4",
                "--mem=1G",
                "--gres=gpu:a:1",
                "-p x",
                "--foo",
                "junk",
                "-J a\0",
            ]
        )
    )
)
def test_any_options_end_in_a_job_file_or_a_refusal(options: list[str]) -> None:
    text = "#!/bin/bash\n" + "".join(f"#SBATCH {option}\n" for option in options) + "srun true\n"
    found = translated(text)
    assert not found or "true" in jobfile.parse(found).run


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "spec",
                        "template",
                        "containers",
                        "metadata",
                        "env",
                        "resources",
                        "limits",
                        "command",
                        "name",
                        "x",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_kubernetes_object_ends_in_a_job_file_or_a_refusal(value: Any) -> None:
    document = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": value,
        "spec": {"template": {"spec": value}},
    }
    found = translated(json.dumps(document))
    assert found != json.dumps(document)


@given(
    st.dictionaries(
        st.sampled_from(
            ["resources", "envs", "secrets", "workdir", "num_nodes", "setup", "name", "file_mounts"]
        ),
        st.none()
        | st.booleans()
        | st.integers()
        | st.text(max_size=5)
        | st.lists(st.integers(), max_size=2)
        | st.dictionaries(st.text(max_size=4), st.integers() | st.none() | st.text(max_size=3), max_size=3),
    )
)
def test_any_task_ends_in_a_job_file_or_a_refusal(task: dict[str, Any]) -> None:
    found = translated(json.dumps({"run": "true", **task}))
    assert not found or yaml.safe_load(found)["run"]


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2000) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


@given(
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("completions", "parallelism", "completionMode", "suspend"), PLAIN)
    ),
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("network", "successPolicy", "failurePolicy", "startupPolicy"), PLAIN)
    ),
    st.fixed_dictionaries(
        {"command": st.just(["true"])},
        optional={
            name: PLAIN | st.lists(st.dictionaries(st.sampled_from(["name", "value"]), PLAIN), max_size=2)
            for name in ("env", "ports", "resources", "volumeMounts", "workingDir", "args")
        },
    ),
    PLAIN,
)
def test_any_set_of_jobs_ends_in_a_job_file_or_a_refusal(
    job: dict[str, Any], policies: dict[str, Any], container: dict[str, Any], replicas: Any
) -> None:
    spec = {**job, "template": {"spec": {"containers": [container]}}}
    for kind, spec_of_kind in (
        (
            "JobSet",
            {**policies, "replicatedJobs": [{"name": "w", "replicas": replicas, "template": {"spec": spec}}]},
        ),
        ("Job", spec),
    ):
        group = "jobset.x-k8s.io/v1alpha2" if kind == "JobSet" else "batch/v1"
        document = {"apiVersion": group, "kind": kind, "metadata": {"name": "a"}, "spec": spec_of_kind}
        found = translated(json.dumps(document))
        assert not found or "true" in jobfile.parse(found).run


def test_line_ends_of_windows_are_read() -> None:
    found = translate("#!/bin/bash\r\n#SBATCH -t 5\r\npython train.py\r\n", "job.sbatch")
    assert (yaml.safe_load(found.text)["time_limit"], yaml.safe_load(found.text)["run"]) == (
        "5m",
        "python train.py\n",
    )


def sekisho(*words: str) -> subprocess.CompletedProcess[str]:
    """The command line as a process of its own, without a server."""
    environment = {**os.environ, "PYTHONPATH": str(tree.SOURCE), "SEKISHO_LANG": "en"}
    command = [sys.executable, "-m", "sekisho_client.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)


def test_a_dry_run_prints_what_would_be_submitted_and_asks_nobody(tmp_path: Path) -> None:
    file = tmp_path / "train.sbatch"
    file.write_text("#!/bin/bash\n#SBATCH -c 4 -o out.txt\npython train.py\n", encoding="utf-8")
    ran = sekisho("run", str(file), "--dry-run", "--image", "train")
    assert (ran.returncode, yaml.safe_load(ran.stdout)["resources"]) == (0, {"cpus": 4, "image": "train"})
    assert "--output: the log is kept with the job" in ran.stderr
    as_json = sekisho("run", str(file), "--dry-run", "--json")
    assert "python train.py" in json.loads(as_json.stdout)["file"]
    file.write_text("#!/bin/bash\n#SBATCH -p gpu\nx\n", encoding="utf-8")
    refused = sekisho("run", str(file), "--dry-run")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--partition" in refused.stderr
    assert "[run.import]" in refused.stderr
