"""The self-check: correct submissions pass every check, and each planted mistake is named."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import torch
from conftest import REPO, chinese, copy_lab, run_command
from hypothesis import given, settings
from hypothesis import strategies as st
from solutions import ANSWERS, SOLVED, put_back

from apps.selfcheck.runner import note_changes
from apps.selfcheck.trial_training import EXPECTED
from apps.student_version.blanks import without_solutions
from vaelab.checks.checks import CHECKS, run_checks
from vaelab.checks.diagnosis import (
    CheckFailed,
    check_term,
    close,
    kl_factors,
    kl_formulas,
    loss_cases,
    wrong_values,
)
from vaelab.checks.explanation import explain
from vaelab.checks.test_doubles import SubmissionUnderTest, sixteen_digits

PLAIN = put_back(without_solutions(SOLVED))
FASTER = ('arch: str = "conv"', 'arch: str = "mlp"')


@cache
def digits() -> torch.Tensor:
    return sixteen_digits()


def under_test(text: str) -> SubmissionUnderTest:
    module = ModuleType("planted")
    exec(compile(text, "submission.py", "exec"), module.__dict__)
    return SubmissionUnderTest(module, digits())


def failure(text: str) -> tuple[str, str]:
    """The check that fails, as `part title`, and the name of the mistake."""
    *_, (check, error) = run_checks(under_test(text))
    assert error is not None, "every check passed"
    with chinese():
        assert re.search("[\u4e00-\u9fff]", explain(error, REPO)[1])
    return f"{check.part} {check.title}", explain(error, REPO)[0]


def plant(*changes: tuple[str, str]) -> str:
    text = PLAIN.replace(*FASTER)
    for good, bad in changes:
        assert good in text, good
        text = text.replace(good, bad)
    return text


# --- Right submissions --------------------------------------------------------------------------

# A student's own layers and words: no `ARCHITECTURES`, batch norm, dropout, a one-hot label.
OWN = """
import torch
from torch import nn
import torch.nn.functional as F

class VAE(nn.Module):
    extra = 0
    def __init__(self, latent_dim=20):
        super().__init__()
        self.d = latent_dim
        self.enc = nn.Sequential(nn.Linear(784 + self.extra, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU())
        self.mean, self.spread = nn.Linear(64, latent_dim), nn.Linear(64, latent_dim)
        self.dec = nn.Sequential(nn.Linear(latent_dim + self.extra, 400), nn.Dropout(0.01), nn.Tanh(), nn.Linear(400, 784))
    def beside(self, v, labels):
        return v
    def encode(self, x, labels=None):
        h = self.enc(self.beside(x.view(x.size(0), -1), labels))
        return self.mean(h), self.spread(h)
    def decode(self, z, labels=None):
        return torch.sigmoid(self.dec(self.beside(z, labels))).view(-1, 28, 28)
    def forward(self, x, labels=None):
        mu, logvar = self.encode(x, labels)
        z = mu
        if self.training:
            z = torch.distributions.Normal(mu, (logvar / 2).exp()).rsample()
        return self.decode(z, labels), mu, logvar
    def generate(self, labels):
        return self.decode(torch.randn(len(labels), self.d, device=labels.device), labels)

class GenModel(VAE):
    extra = 10
    def beside(self, v, labels):
        return torch.cat([v, F.one_hot(labels, 10).float()], 1)

def vae_loss(recon, x, mu, logvar, var):
    r = F.mse_loss(recon, x, reduction="sum") / (2 * var * len(x))
    k = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp()) / len(x)
    return r + k, r, k
