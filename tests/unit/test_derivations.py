"""`check.py --derivation`: right formulas agree with the definitions, wrong ones don't."""

from __future__ import annotations

import re

import pytest
from conftest import REPO, run_command

from apps.selfcheck.derivations import DERIVATIONS, derivation, same
from apps.selfcheck.formulas import evaluate
from check import EXERCISES
from vaelab.cli import LabError

# What a student should find, and a usual mistake.
FORMULAS = {
    "0.2": (
        "log(s2/s1) + (s1^2 + (m1-m2)^2) / (2*s2^2) - 1/2",
        "log(s2/s1) + (s1^2 + (m1-m2)^2) / (2*s2^2)",
    ),
    "0.3": ("q0*log(j0/q0) + q1*log(j1/q1)", "log(j0 + j1)"),
    "1.1": ("p0*log(p0) + p1*log(p1)", "-p0*log(p0) - p1*log(p1)"),
    "1.4": ("(exp(logvar) + m**2 - 1 - logvar) / 2", "exp(logvar) + m**2 - 1 - logvar"),
    "1.5": ("(x-r)**2/(2*var) + log(2*pi*var)/2", "(x-r)**2/(2*var)"),
    "5.2": ("1 / (1 + w**2/var)", "1 / (1 + w/var)"),
}


def test_every_exercise_of_the_command_has_a_definition_and_a_test() -> None:
    assert set(EXERCISES) == set(DERIVATIONS) == set(FORMULAS)


@pytest.mark.parametrize("number", EXERCISES)
def test_right_formulas_agree_and_wrong_ones_do_not(number: str, capsys) -> None:
    right, wrong = FORMULAS[number]
    assert derivation(number, right), capsys.readouterr().out
    assert not derivation(number, wrong)
    assert "FAIL" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("number", "formula", "says"),
    [
        ("1.1", FORMULAS["1.1"][1], "The sign is the opposite"),
        (
            "0.2",
            FORMULAS["0.2"][1],
            "differs from the right one by a constant: your values minus the right ones are 0.5000",
        ),
        ("0.2", FORMULAS["0.2"][0].replace("log", "ln"), "Your formula agrees"),
        ("1.4", FORMULAS["1.4"][1], "should give"),
    ],
)
def test_what_all_values_have_in_common_is_said(number: str, formula: str, says: str, capsys) -> None:
    derivation(number, formula)
    assert says in (out := capsys.readouterr().out)
    assert ("sign" in out, "constant:" in out) == ("sign" in says, "constant:" in says)


def test_no_answer_is_given_away() -> None:
    """The output without a formula holds numbers and names, and no closed form is in the code."""
    result = run_command("check.py", "--derivation", "0.2", cwd=REPO)
    assert result.returncode == 0
    assert len(re.findall(r"should give -?[\d.]+", result.stdout)) == 3
    code = "".join((REPO / "apps/selfcheck" / name).read_text() for name in ("derivations.py", "formulas.py"))
    spaceless = re.sub(r"\s", "", code)
    for right, _ in FORMULAS.values():
        assert re.sub(r"\s", "", right) not in spaceless


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("__import__('os')", "can't be used"),
        ("(1).real", "can't be used"),
        ("m1.__class__", "can't be used"),
        ("[1][0]", "can't be used"),
        ("s3", "s3 is unknown: the variables are m1, s1"),
        ("log(-1)", "has no value"),
        ("1/0", "has no value"),
        ("9**9**9", "an exponent must be from"),
        ("(-2)**0.5", "has no value"),
        ("log(", "is not a formula"),
        ("2 m1^2", "'2 m1^2' is not a formula, at 'm1**2'"),
        ("(" * 300, "is not a formula"),
    ],
)
def test_what_is_not_a_formula_is_one_clear_line(text: str, says: str) -> None:
    with pytest.raises(LabError, match=re.escape(says)):
        evaluate(text, {"m1": 1.0, "s1": 2.0})


def test_the_command_reports_a_wrong_formula_and_misuse() -> None:
    result = run_command("check.py", "--derivation", "1.4", "--formula", FORMULAS["1.4"][1], cwd=REPO)
    assert (result.returncode, result.stderr) == (1, "")
    assert "and gives" in result.stdout
    assert run_command("check.py", "--formula", "1", cwd=REPO).returncode == 2
    minus = run_command("check.py", "--derivation", "1.4", "--formula", "-(m)", cwd=REPO)
    assert (minus.returncode, minus.stderr) == (1, "")
    proof = run_command("check.py", "--derivation", "0.1", cwd=REPO)
    assert proof.returncode == 2
    assert "0.1 has no formula to compare; those that have one: 0.2, " in proof.stderr
    assert same(1.0, 1.00001)
    assert not same(1.0, 1.01)
