"""The students' version: what is in it, what is not, and that it works once its blanks are filled."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from conftest import REPO, fail, run_command, succeed
from solutions import ANSWERS, BLOCKS, SOLVED, put_back

from apps.student_version import blanks, build, leaks
from vaelab.cli import LabError

BUILD = ("scripts/make_student_version.py", "--out")


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The students' version, as it is built. Tests read it."""
    folder = tmp_path_factory.mktemp("built") / "student"
    succeed(*BUILD, folder, cwd=folder.parent)
    return folder


@pytest.fixture(scope="module")
def filled(student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The students' version with the answers put back."""
    folder = tmp_path_factory.mktemp("filled") / "student"
    shutil.copytree(student, folder)
    (folder / "submission.py").write_text(put_back((student / "submission.py").read_text()))
    return folder


def module_of(text: str) -> ModuleType:
    module = ModuleType("submission")
    exec(compile(text, "submission.py", "exec"), module.__dict__)
    return module


def files_of(folder: Path) -> dict[str, Path]:
    """Name to path, without what Python leaves where it runs."""
    files = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {str(path.relative_to(folder)): path for path in files}


# --- What is in it ------------------------------------------------------------------------------


def test_every_module_imports(student: Path) -> None:
    names = sorted(path.stem for path in student.glob("*.py"))
    assert {"submission", "train", "inference", "grade", "check", "data_utils", "model"} <= set(names)
    code = f"import {', '.join(names)}; print(submission.__file__)"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=student, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert Path(result.stdout.strip()) == student / "submission.py"


def exercise(submission: ModuleType) -> None:
    """Call every part of a submission."""
    x, labels = torch.rand(2, 28, 28), torch.tensor([1, 2])
    vae = submission.VAE(3)
    vae.encode(x), vae.decode(torch.randn(2, 3))
    submission.vae_loss(vae(x)[0], x, *vae.encode(x), 0.1)
    gen = submission.GenModel(3)
    gen.encode(x, labels), gen.decode(torch.randn(2, 3), labels), gen.generate(labels)


@pytest.mark.parametrize("number", ANSWERS)
def test_each_blank_raises_an_error_of_its_own(student: Path, number: str) -> None:
    """With all the others filled, it is the one that is met."""
    text = (student / "submission.py").read_text()
    text = put_back(text, [other for other in ANSWERS if other != number])
    with pytest.raises(NotImplementedError) as caught:
        exercise(module_of(text))
    assert re.fullmatch(
        rf"{re.escape(number)} \D.*: see part {re.escape(number)} of docs/handout\.md", str(caught.value)
    )
    assert f"# TODO {number}: " in text


def test_the_blanks_filled_in_nothing_raises(student: Path) -> None:
    exercise(module_of(put_back((student / "submission.py").read_text())))


def test_each_todo_says_the_shapes(student: Path) -> None:
    text = (student / "submission.py").read_text()
    todos = re.findall(r"# TODO (\S+): ((?:.*\n)+?) *raise NotImplementedError", text)
    assert [number for number, _ in todos] == list(ANSWERS)
    for _, todo in todos:
        assert re.search(r"\[B, 28, 28\]|\[B, d\]|\[B, label_dim\]|scalar \[\]", todo)
    assert max(map(len, text.splitlines())) <= 110


def code_of(line: str) -> str:
    return "".join(line.split("#")[0].split())


def test_no_line_of_a_solution_is_left(student: Path) -> None:
    """Every line of code of 15 characters or more, of all parts, in all files, whatever the spaces."""
    lines = {code_of(line) for block in BLOCKS.values() for line in block.splitlines()}
    lines = {line for line in lines if len(line) >= 15}
    assert len(lines) >= 20  # most of the answers' lines
    assert {"z=mu+std*eps", "recon=self.decode(z,labels)"} & lines == {"recon=self.decode(z,labels)"}
    lines.add("z=mu+std*eps")  # short, and all of a solution
    for name, path in files_of(student).items():
        if path.suffix not in (".png", ".npz", ".mo"):
            for line in path.read_text().splitlines():
                assert not [solution for solution in lines if solution in "".join(line.split())], (name, line)


def test_the_difference_to_the_solved_version_is_the_marked_blocks(student: Path) -> None:
    solved = SOLVED.splitlines()
    given = (student / "submission.py").read_text().splitlines()
    marked, inside = set(), False
    for i, line in enumerate(solved):
        inside |= "# BEGIN SOLUTION" in line
        if inside:
            marked.add(i)
        inside &= "# END SOLUTION" not in line
    todo, inside = set(), False
    for i, line in enumerate(given):
        inside |= "# TODO" in line
        if inside:
            todo.add(i)
        inside &= "raise NotImplementedError" not in line
    for kind, i1, i2, j1, j2 in difflib.SequenceMatcher(None, solved, given, autojunk=False).get_opcodes():
        if kind != "equal":
            assert all(i in marked or not solved[i] for i in range(i1, i2)), solved[i1:i2]
            assert all(j in todo for j in range(j1, j2)), given[j1:j2]

    def kept(lines: list[str], without: set[int]) -> list[str]:
        return [line for i, line in enumerate(lines) if i not in without and line]

    assert kept(solved, marked) == kept(given, todo)


def test_staff_files_stay_out(student: Path) -> None:
    names = set(files_of(student))
    kept_back = ["benchmarks", ".ci", "beyond", "autograde.py", "explore.py", "sweep.py"]
    kept_back += [f"apps/{name}" for name in ("autograde", "explore", "student_version", "sweep")]
    kept_back += ["tests/isolation", "tests/commands", "tests/hostile.py", "vaelab/sweep_results.py"]
    kept_back += ["vaelab/metrics/likelihood.py", "scripts/staff.sh", "scripts/gradescope.py"]
    assert [name for name in kept_back if not (REPO / name).exists()] == [], "renamed: keep it back too"
    assert [name for name in names if name.startswith(tuple(kept_back))] == []
    assert {name for name in names if name.startswith("tests/")} == {
        "tests/conftest.py",
        "tests/unit/test_metrics.py",
        "tests/unit/test_submission.py",
    }
    docs = {name for name in names if name.startswith("docs/")}
    assert all(
        re.match(
            r"docs/((handout|answers|code_tour)(\.zh)?\.(md|tex)|figures/.*(png|csv)|figures/ideas.py|gallery/.*)$",
            name,
        )
        for name in docs
    ), docs
    for name in ("docs/handout.md", "docs/handout.zh.md"):
        assert (name in docs) == (REPO / name).exists()
    assert not [name for name in names if name.endswith((".npz", ".pt", ".gz"))]


def test_the_manifest_holds_a_hash_of_every_other_file(student: Path) -> None:
    manifest = json.loads((student / "manifest.json").read_text())
    names = set(files_of(student)) - {"submission.py", "manifest.json"}
    assert manifest["files"].keys() == names
    for name, sha256 in manifest["files"].items():
        assert hashlib.sha256((student / name).read_bytes()).hexdigest() == sha256


def test_links_lead_to_files_that_are_there(student: Path) -> None:
    pages = [path for path in files_of(student).values() if path.suffix == ".md"]
    assert len(pages) >= 3
    for page in pages:
        for link in re.findall(r"\]\(([^)#:\s]+)[^):]*\)", page.read_text()):
            assert (page.parent / link).exists(), (page.name, link)
    readme = (student / "README.md").read_text()
    for name in re.findall(r"(?:python|bash) ((?:\w+/)?\w+\.(?:py|sh))", readme):
        assert (student / name).is_file(), name


# --- With the answers put back ------------------------------------------------------------------


def test_the_students_tests_pass(filled: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    result = subprocess.run(command, cwd=filled, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert int(re.search(r"(\d+) passed", result.stdout)[1]) >= 25


def test_the_main_job(filled: Path, tmp_path: Path) -> None:
    lab = {"cwd": tmp_path, "repo": filled, "process": True}
    for task, var in (("VAE0label", 0.01), ("Genwithlabel", 0.1)):
        train = ("train.py", "--task", task, "--dataset", "digits", "--arch", "mlp", "--epochs", 15)
        out = succeed(*train, **lab)
        assert f"{task[:3].replace('Gen', 'GenModel')}(latent_dim=20, arch=mlp, " in out
        config = json.loads((tmp_path / "outputs" / task / "config.json").read_text())
        assert config["var"] == var
        assert config["model_args"].keys().isdisjoint({"recon", "prior"})
        assert "beyond" not in config
        succeed("inference.py", "--checkpoint_path", f"outputs/{task}/best.pt", **lab)
    succeed("grade.py", **lab)
    grades = json.loads((tmp_path / "outputs/grade_result.json").read_text())
    assert grades["VAE0label"]["score"] > 8  # of 10; as far as 15 epochs on digits lead
    assert grades["Genwithlabel"]["ssim"] > 0.5
    line = fail("train.py", "--task", "VAE0label", "--prior", "standard", "--overwrite", **lab)
    assert "unrecognized arguments: --prior standard" in line
    shown = succeed("train.py", "--help", **lab)
    assert not re.search(r"--(prior|recon|refine|sharpen|beyond)\b", shown)


def test_an_empty_blank_stops_a_training_by_its_name(student: Path, tmp_path: Path) -> None:
    command = ("train.py", "--task", "VAE0label", "--dataset", "digits")
    result = run_command(*command, cwd=tmp_path, repo=student, process=True)
    assert result.returncode == 1
    last = "NotImplementedError: 2.2.1 the layers: see part 2.2.1 of docs/handout.md"
    assert result.stderr.splitlines()[-1] == last


# --- The builder --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("# BEGIN SOLUTION 2.2.3", "# BEGIN SOLUTION 2.2.9", r"line \d+: unknown SOLUTION 2\.2\.9"),
        ("# END SOLUTION 2.2.3", "# END SOLUTION 2.2.2", r"line \d+: END SOLUTION 2\.2\.2 without its BEGIN"),
        ("# END SOLUTION 2.2.3", "", r"SOLUTION 2\.2\.4 begins inside SOLUTION 2\.2\.3"),
        ("# BEGIN SOLUTION 2.2.3", "", r"line \d+: END SOLUTION 2\.2\.3 without its BEGIN"),
        ("# END SOLUTION 3.3", "", r"line \d+: SOLUTION 3\.3 has no END"),
        ("SOLUTION 3.2", "SOLUTION 2.2.2", r"line \d+: SOLUTION 2\.2\.2 occurs twice"),
        ("# BEGIN SOLUTION 2.3", "# BEGIN SOLUTION", r"'# BEGIN SOLUTION' is not a marker"),
        ("# BEGIN SOLUTION 2.3", "# begin solution 2.3", r"is not a marker: write"),
        ("# BEGIN SOLUTION 2.3", "#BEGIN SOLUTION 2.3", r"is not a marker: write"),
        ("# BEGIN SOLUTION 2.3", "# BEGIN SOLUTION 2.3 the loss", r"is not a marker: write"),
        ("SOLUTION 3.3", "SOLUTION 4.33", r"line \d+: unknown SOLUTION 4\.33"),
    ],
)
def test_bad_markers_are_refused(old: str, new: str, says: str) -> None:
    assert old in SOLVED
    text = SOLVED.replace(f"{old}\n", f"{new}\n") if new or old.startswith("#") else SOLVED.replace(old, new)
    with pytest.raises(LabError, match=says):
        blanks.without_solutions(text)


def test_a_missing_solution_is_named() -> None:
    text = re.sub(r" *# (BEGIN|END) SOLUTION 3\.3\n", "", SOLVED)
    with pytest.raises(LabError, match=r"submission\.py has no SOLUTION 3\.3$"):
        blanks.without_solutions(text)


@pytest.mark.parametrize(
    ("name", "line", "module"),
    [
        ("grade.py", "from vaelab.sweep_results import read_results", "vaelab.sweep_results"),
        ("apps/report/page.py", "import apps.autograde.grader", "apps.autograde"),
        ("vaelab/cli.py", "def f() -> None:\n    from beyond import options", "beyond"),
        ("tests/unit/test_metrics.py", "from hostile import CASES", "hostile"),
        ("trainer.py", "from beyond.losses import ssim_mse", "beyond"),
    ],
)
def test_an_import_of_what_is_not_shipped_is_refused(
    student: Path, tmp_path: Path, name: str, line: str, module: str
) -> None:
    copy = shutil.copytree(student, tmp_path / "student")
    build.check_imports(copy)
    (copy / name).write_text(f"{line}\n")
    with pytest.raises(
        LabError, match=rf"{re.escape(name)} line \d imports {re.escape(module)}\S*, which is not"
    ):
        build.check_imports(copy)


def test_a_solution_in_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/a.md").write_text("One way:\n\n    z = mu  +  std * eps   # as in the paper\n")
    with pytest.raises(LabError, match=r"docs/a\.md line 3 contains a line of SOLUTION 2\.2\.4"):
        build.check_no_solution(tmp_path, SOLVED)
    (tmp_path / "docs/a.md").rename(tmp_path / "a.ipynb")
    with pytest.raises(LabError, match=r"a\.ipynb line 3 contains a line of SOLUTION 2\.2\.4"):
        build.check_no_solution(tmp_path, SOLVED)
    (tmp_path / "a.ipynb").unlink()
    (tmp_path / "docs/a.md").write_text("z is drawn around mu, as far away as std says.\n")
    build.check_no_solution(tmp_path, SOLVED)


@pytest.mark.parametrize(
    ("code", "number"),
    [
        ("s = (lv / 2).exp()", "2.2.4"),
        ("s = np.exp(lv * 0.5)", "2.2.4"),
        ("def noise(lv):\n    return lv.div(2).exp()", "2.2.4"),
        ("k = (m**2 + torch.exp(l) - l - 1).sum(1) / 2", "2.3"),
        ("k = -l + l.exp() + m * m - 1", "2.3"),
        ("e = ((a - b) ** 2).flatten(1).sum(dim=1)", "2.3"),
        ("e = torch.square(y - x).flatten(1).mean(1)", "2.3"),
    ],
)
def test_a_piece_of_a_solution_in_other_words_is_refused(tmp_path: Path, code: str, number: str) -> None:
    (tmp_path / "a.py").write_text(f"import torch\n\n{code}\n")
    with pytest.raises(LabError, match=rf"a\.py line [34] computes a piece of SOLUTION {re.escape(number)}"):
        leaks.check_no_piece(tmp_path, SOLVED)
    (tmp_path / "a.py").rename(tmp_path / "a.txt")
    (tmp_path / "a.md").write_text(f"Words.\n\n```python\n{code}\n```\n")
    with pytest.raises(LabError, match=rf"a\.md line [45] computes a piece of SOLUTION {re.escape(number)}"):
        leaks.check_no_piece(tmp_path, SOLVED)
    (tmp_path / "a.md").write_text("```python\nx = (a + b).exp() / 2\ny = (a - b).square().mean()\n```\n")
    leaks.check_no_piece(tmp_path, SOLVED)


SHIPPED_FUNCTIONS = """
import importlib, inspect, json, pathlib, sys
import torch
torch.manual_seed(0)
mu, logvar = torch.randn(2, 4, 3)
recon, x = torch.rand(2, 4, 28, 28)
q = torch.distributions.Normal(mu, logvar.exp().sqrt())
kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(1)  # [4]
error = (recon - x).square().sum((1, 2))  # [4]
found = []
for path in [*pathlib.Path("vaelab").rglob("*.py"), *pathlib.Path().glob("*.py")]:
    name = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
    if name in ("submission", "playground"): continue
    for key, function in list(vars(importlib.import_module(name)).items()):
        if not inspect.isfunction(function) or function.__module__ != name: continue
        for arguments, wanted in (((mu, logvar), kl), ((recon, x), error), ((recon, x, 1.0), error)):
            inputs = [a.clone().requires_grad_() if torch.is_tensor(a) else a for a in arguments]
            try: value = function(*inputs)
            except BaseException: continue
            for each in value if isinstance(value, tuple) else (value,):
                if not torch.is_tensor(each) or not each.requires_grad: continue
                each = each.detach().flatten(1).sum(1) if each.ndim > 1 else each.detach()
                if each.ndim == 1 and len(each) == 4 or each.ndim == 0:
                    ratio = each / (wanted if each.ndim else wanted.mean())
                    if each.ndim and (ratio / ratio[0] - 1).abs().max() < 1e-3: found.append(f"{name}.{key}")
                    if not each.ndim and min((ratio * c - 1).abs().item() for c in (1, 2, .5, 784, 4)) < 1e-3:
                        found.append(f"{name}.{key}")
print(json.dumps(sorted(set(found))))
"""


def test_no_shipped_function_computes_an_answer_with_a_gradient(student: Path) -> None:
    """None of mu and logvar gives a multiple of the KL term, none of two images a multiple of the other."""
    run = {"cwd": student, "capture_output": True, "text": True, "check": False}
    result = subprocess.run([sys.executable, "-c", SHIPPED_FUNCTIONS], **run)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1]) == []
    leak = "import torch\n\n\ndef f(a, b):\n    d = a - b\n    return (d * d).flatten(1).mean(1)\n"
    copy = student.with_name("with-a-leak")
    shutil.copytree(student, copy)
    (copy / "vaelab/leak.py").write_text(leak)
    result = subprocess.run([sys.executable, "-c", SHIPPED_FUNCTIONS], **run | {"cwd": copy})
    assert json.loads(result.stdout.splitlines()[-1]) == ["vaelab.leak.f"]


