"""The autograder for Gradescope, run in a clean folder laid out as the platform does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import succeed
from hostile import honest, must_not, write_class

from apps.autograde.sandbox import sandbox_problem
from vaelab.data.splits import load_split

pytestmark = [
    pytest.mark.xdist_group("autograde"),
    pytest.mark.skipif(sandbox_problem() is not None, reason=str(sandbox_problem())),
]


@pytest.fixture(scope="module")
def built(digits_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zip file of the autograder, built on digits, in a folder with dataset/digits/."""
    folder = tmp_path_factory.mktemp("built")
    shutil.copytree(digits_data / "dataset", folder / "dataset")
    options = ("--out", "autograder.zip", "--dataset", "digits", "--split", "test")
    out = succeed("scripts/make_gradescope.py", *options, cwd=folder)
    assert "wrote autograder.zip, to grade on the test split of digits" in out
    return folder / "autograder.zip"


def run_autograder(built: Path, root: Path, files: Path) -> dict:
    """results.json of a submission."""
    root.mkdir()
    root.chmod(0o755)
    with zipfile.ZipFile(built) as archive:
        archive.extractall(root / "source")
        assert archive.getinfo("run_autograder").external_attr >> 16 == 0o755
    files.rename(root / "submission")
    env = os.environ | {"AUTOGRADER": str(root), "PYTHON": sys.executable, "PYTHONPATH": ""}
    command = ["bash", str(root / "source/run_autograder")]
    run = subprocess.run(command, env=env, cwd=root, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return json.loads((root / "results/results.json").read_text())


def test_run_autograder_in_a_clean_folder(built: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(built.parent)
    write_class(tmp_path / "class", load_split("digits", "train")[0], {"lab": honest()}, {})
    (tmp_path / "class/report.pdf").write_bytes(b"%PDF")  # beside the folder, as students upload it
    result = run_autograder(built, tmp_path / "autograder", tmp_path / "class")
    tests = {test["name"]: test for test in result["tests"]}
    assert tests["VAE0label"]["score"] > 5, result
    assert "there is no Genwithlabel.pt" in tests["Genwithlabel"]["output"]
    assert "submission.py found in lab" in result["output"]
    assert "extra_data" not in result


@pytest.mark.skipif(os.geteuid() != 0, reason="--sandbox user needs root, as on Gradescope")
def test_a_user_without_rights_reads_no_test_image(built: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(built.parent)
    cases = {
        "reader": must_not("""
            for path in pathlib.Path("DATA").glob("*.npz"): raise SystemError(path.read_bytes()[:9])
            open("RESULTS", "w")
            raise SystemError("wrote")
        """),
        "honest": honest(),
    }
    secret = tmp_path / "secret"
    secret.mkdir()
    secret.chmod(0o700)
    (secret / "test.npz").write_bytes(b"images")
    places = {"DATA": str(secret), "RESULTS": str(secret / "results.json")}
    write_class(tmp_path / "class", load_split("digits", "train")[0], cases, places)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == "root" and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    how = ("--dataset", "digits", "--split", "test", "--output_dir", tmp_path / "grades", "--sandbox", "user")
    succeed("autograde.py", tmp_path / "class", *how, cwd=built.parent)
    record = json.loads((tmp_path / "grades/reader.json").read_text())
    assert "held back" in record["extra_data"]["attempts"][0]["grades"]["VAE0label"]["reason"]
    honest_record = json.loads((tmp_path / "grades/honest.json").read_text())
    assert honest_record["extra_data"]["attempts"][0]["grades"]["VAE0label"]["status"] == "ok"
