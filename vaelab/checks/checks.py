"""The list of checks, in the order of the handout, and the function that runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import torch

from vaelab.checks import loss_checks as loss
from vaelab.checks import model_checks as model
from vaelab.checks.test_doubles import SubmissionUnderTest

SEED = 0


class Check(NamedTuple):
    """One check of a submission. `run` raises `CheckFailed`, or an error of the submission's own code."""

    part: str  # of the handout
    title: str
    run: Callable[[Any], None]  # of a `SubmissionUnderTest`; in part 6, of the module discrete.py
    slow: bool = False  # it trains a model


CHECKS = [
    Check("2.2.1", "the VAE's layers are constructed", model.layers),
    Check("2.2.2", "encode: mu and logvar for each image, any sign, independent of the batch", model.encode),
    Check("2.2.3", "decode: an image in [0, 1] for each code, independent of the batch", model.decode),
    Check("2.2.4", "forward in eval mode: z is mu", model.forward_eval),
    Check("2.2.4", "forward passes the labels to encode and decode", model.forward_passes_labels),
    Check("2.2.4", "forward pairs each latent with its own image", model.forward_pairs),
    Check("2.2.4", "forward in train mode: z is sampled from N(mu, sigma^2)", model.forward_train),
    Check("2.2.4", "the gradient passes through the sampling of z", model.gradient),
    Check("2.3", "vae_loss returns three numbers with a gradient", loss.loss_shape),
    Check("2.3", "the KL term: its value, reduction, sign and scale", loss.loss_kl),
    Check("2.3", "the reconstruction term: its value, reduction, sign and scale with var", loss.loss_recon),
    Check("2.3", "the loss is the sum of its terms", loss.loss_sum),
    Check("2.2", "the gradient reaches every weight of the VAE", model.every_weight),
    Check("2.2", "the VAE overfits sixteen images", model.overfit, slow=True),
    Check("3.1", "the conditional model's layers are constructed", model.conditional_layers),
    Check("3.2", "encode: uses the label of each image", model.encode_labels),
    Check("3.3", "decode: uses the label of each code", model.decode_labels),
    Check("3", "forward passes the labels on, and the gradient reaches every weight", model.forward_labels),
    Check("3", "generate: a new image in each call, of the label that was asked for", model.generate),
    Check("2, 3", "all outputs are on the device of the input", model.device),
]


def run_checks(
    tested: SubmissionUnderTest | ModuleType,
    checks: Sequence[Check] = CHECKS,
    announce: Callable[[Check], None] = lambda check: None,
) -> Iterator[tuple[Check, Exception | None]]:
    """Each check with None or its error, up to the first that fails. announce: called before each check."""
    for check in checks:
        announce(check)
        torch.manual_seed(SEED)
        try:
            check.run(tested)
        except Exception as error:  # a student's code can raise anything
            yield check, error
            return
        yield check, None
