"""The commands in Chinese: every message has a translation, and files that programs read stay English."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import REPO, chinese, copy_lab, run_command, succeed

from apps.student_version.blanks import without_solutions
from vaelab import language, plotting
from vaelab.run_files import draw_loss_curve, read_log

SMALL = ("--task", "VAE0label", "--dataset", "digits", "--arch", "mlp", "--epochs", 2, "--latent_dim", 3)
CHINESE = re.compile("[\u4e00-\u9fff]")


@pytest.fixture(autouse=True)
def _chinese() -> Iterator[None]:
    with chinese():
        yield


def test_training_and_inference(tmp_path: Path) -> None:
    lines = succeed("train.py", *SMALL, cwd=tmp_path).splitlines()
    assert lines[0].startswith("数据：digits，来自")
    assert lines[1].startswith("模型：VAE(latent_dim=3")
    layers = [line for line in lines if line.startswith("  ")]  # a line for each part of the model
    assert layers
    rest = [line for line in lines if line not in layers]
    assert rest[2] == "训练：2 轮，var 0.01，学习率 0.003，种子 0"
    assert re.match(r"第   1/2 轮  损失 [\d.]+  valid：损失 ", rest[3])
    assert all(CHINESE.search(line) for line in rest)
    first = (tmp_path / "outputs/VAE0label/log.jsonl").read_text().splitlines()[0]
    assert list(json.loads(first))[:3] == ["epoch", "step", "train_loss"]
    printed = succeed("inference.py", "--checkpoint_path", "outputs/VAE0label/best.pt", cwd=tmp_path)
    assert "valid 划分，数据：digits，来自" in printed
    again = run_command("train.py", *SMALL, cwd=tmp_path)
    assert again.returncode == 2
    assert again.stderr.startswith("错误：outputs/VAE0label 中已有训练结果")


def test_a_grade_is_the_same_in_every_language(main_job: Path, change: Callable[[Path], Path]) -> None:
    folder = change(main_job)
    printed = succeed("grade.py", cwd=folder)
    assert "VAE0label，数据 digits 的 valid 划分" in printed
    assert "数据是 digits，不是 MNIST" in printed
    for name in ("outputs/grade_result.json", "outputs/VAE0label/valid/hyperparams.json"):
        assert (folder / name).read_bytes() == (main_job / name).read_bytes()
    page = (folder / "outputs/report.html").read_text(encoding="utf-8")
    assert '<html lang="zh">' in page
    text = re.sub(r"<(style|script|pre)>.*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL)
    assert re.findall(r"[a-z]+ [a-z]+ [a-z]+", text) == []
    english = (main_job / "outputs/report.html").read_text(encoding="utf-8")
    assert '<html lang="en">' in english
    assert not CHINESE.search(english)


def test_the_self_check(tmp_path: Path) -> None:
    """In a copy whose blanks are empty: the first one is named, in the words of the students' version."""
    solved = (REPO / "submission.py").read_text(encoding="utf-8")
    copy_lab(tmp_path)
    language.set_language("en")
    english = without_solutions(solved)  # as a students' version that was built in English
    language.set_language("zh")
    assert "see part 2.2.1 of docs/handout.md" in english
    for blanks in (without_solutions(solved), english):
        (tmp_path / "submission.py").write_text(blanks, encoding="utf-8")
        result = run_command("check.py", cwd=tmp_path, repo=tmp_path)
        assert result.returncode == 1
        assert result.stdout.splitlines() == [
            "FAIL 2.2.1  能够构造 VAE 的各层",
            "     还没有填写：2.2.1 网络层：见 docs/handout.zh.md 第 2.2.1 节",
            "     请用你的代码替换 `raise NotImplementedError` 这一行，再运行一次。",
            "0 项检查通过，共 20 项。请改正这一处，再运行 python check.py。",
        ]


def test_figures_have_chinese_text_where_a_font_has_it(
    main_job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    log = read_log(main_job / "outputs/VAE0label/log.jsonl")
    needed = frozenset("轮次")
    if (font := plotting.find_font(needed)) is not None:
        assert "Last" not in font
        assert plotting.find_font(frozenset("\U000f0000")) is None  # a character of no font
        assert plotting.figure_text("epoch") == "轮次"
        draw_loss_curve(log, tmp_path / "curve.png")
    capsys.readouterr()
    monkeypatch.setattr(plotting, "find_font", lambda needed: plotting.warn_once())
    plotting.warn_once.cache_clear()
    assert plotting.figure_text("{part} {term}", part="train", term="loss") == "train loss"
    assert [plotting.figure_text("epoch"), plotting.figure_text("loss")] == ["epoch", "loss"]
    assert capsys.readouterr().err.count("没有找到包含中文字符的字体") == 1