"""  # noqa: E501


@pytest.mark.parametrize("text", [SOLVED, PLAIN, OWN], ids=["solved", "plain", "own"])
def test_correct_submissions_pass_all_checks(text: str) -> None:
    results = list(run_checks(under_test(text)))
    assert [check.title for check, error in results if error is not None] == []
    assert [check for check, _ in results] == CHECKS


def test_the_first_empty_blank_fails() -> None:
    """With the first n blanks filled, the check that fails is the one of blank n + 1."""
    text = without_solutions(SOLVED).replace(*FASTER)
    for number in ANSWERS:
        title, name = failure(text)
        assert title.startswith(f"{number} ")
        assert name.startswith(f"not filled in yet: {number} ")
        text = put_back(text, [number])
    assert text == PLAIN.replace(*FASTER)


# --- Mistakes -----------------------------------------------------------------------------------

KL = "0.5 * (logvar.exp() + mu.square() - 1 - logvar).sum(dim=1).mean()"
RECON = "(x - recon).square().flatten(1).sum(dim=1).mean() / (2 * var)"
STD = "std = torch.exp(0.5 * logvar)"
EPS = "eps = torch.randn_like(std)"
DRAW = "z = mu + std * eps"
SPLIT = "mu, logvar = self.encoder(x).chunk(2, dim=1)"
ALSO = SPLIT + "\n        "
DECODE = "return self.decoder(z)  # [B, 28, 28]"
GEN_ENCODE = "self.encoder(x, self.encoder_labels(labels))"
GEN_DECODE = "return self.decoder(z, self.decoder_labels(labels))"
SUM = "return recon_term + kl_term, recon_term, kl_term"

# (part, what stands in the submission, {what a student writes instead: the name of the mistake})
PLANTED = [
    ("2.2.1", "encoder(2 * latent_dim", {
        "encoder(latent_dim": "the encoder returns 6 numbers for an image, not 2 d = 12",
        "encoder(12": "the encoder returns 12 numbers for an image, not 2 d = 6",
    }),
    ("2.2.2", SPLIT, {
        "return self.encoder(x)": "encode must return a tuple of 2 tensors (mu, logvar); got a tensor",
        "mu = logvar = self.encoder(x)[:, :self.latent_dim]": "the same numbers",
        ALSO + "logvar = logvar.exp()": "logvar is never negative: computed as std",
        ALSO + "logvar = nn.functional.softplus(logvar)": "logvar is never negative",
        SPLIT.replace("(x)", "(x.reshape(784, -1).T)"): "mixes the images of a batch",
        "mu, logvar = nn.Linear(28, 12)(x.flatten(0, 1)).chunk(2, 1)": "mu: wrong flatten",
        "mu, logvar = nn.Linear(784, 12)(x.flatten(0, 1)).chunk(2, 1)": "wrong flatten: rows",
        "mu, logvar = nn.Linear(400, 12)(x.flatten(1)).chunk(2, 1)": "a layer of the wrong width",
        ALSO + "mu, logvar = mu.double(), logvar.double()": "mu: wrong dtype, torch.float64",
        ALSO + "mu = mu + torch.randn_like(mu)": "encode is random",
    }),
    ("2.2.3", DECODE, {
        "return self.decoder(z).logit()": "decode: sigmoid missing",
        "return 4 * self.decoder(z) - 2": "decode: sigmoid missing",
        "return self.decoder(z).sigmoid()": "decode: sigmoid applied twice",
        "return self.decoder(z).flatten(1).softmax(1).view(-1, 28, 28)": "softmax over the pixels",
        "return self.decoder(z).flatten(1)": "the images are still flat",
        "return self.decoder(z)[:, None]": "one axis too many",
        "return self.decoder(z).reshape(28, 28, -1).permute(2, 0, 1)": "decode mixes the images",
        "return self.decoder(z, labels)": "decode uses the labels",
    }),
    ("2.2.4", "if self.training:", {
        "if True:": "sampling in eval mode",
        "if not self.training:": "sampling in eval mode",
        "if False:": "no sampling in train mode",
    }),
    ("2.2.4", STD, {
        "std = logvar": "logvar used as std",
        "std = torch.exp(logvar)": "logvar used as log sigma",
        "std = logvar.sqrt()": "logvar used as variance: z is nan",
        "std = logvar.abs().sqrt()": "logvar used as variance",
        "std = torch.ones_like(mu)": "the noise is not multiplied by sigma",
    }),
    ("2.2.4", EPS, {
        "eps = torch.rand_like(std)": "uniform noise",
        "eps = torch.randn_like(std[:1])": "the same noise for every image",
        "eps = torch.randn_like(std[:, :1])": "the same noise for every latent",
    }),
    ("2.2.4", DRAW, {
        "z = std * eps": "mu missing from z",
        "z = torch.normal(mu, std)": "no gradient through the sampling to mu and logvar",
        "z = torch.distributions.Normal(mu, std).sample()": "no gradient through the sampling",
        "z = mu + std.detach() * eps": "no gradient through the sampling to logvar",
        "z = (mu + std * eps).flip(0)": "the latents of different images are mixed up",
        "z = (mu + std * eps)[torch.randperm(len(mu))]": "the latents of different images are mixed up",
        "z = (mu + std * eps).T.reshape(mu.shape)": "the latents of different images are mixed up",
    }),
    ("2.2.4", "return recon, mu, logvar", {
        "return recon, logvar, mu": "forward returns mu and logvar swapped",
        "return recon.flip(0), mu, logvar": "in another order",
        "return recon, mu, logvar.exp()": "forward doesn't return the mu and logvar of encode",
    }),
    ("2.2.4", "recon = self.decode(z, labels)", {
        "recon = self.decoder(z)": "forward doesn't call self.decode",
    }),
    ("2.3", KL, {
        KL.replace("0.5 * ", ""): "KL missing one half",
        KL.replace(".mean()", ".sum()"): "KL summed over the batch",
        KL.replace(".sum(dim=1)", ""): "KL a mean over the latents",
        "-" + KL: "KL with the wrong sign",
        KL + " / (2 * var)": "KL divided by 2 var",
        KL.replace("logvar", "(2 * logvar)"): "KL: logvar used as log sigma",
        "0.5 * (logvar**2 + mu**2 - 1 - (logvar**2).log()).sum(dim=1).mean()": "KL: logvar used as std",
        "0.5 * (logvar + mu**2 - 1 - logvar.log()).sum(dim=1).mean()": "KL: logvar used as variance",
        KL.replace("logvar.exp()", "logvar.exp()**2"): "KL: sigma^2 computed as exp(logvar)^2",
        KL.replace(" - 1", ""): "KL: the -1 missing",
        KL.replace("mu.square()", "mu"): "KL: mu not squared",
        "(logvar.exp() + mu.square() - 1 - logvar).sum()": "KL missing one half and KL summed over the batch",
    }),
    ("2.3", RECON, {
        RECON.replace(".sum(dim=1)", ""): "reconstruction a mean over pixels",
        "nn.functional.mse_loss(recon, x) / var": "missing one half and reconstruction a mean over pixels",
        RECON.replace(".flatten(1)", ""): "reconstruction summed over one axis of the image only",
        RECON.replace("(2 * var)", "var"): "reconstruction missing one half",
        RECON.replace(".mean()", ".sum()"): "reconstruction summed over the batch",
        RECON.replace("(2 * var)", "2"): "reconstruction not divided by var",
        RECON.replace("(2 * var)", "2 * var"): "reconstruction times var",
        RECON.replace("2 * var", "2 * var**0.5"): "reconstruction divided by the square root of var",
        RECON.replace("square", "abs"): "absolute error instead of squared",
        "nn.functional.binary_cross_entropy(recon, x, reduction='sum') / len(x)": "cross-entropy",
    }),
    ("2.3", SUM, {
        "return recon_term - kl_term, recon_term, kl_term": "loss is the reconstruction term minus",
        "return recon_term, recon_term, kl_term": "loss leaves out the KL term",
        "return recon_term + kl_term, kl_term, recon_term": "returns the KL term before",
        "return recon_term + kl_term": "vae_loss must return a tuple of 3",
        "return (recon_term + kl_term).detach(), recon_term, kl_term": "numbers without gradient",
    }),
    ("2.2", SPLIT, {
        SPLIT.replace("(x)", "(x).detach()"): "no gradient reaches encoder",
    }),
    ("3.2", GEN_ENCODE, {
        "self.encoder(x)": "the label's vector is not passed to this layer",
        "self.encoder(x, labels)": "the shapes to be joined differ in their number of axes",
        "self.encoder(x, labels[:, None] / 10 + torch.ones(16))": "the encoder uses the label as a number",
        "self.encoder(x, 0 * self.encoder_labels(labels))": "the encoder ignores the labels",
        GEN_ENCODE.replace("(labels)", "(labels.flip(0))"): "the encoder uses another image's label",
    }),
    ("3.1", "hidden_dim, cond_dim=label_dim, **layers", {
        "hidden_dim, **layers": "the first layer of self.encoder has no room for the label",
        "label_dim, hidden_dim, **layers": "the first layer of self.encoder has room for 256 more numbers",
    }),
    ("3.1", "self.decoder = decoder(latent_dim, image_shape, hidden_dim, cond_dim=label_dim, **layers)", {
        "": "the first layer of self.decoder has no room for the label",
    }),
    ("2.2.1", "self.encoder = encoder(2 * latent_dim, image_shape, hidden_dim, **layers)", {
        "self.encoder = encoder(2 * latent_dim, hidden_dim)": "TypeError: 'int' object is not iterable",
    }),
    ("3.3", GEN_DECODE, {
        "return self.decoder(z, torch.zeros(len(z), 16))": "the decoder ignores the labels",
        "return self.decoder(z, labels[:, None] + torch.ones(16))": "the decoder uses the label as a number",
    }),
    ("2.2.4", "recon = self.decode(z, labels)", {
        "recon = self.decode(z)": "forward doesn't pass the labels to decode",
    }),
    ("2.2.4", "self.encode(x, labels)", {
        "self.encode(x)": "forward doesn't pass the labels to encode",
    }),
    ("2, 3", EPS, {
        "eps = torch.randn(std.shape)": "wrong device",
    }),
    ("2.2.4", EPS, {
        "eps = torch.randn(std.shape, dtype=torch.float64)": "z: wrong dtype",
    }),
    ("2.2.2", "self.encoder(x).chunk", {
        "self.encoder(x.double()).chunk": "wrong dtype",
    }),
    ("2.2.1", "super().__init__()\n", {
        "\n": "super().__init__() missing",
    }),
    ("2.2.1", "self.latent_dim = latent_dim\n", {
        "self.latent_dim = latent_dim\n        self.size = sise\n": "an unknown name",
    }),
    ("3.1", "class GenModel(VAE)", {
        "class GModel(VAE)": "submission.py has no GenModel",
    }),
]  # fmt: skip
MISTAKES = [((good, bad), part, name) for part, good, bads in PLANTED for bad, name in bads.items()]


@pytest.mark.parametrize(("change", "part", "name"), MISTAKES, ids=[f"{m[1]}: {m[2]}" for m in MISTAKES])
def test_a_planted_mistake_is_named(change: tuple[str, str], part: str, name: str) -> None:
    title, said = failure(plant(change))
    assert title.split(" ")[0].rstrip(",") == part.split(" ")[0].rstrip(",")
    assert name in said
    rest = said.replace(name, "")
    assert [other for _, _, other in MISTAKES if other in rest] == [], "the message names another mistake too"


def test_an_error_inside_a_layer_is_placed_in_submission_py() -> None:
    """The mistake is in the line of submission.py that calls the layers of model.py."""
    text = plant((GEN_ENCODE, "self.encoder(x)"))
    module = ModuleType("planted")
    exec(compile(text, str(REPO / "submission.py"), "exec"), module.__dict__)
    *_, (_, error) = run_checks(SubmissionUnderTest(module, digits()))
    lines = [i for i, code in enumerate(text.splitlines(), start=1) if "self.encoder(x).chunk" in code]
    _, hint = explain(error, REPO)
    numbers = "A linear layer expects [B, 800]; its input is [5, 784]"
    assert hint.startswith(f"submission.py line {lines[-1]}: {numbers}")
    assert "16 fewer, which is the width of the label's vector" in hint


def test_arguments_that_were_passed_by_position_are_listed_by_name() -> None:
    line = "self.encoder = encoder(2 * latent_dim, image_shape, hidden_dim, **layers)"
    for wrong in ("encoder(2 * latent_dim, hidden_dim)", "encoder(12, image_shape, 9, 0, 1, 'relu', 0, 0)"):
        *_, (_, error) = run_checks(under_test(plant((line, f"self.encoder = {wrong}"))))
        hint = (
            "takes out_dim first. Pass these by name, as hidden_dim=hidden_dim: image_shape, hidden_dim, cond"
        )
        assert hint in explain(error, REPO)[1]


OWN_FORWARD = """
    def forward(self, x, labels=None):
        mu, logvar = self.encode(x, labels)
        z = mu + torch.randn_like(mu) * (0.5 * logvar).exp() if self.training else mu
        return self.decode(z, labels), mu, logvar
