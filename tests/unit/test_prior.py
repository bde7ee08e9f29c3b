"""The three priors: where they draw codes from, and that the learned one finds the codes of each class."""

from __future__ import annotations

import pytest
import torch

from beyond.priors import PRIORS, ClassMeanPrior, FlowPrior, StandardPrior, sobol_normal


def test_standard_prior_is_the_noise() -> None:
    prior, eps, y = StandardPrior(3, 10), torch.randn(5, 3), torch.arange(5)
    assert torch.equal(prior.sample(eps, y), eps)
    assert torch.equal(prior.mean(y), torch.zeros(5, 3))
    assert prior.loss(eps, eps, y) == 0


def test_class_mean_prior_is_the_noise_around_each_mean() -> None:
    prior, eps, y = ClassMeanPrior(3, 10), torch.randn(4, 3), torch.tensor([7, 7, 0, 2])
    torch.testing.assert_close(prior.sample(eps, y) - eps, prior.means.weight[y])
    assert torch.equal(prior.mean(y)[0], prior.mean(y)[1])


def test_flow_finds_the_codes_of_each_class() -> None:
    """Two classes of codes, far from N(0, I): the samples have their means, deviations and correlation."""
    torch.manual_seed(0)
    mean, std = torch.tensor([[4.0, 0.0], [-2.0, 3.0]]), torch.tensor([[0.5, 1.5], [1.0, 0.3]])

    def codes(y: torch.Tensor) -> torch.Tensor:
        noise = torch.randn(len(y), 2)
        noise[:, 1] = 0.8 * noise[:, 0] + 0.6 * noise[:, 1]
        return mean[y] + std[y] * noise

    prior = FlowPrior(2, num_classes=2, hidden_dim=64)
    steps = 600
    optimizer = torch.optim.AdamW(prior.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        y = torch.randint(0, 2, (128,))
        loss = prior.loss(codes(y), torch.full((128, 2), -20.0), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    for label in range(2):
        y = torch.full((4000,), label)
        z = prior.sample(torch.randn(4000, 2), y).detach()
        torch.testing.assert_close(z.mean(dim=0), mean[label], rtol=0, atol=0.15)
        torch.testing.assert_close(z.std(dim=0), std[label], rtol=0.2, atol=0)
        assert torch.corrcoef(z.T)[0, 1] == pytest.approx(0.8, abs=0.1)


@pytest.mark.parametrize("name", PRIORS)
def test_no_prior_moves_the_codes_to_suit_itself(name: str) -> None:
    """The prior's own loss reaches its weights only: the codes are the encoder's business."""
    prior = PRIORS[name](3, 10)
    mu, logvar = (torch.randn(6, 3, requires_grad=True) for _ in range(2))
    loss = prior.loss(mu, logvar, torch.arange(6))
    if loss.requires_grad:
        loss.backward()
    assert mu.grad is None
    assert logvar.grad is None


def test_even_noise_is_noise_spread_evenly_over_each_class() -> None:
    """N(0, I) in every class, whose mean strays from 0 far less than that of independent draws."""
    torch.manual_seed(0)
    y = torch.arange(10).repeat(500)[torch.randperm(5000)]
    eps = sobol_normal(y, 20)
    assert eps.shape == (5000, 20)
    torch.testing.assert_close(torch.cov(eps.T), torch.eye(20), rtol=0, atol=0.1)
    assert eps.square().mean() == pytest.approx(1, abs=0.01)
    independent = (1 / 500) ** 0.5
    for label in range(10):
        assert eps[y == label].mean(dim=0).square().mean().sqrt() < 0.5 * independent
    assert not torch.equal(eps, sobol_normal(y, 20))  # drawn anew each time, and repeatable:
    torch.manual_seed(0)
    torch.randperm(5000)
    assert torch.equal(eps, sobol_normal(y, 20))


def test_even_noise_of_one_or_many_images() -> None:
    assert sobol_normal(torch.tensor([3]), 784).shape == (1, 784)
    assert torch.isfinite(sobol_normal(torch.zeros(100_000, dtype=torch.long), 3)).all()
