"""The checks of the blanks as the autograder grades them: verdicts on arrays, each on its own."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from conftest import REPO

from apps.autograde import check_steps, points
from apps.autograde.arrays import pack, unpack
from apps.autograde.check_steps import run_check_steps
from apps.autograde.verdicts import VERDICTS, CheckInputs, Results, judge
from vaelab.data.digits import embedded_digits

SOLVED = (REPO / "submission.py").read_text(encoding="utf-8")
SOLVED = SOLVED.replace('arch: str = "conv"', 'arch: str = "mlp"')  # quicker


def verdicts(text: str, monkeypatch: pytest.MonkeyPatch, seed: int = 3) -> dict[str, str]:
    """Check by name to why it failed; empty if it passed. The arrays cross as bytes, as from a sandbox."""
    module = ModuleType("submission")
    exec(compile(text, "submission.py", "exec"), module.__dict__)
    monkeypatch.setattr(check_steps, "OVERFIT_STEPS", 80)
    inputs = CheckInputs(embedded_digits()["test"][0], seed)
    explain = lambda error: {"reason": f"{type(error).__name__}: {error}"}  # noqa: E731
    arrays, errors = run_check_steps(module, unpack(pack(inputs.arrays())), explain)
    assert len(pack(arrays)) < 4 << 20  # the limit of the step
    found = judge(inputs, Results(unpack(pack(arrays)), errors))
    return {name: check["why"] for name, check in found.items()}


def test_the_solved_submission_passes_all(monkeypatch: pytest.MonkeyPatch) -> None:
    found = verdicts(SOLVED, monkeypatch)
    assert found == dict.fromkeys(VERDICTS, "")
    passed = {name: {"passed": True} for name in VERDICTS}
    assert sum(points.check_points(number, passed) or 0 for number in points.PARTS) == 50
    assert points.MAX_TOTAL == 130


KL = "kl_term = 0.5 * (logvar.exp() + mu.square() - 1 - logvar).sum(dim=1).mean()  # []"
WRONG = {
    "the KL term zeroed": (KL, "kl_term = 0 * mu.sum()", "loss_sum loss_kl", "the KL term is zero"),
    "KL without the half": (KL, KL.replace("0.5 * ", ""), "loss_kl", "KL missing one half"),
    "a constant KL": (KL, "kl_term = torch.tensor(1.0)", "loss_shape loss_kl", ""),
    "sampling in eval mode": ("if self.training:", "if True:", "forward_eval", "sampling in eval mode"),
    "no sampling": (
        "if self.training:",
        "if False:",
        "forward_pairs forward_train gradient",
        "no sampling|grad",
    ),
    "sigma squared": (
        "torch.exp(0.5 * logvar)",
        "torch.exp(logvar)",
        "forward_train gradient",
        "log sigma|grad",
    ),
    "one noise for all": (
        "eps = torch.randn_like(std)",
        "eps = torch.randn(std.shape[1])",
        "forward_pairs",
        "the same noise for every image",
    ),
    "a detached std": ("z = mu + std * eps", "z = mu + std.detach() * eps", "gradient", "logvar"),
    "shuffled latents": ("z = mu + std * eps", "z = (mu + std * eps).flip(0)", "forward_pairs", "mixed up"),
    "labels not passed on": (
        "recon = self.decode(z, labels)",
        "recon = self.decode(z)",
        "forward_labels",
        "doesn't pass the labels to decode",
    ),
    "labels ignored": (
        "return self.decoder(z, self.decoder_labels(labels))",
        "return self.decoder(z, 0 * self.decoder_labels(labels))",
        "decode_labels",
        "the decoder ignores the labels",
    ),
    "no sigmoid": (
        "return self.decoder(z)  #",
        "return self.decoder(z) - 0.5  #",
        "decode",
        "sigmoid missing",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_fails_its_own_checks_and_hides_no_other(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new, checks, says = WRONG[name]
    assert old in SOLVED
    monkeypatch.setitem(check_steps.STEPS, "train", lambda *_: {})  # training is the slow part
    found = verdicts(SOLVED.replace(old, new), monkeypatch)
    failed = {check for check, why in found.items() if why} - {"overfit", "every_weight"}
    assert (
        set(checks.split())
        <= failed
        <= {*checks.split(), "generate", "forward_train", "forward_pairs", "gradient"}
    )
    assert all(np.any([word in found[check] for word in says.split("|")]) for check in checks.split()[:1])


def test_an_empty_blank_costs_its_own_points_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(check_steps.STEPS, "train", lambda *_: {})
    start = SOLVED.index("        mu, logvar = self.encoder(x, self.encoder_labels")
    text = SOLVED[:start] + '        raise NotImplementedError("3.2")\n' + SOLVED[start:]
    found = verdicts(text, monkeypatch)
    assert {name for name, why in found.items() if why} == {"encode_labels", "overfit", "every_weight"}
    assert "NotImplementedError: 3.2" in found["encode_labels"]


def test_what_comes_back_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrays of other names, shapes and values: no check passes, and none raises."""
    inputs = CheckInputs(embedded_digits()["test"][0], 0)
    for value in (np.zeros((), np.float32), np.full((5, 6), np.nan, np.float32), np.zeros((0, 9), np.uint8)):
        keys = [
            f"{call}/{name}" for call in inputs.tensors for name in ("z", "mu", "loss", "recon", "weights")
        ]
        found = judge(inputs, Results(dict.fromkeys(keys, value), {}))
        assert not any(check["passed"] for check in found.values())
    assert not any(check["passed"] for check in judge(inputs, Results({}, {})).values())


def test_the_inputs_depend_on_the_secret_seed() -> None:
    images = embedded_digits()["test"][0]
    one, same, other = (CheckInputs(images, seed).arrays() for seed in (1, 1, 2))
    assert all(np.array_equal(one[key], same[key]) for key in one)
    assert not np.array_equal(one["loss.VAE.0/mu"], other["loss.VAE.0/mu"])
    assert not np.array_equal(one["decode.VAE.0/z"], other["decode.VAE.0/z"])