"""


def test_a_forward_of_the_conditional_model_itself_may_pass_the_labels_on() -> None:
    text = plant(("recon = self.decode(z, labels)", "recon = self.decode(z)"))
    assert failure(text)[0].startswith("2.2.4 forward passes the labels")
    own = text + OWN_FORWARD  # GenModel is the last class of the file
    assert [check.title for check, error in run_checks(under_test(own)) if error is not None] == []


def test_a_design_that_needs_no_room_for_the_label_passes() -> None:
    """The label's vector is added to the image and to the code, whose widths stay as they are."""
    text = plant(
        ("hidden_dim, cond_dim=label_dim, **layers", "hidden_dim, **layers"),
        ("self.encoder_labels = nn.Embedding(10, label_dim)", "self.encoder_labels = nn.Embedding(10, 784)"),
        (
            "self.decoder_labels = nn.Embedding(10, label_dim)",
            "self.decoder_labels = nn.Embedding(10, latent_dim)",
        ),
        (GEN_ENCODE, "self.encoder(x + self.encoder_labels(labels).view(-1, 28, 28))"),
        (GEN_DECODE, "return self.decoder(z + self.decoder_labels(labels))"),
    )
    assert [check.title for check, error in run_checks(under_test(text)) if error is not None] == []


def test_shapes_are_shown_with_names() -> None:
    text = plant((SPLIT, "mu = logvar = self.encoder(x)"))
    *_, (_, error) = run_checks(under_test(text))
    assert error.hint.startswith("Expected [B, d], B = 5, d = 6; got [5, 12].")