def test_where_it_may_be_written(student: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/essay.txt").write_text("a term's work")
    (tmp_path / "file").write_text("")
    for options, says in (
        (("mine",), "mine is not empty: name another folder, or replace it with --overwrite"),
        (("mine", "--overwrite"), "mine has no manifest.json of a students' version: it is not replaced"),
        (("file",), "file is a file: name a folder"),
        ((REPO,), "is inside the lab's repository"),
        ((REPO, "--overwrite"), "is inside the lab's repository"),
        (("data", "--with_data", "digits"), "there is no dataset/digits/train.npz: python data_utils.py"),
    ):
        assert says in fail(*BUILD, *options, cwd=tmp_path)
    (tmp_path / "mine/manifest.json").write_text('{"lab": "another"}')
    assert "has no manifest.json of a students' version" in fail(*BUILD, "mine", "--overwrite", cwd=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "file"}  # nothing half-made is left
    assert (tmp_path / "mine/essay.txt").read_text() == "a term's work"


def test_it_is_replaced_when_asked_for(student: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    succeed(*BUILD, "empty", cwd=tmp_path)
    (tmp_path / "empty/stale.py").write_text("")
    assert "is not empty" in fail(*BUILD, "empty", cwd=tmp_path)
    succeed(*BUILD, "empty", "--overwrite", cwd=tmp_path)
    built, again = files_of(student), files_of(tmp_path / "empty")
    assert built.keys() == again.keys()
    assert all(path.read_bytes() == again[name].read_bytes() for name, path in built.items())
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


@pytest.mark.skipif(not shutil.which("git") or not (REPO / ".git").exists(), reason="not a git checkout")
def test_inside_the_repository_only_what_git_ignores() -> None:
    build.check_out(REPO / "student/of/this/term", overwrite=False)
    build.check_out(REPO / "outputs/student", overwrite=False)
    for name in ("docs", "docs/student", "built"):
        with pytest.raises(LabError, match="is inside the lab's repository"):
            build.check_out(REPO / name, overwrite=True)


def test_data_is_handed_out_without_the_test_split(tmp_path: Path) -> None:
    succeed("data_utils.py", "--dataset", "digits", cwd=tmp_path)
    assert (tmp_path / "dataset/digits/test.npz").exists()
    succeed(*BUILD, "student", "--with_data", "digits", cwd=tmp_path)
    data = {path.name for path in (tmp_path / "student/dataset").rglob("*.npz")}
    assert data == {"train.npz", "valid.npz"}
    assert "dataset/digits/train.npz" in json.loads((tmp_path / "student/manifest.json").read_text())["files"]
    out = succeed("data_utils.py", "--dataset", "digits", cwd=tmp_path / "student", repo=tmp_path / "student")
    assert re.findall(r"^(train|valid|test)", out, re.MULTILINE) == ["train", "valid"]


def test_the_chinese_version_points_to_the_chinese_handout(tmp_path: Path) -> None:
    out = tmp_path / "student"
    printed = succeed("scripts/make_student_version.py", "--out", out, "--lang", "zh", cwd=tmp_path)
    assert "submission.py 有 8 个填空" in printed
    text = (out / "submission.py").read_text(encoding="utf-8")
    assert text.count("# TODO ") == text.count("docs/handout.zh.md") // 2 == 8
    assert 'raise NotImplementedError("2.2.1 网络层：见 docs/handout.zh.md 第 2.2.1 节")' in text
    assert {"locale/zh/LC_MESSAGES/vaelab.mo", "notebooks/lab.zh.ipynb"} <= files_of(out).keys()
