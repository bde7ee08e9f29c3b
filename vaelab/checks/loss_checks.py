"""The checks of `vae_loss`, part 2.3 of the handout."""

from __future__ import annotations

from torch import Tensor

from vaelab.checks.assertions import check_tensor, check_triple
from vaelab.checks.diagnosis import CheckFailed, LossCase, check_term, loss_cases
from vaelab.checks.test_doubles import B, SubmissionUnderTest
from vaelab.language import N_


def loss_shape(tested: SubmissionUnderTest) -> None:
    """`vae_loss` must return three scalars with a gradient."""
    case = loss_cases()[0]
    mu = case.mu.clone().requires_grad_()
    recon = case.recon.clone().requires_grad_()
    output = tested.loss(recon, case.x, mu, case.logvar, case.var)
    check_triple("vae_loss", output, "(loss, recon_term, kl_term)", "scalars")
    for name, term in zip(("loss", "recon_term", "kl_term"), output, strict=True):
        if isinstance(term, Tensor) and tuple(term.shape) == (B,):
            raise CheckFailed(
                "{name} has one number for each image",
                "Expected a single number, []: how are the images of a batch averaged?",
                name=name,
            )
        check_tensor(name, term, (), finite=False)
    if not all(term.requires_grad for term in output):
        raise CheckFailed(
            "vae_loss returns numbers without gradient",
            ".item(), detach and NumPy cut the gradient: then the optimizer can't change any weight.",
        )


def loss_values(tested: SubmissionUnderTest) -> list[list[float]]:
    """(loss, recon_term, kl_term) for each of `loss_cases()`."""
    return [[term.item() for term in tested.loss(*case[:5])] for case in loss_cases()]


def check_order(values: list[list[float]], cases: list[LossCase] | None = None) -> None:
    """Raise CheckFailed if the reconstruction and KL terms are swapped. values: see `check_sum`."""
    try:
        check_term("KL", [value[1] for value in values], cases)
        check_term("reconstruction", [value[2] for value in values], cases)
    except CheckFailed:
        return
    raise CheckFailed(
        "vae_loss returns the KL term before the reconstruction term",
        "The docstring of vae_loss says which order is expected.",
    )


def loss_kl(tested: SubmissionUnderTest) -> None:
    """The KL term must have the right value."""
    values = loss_values(tested)
    check_order(values)
    check_term("KL", [value[2] for value in values])


def loss_recon(tested: SubmissionUnderTest) -> None:
    """The reconstruction term must have the right value."""
    check_term("reconstruction", [value[1] for value in loss_values(tested)])


def loss_sum(tested: SubmissionUnderTest) -> None:
    """The loss must be the sum of its two terms."""
    check_sum(loss_values(tested))


def check_sum(values: list[list[float]]) -> None:
    """Raise CheckFailed if a loss is not the sum of its terms. values: (loss, recon_term, kl_term)s."""
    for loss, recon_term, kl_term in values:
        for name, term in (
            (N_("the reconstruction term is zero"), recon_term),
            (N_("the KL term is zero"), kl_term),
        ):
            if not term:
                raise CheckFailed(name, "The loss is the sum of two terms, and neither of them is zero here.")
        for name, wrong in (
            (N_("loss is the reconstruction term minus the KL term: wrong sign"), recon_term - kl_term),
            (N_("loss is the KL term minus the reconstruction term: wrong sign"), kl_term - recon_term),
            (N_("loss is the ELBO, not its negative: wrong sign"), -recon_term - kl_term),
            (N_("loss leaves out the KL term"), recon_term),
            (N_("loss leaves out the reconstruction term"), kl_term),
        ):
            if abs(loss - wrong) < 1e-4 * abs(wrong):
                raise CheckFailed(name, "The loss is minimised. Which of its two terms should become small?")
        if abs(loss - recon_term - kl_term) > 1e-4 * abs(loss):
            raise CheckFailed(
                "loss is not the sum of its two terms",
                "The terms are {recon_term:.4f} and {kl_term:.4f}; loss is {loss:.4f}. Each term already "
                "includes its weight.",
                recon_term=recon_term,
                kl_term=kl_term,
                loss=loss,
            )