def test_hints_end_with_one_mark() -> None:
    factors = [kl_factors(case) for case in loss_cases()]
    for first, second in (("KL summed over the batch", "KL missing one half"), ("KL times var",) * 2):
        values = []
        for case, factor in zip(loss_cases(), factors, strict=True):
            right = next(kl_formulas(case))[2].sum(dim=1).mean().item()
            values.append(right * factor[first][0] * (factor[second][0] if second != first else 1))
        with pytest.raises(CheckFailed) as caught:
            check_term("KL", values)
        assert re.search(r"[?.]$", caught.value.hint)
        assert not re.search(r"[?.][?.]|[a-z0-9] (Which|Compare|The) ", caught.value.hint), caught.value.hint


def test_layers_that_pytorch_does_not_see_are_named() -> None:
    hidden = OWN.replace("nn.Sequential(nn.Linear(784", "[nn.Linear(784").replace("nn.ReLU())", "nn.ReLU()]")
    for good in ("self.mean, self.spread =", "self.dec = nn.Sequential(nn.Linear(latent_dim"):
        assert good in hidden
    hidden = hidden.replace("nn.Linear(64, latent_dim), nn.Linear(64, latent_dim)", "[nn.Linear(64, 2)], 0")
    hidden = hidden.replace("self.dec = nn.Sequential(", "self.dec = (")
    assert failure(hidden)[1] == "VAE has no registered weights"


@settings(max_examples=20, deadline=None)
@given(first=st.sampled_from(list(kl_factors(loss_cases()[0]))), data=st.data())
def test_two_mistakes_in_the_kl_are_both_named(first: str, data) -> None:
    factors = [kl_factors(case) for case in loss_cases()]
    second = data.draw(st.sampled_from([name for name in factors[0] if name != first]))
    values = []
    for case, factor in zip(loss_cases(), factors, strict=True):
        right = next(kl_formulas(case))[2].sum(dim=1).mean().item()
        values.append(right * factor[first][0] * factor[second][0])
    cancels = {first, second} in (
        {"KL missing one half", "KL halved twice"},
        {"KL divided by var", "KL times var"},
    )
    if cancels:
        return check_term("KL", values)
    with pytest.raises(CheckFailed) as caught:
        check_term("KL", values)
    # Some pairs are a single mistake by another name, and the single one is what is said.
    assert (
        len(set(caught.value.name.split(" and ")) & {first, second}) == 2 or " and " not in caught.value.name
    )
    return None


def test_a_value_that_no_mistake_explains_is_compared_with_the_right_one() -> None:
    with pytest.raises(CheckFailed, match="the KL term is wrong") as caught:
        check_term("KL", [12.345, 6.789])
    assert "12.3450" in caught.value.hint


def test_no_two_mistakes_lead_to_the_same_values() -> None:
    """Else a message could be about the wrong one. Formulas under one name may."""
    for term in ("KL", "reconstruction"):
        columns = [list(wrong_values(case, term)) for case in loss_cases()]
        single = [same for same in zip(*columns, strict=True) if len(same[0][0]) <= 1]
        assert len(single) > 5
        for i, a in enumerate(single):
            for b in single[:i]:
                both = all(close(x[2], y[2]) for x, y in zip(a, b, strict=True))
                assert not both or a[0][0] == b[0][0], (a[0][0], b[0][0])


# --- As a command -------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return copy_lab(tmp_path)


def test_the_command_stops_at_the_first_check_that_fails(folder: Path) -> None:
    (folder / "submission.py").write_text(plant((KL, KL.replace("0.5 * ", ""))))
    result = run_command("check.py", cwd=folder, repo=folder)
    lines = result.stdout.splitlines()
    assert (result.returncode, result.stderr) == (1, "")
    failed = next(i for i, line in enumerate(lines) if line.startswith("FAIL"))
    assert all(line.startswith("ok   ") for line in lines[:failed])
    assert failed == 9
    assert lines[failed].startswith("FAIL 2.3    the KL term")
    assert lines[failed + 1].strip() == "KL missing one half"
    assert lines[-1].startswith("9 of 20 checks passed.")


def test_a_syntax_error_is_reported_with_its_line(folder: Path) -> None:
    (folder / "submission.py").write_text("import torch\nclass VAE(\n")
    result = run_command("check.py", cwd=folder, repo=folder)
    assert (result.returncode, result.stderr) == (1, "")
    assert "FAIL" in result.stdout
    assert "line 2 is not valid Python" in result.stdout


def test_full_tells_a_low_score_from_a_slow_machine(folder: Path) -> None:
    (folder / "submission.py").write_text(OWN)
    full = ("check.py", "--full", "--dataset", "digits")
    result = run_command(*full, "--steps", 20, cwd=folder, repo=folder)
    assert result.stderr == ""
    out = result.stdout
    assert "20 of 20 checks passed" in out
    for task, most in (("VAE0label", 10), ("Genwithlabel", 30)):
        score = float(re.search(rf"{task}: ([\d.]+) of {most} on digits", out)[1])
        assert 0 < score <= most
        assert (f"ok   4      {task}" in out) == (score >= EXPECTED[task])
    assert "speed: 20 steps in " in out
    assert result.returncode == ("FAIL" in out)

    result = run_command(*full, "--seconds", 1e-6, cwd=folder, repo=folder)
    assert (result.returncode, result.stderr) == (0, "")
    assert "Genwithlabel: too slow to judge: 0 of 800 steps in 0 s" in result.stdout
    assert "FAIL" not in result.stdout
    assert "layers, latent_dim" not in result.stdout, "a slow machine is not a fault of the layers"


def test_a_changed_file_is_noted(folder: Path, capsys) -> None:
    good = hashlib.sha256((folder / "train.py").read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(
        f'{{"files": {{"train.py": "{good}", "grade.py": "0", "model.py": "0", "gone.py": "0"}}}}'
    )
    note_changes(folder)
    out = capsys.readouterr().out
    noted = re.findall(r"note: (\S+) is not the original file; (\w+)", out)
    # A changed model.py is part of the hand-in; the grader has its own copies of the others.
    assert noted == [("grade.py", "grading"), ("model.py", "hand"), ("gone.py", "grading")]


def test_a_label_of_integers_in_a_linear_layer_is_explained() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.nn.Linear(1, 3)(torch.arange(4)[:, None])
    name, hint = explain(raised.value, REPO)
    assert name == "wrong dtype"
    assert "learned or one-hot" in hint


def test_an_unknown_name_is_explained() -> None:
    with pytest.raises(NameError) as raised:
        MLPEncoder()  # noqa: F821
    name, hint = explain(raised.value, REPO)
    assert name == "an unknown name"
    assert "not imported at the top of submission.py" in hint
