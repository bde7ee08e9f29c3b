"""Checks of the formulas of the solutions; their tags begin with S."""

from __future__ import annotations

import math

import pytest
import torch
from formulas import LinearModel, Mixture, formula, gaussian_terms, near_mean, normal, random_gaussian
from torch.distributions import Categorical, MultivariateNormal, Normal, kl_divergence


@formula("S0.1", r"\frac{d}{dt} \left( t - 1 - \log t \right) = 1 - \frac{1}{t}")
def derivative_of_the_difference() -> None:
    t = torch.linspace(0.1, 10, 100, dtype=torch.float64, requires_grad=True)
    (t - 1 - t.log()).sum().backward()
    torch.testing.assert_close(t.grad, 1 - 1 / t.detach())


@formula(
    "S0.2",
    r"- \mathrm{KL}(p \Vert q) = \int_{p > 0} p(x) \log \frac{q(x)}{p(x)} dx \le "
    r"\int_{p > 0} p(x) \left( \frac{q(x)}{p(x)} - 1 \right) dx = \int_{p > 0} q(x) dx - 1 \le 0",
)
def kl_bounded_by_the_tangent() -> None:
    p, q = normal(2, 500, 6).softmax(dim=2)
    p[:, 0] = 0  # where p is nothing, only q is
    p = p / p.sum(dim=1, keepdim=True)
    inside = p > 0
    minus_kl = torch.where(inside, p * (q / p.clamp(min=1e-9)).log(), 0).sum(dim=1)
    bound = torch.where(inside, p * (q / p.clamp(min=1e-9) - 1), 0).sum(dim=1)
    torch.testing.assert_close(bound, torch.where(inside, q, 0).sum(dim=1) - 1)
    assert (minus_kl <= bound).all()
    assert (bound <= 0).all()
    torch.testing.assert_close(-minus_kl, kl_divergence(Categorical(p), Categorical(q)))


@formula(
    "S0.3",
    r"\mathrm{KL}(p \Vert q) = \mathbb E_{x \sim p} \left[ - \log \frac{q(x)}{p(x)} \right] \ge "
    r"- \log \mathbb E_{x \sim p} \left[ \frac{q(x)}{p(x)} \right] = - \log \int_{p > 0} q(x) dx \ge 0",
)
def kl_bounded_by_jensen() -> None:
    p, q = normal(2, 500, 6).softmax(dim=2)
    p[:, 0] = 0  # where p is 0, q is not
    p = p / p.sum(dim=1, keepdim=True)
    ratio = q / p.clamp(min=1e-9)
    kl = torch.where(p > 0, -p * ratio.log(), 0).sum(dim=1)
    torch.testing.assert_close(kl, kl_divergence(Categorical(p), Categorical(q)))
    bound = -torch.where(p > 0, p * ratio, 0).sum(dim=1).log()
    torch.testing.assert_close(bound, -torch.where(p > 0, q, 0).sum(dim=1).log())
    assert (kl >= bound).all()
    assert (bound > 0).all()  # q has mass where p has none
    # q = c p where p > 0: Jensen's inequality is an equality, and the KL is 0 for c = 1 alone.
    for c in (0.5, 1.0):
        q = torch.cat([torch.tensor([1 - c]).double(), c * p[0, 1:]])
        kl = kl_divergence(Categorical(p[0]), Categorical(q)).item()
        assert kl == pytest.approx(-math.log(c), abs=1e-12)


@formula("S0.4", r"\mathbb E_{x \sim p} \left[ (x - \mu_2)^2 \right] = \sigma_1^2 + (\mu_1 - \mu_2)^2")
def spread_about_another_mean() -> None:
    near_mean((0.4 + 1.7 * normal(200_000) + 1.1).square(), 1.7**2 + (0.4 + 1.1) ** 2)


@formula(
    "S0.5",
    r"\mathrm{KL}(p \Vert q) = \log \frac{\sigma_2}{\sigma_1} + "
    r"\frac{\sigma_1^2 + (\mu_1 - \mu_2)^2}{2 \sigma_2^2} - \frac{1}{2}",
)
def kl_in_one_dimension() -> None:
    for seed in range(20):
        (m1, m2), (s1, s2) = normal(2, seed=seed).tolist(), normal(2, seed=seed + 100).exp().tolist()
        closed = math.log(s2 / s1) + (s1**2 + (m1 - m2) ** 2) / (2 * s2**2) - 0.5
        assert closed == pytest.approx(kl_divergence(Normal(m1, s1), Normal(m2, s2)).item(), rel=1e-4)
        p, q = (
            MultivariateNormal(torch.tensor([m]).double(), torch.tensor([[s**2]]).double())
            for m, s in ((m1, s1), (m2, s2))
        )
        assert closed == pytest.approx(kl_divergence(p, q).item())


@formula(
    "S0.6",
    r"\mathbb E_{x \sim p} \left[ (x - \mu_2)^T \Sigma_2^{-1} (x - \mu_2) \right] = "
    r"\mathrm{tr}(\Sigma_2^{-1} \Sigma_1) + (\mu_1 - \mu_2)^T \Sigma_2^{-1} (\mu_1 - \mu_2)",
)
def expected_mahalanobis_distance() -> None:
    p, q = random_gaussian(3, seed=1), random_gaussian(3, seed=2)
    inverse, shift = torch.linalg.inv(q.covariance_matrix), p.mean - q.mean
    x = p.mean + normal(200_000, 3) @ p.scale_tril.T - q.mean
    expected = (inverse @ p.covariance_matrix).trace() + shift @ inverse @ shift
    near_mean(((x @ inverse) * x).sum(dim=1), expected)


@formula(
    "S0.7", r"\mathrm{ELBO}(q, \theta) = \mathbb E_{z \sim q} \left[ \log p_\theta(x, z) - \log q(z) \right]"
)
def elbo_of_the_mixture() -> None:
    mixture, theta = Mixture(), Mixture.random_theta(3)
    q = normal(len(mixture.x), 2, seed=5).softmax(dim=1)
    elbo = mixture.elbo(q, theta)
    kl = kl_divergence(Categorical(q), Categorical(mixture.posterior(theta)))
    torch.testing.assert_close(elbo, mixture.log_likelihood(theta) - kl)


@formula(
    "S0.8",
    r"\log p_{\theta_t}(x) = \mathrm{ELBO}(q_{t+1}, \theta_t) \le \mathrm{ELBO}(q_{t+1}, \theta_{t+1}) \le "
    r"\log p_{\theta_{t+1}}(x)",
)
def both_steps_raise_the_bound() -> None:
    mixture = Mixture()
    theta_t = mixture.random_theta(3)
    q = mixture.posterior(theta_t)
    theta = mixture.m_step(q)
    before, after = mixture.elbo(q, theta_t).sum(), mixture.elbo(q, theta).sum()
    torch.testing.assert_close(before, mixture.log_likelihood(theta_t).sum())
    assert before < after < mixture.log_likelihood(theta).sum()


@formula(
    "S1.1",
    r"\mathrm{KL}(p_{data} \Vert p_\theta) = \mathbb E_{x \sim p_{data}} \left[ \log p_{data}(x) \right] - "
    r"\mathbb E_{x \sim p_{data}} \left[ \log p_\theta(x) \right]",
)
def kl_as_two_expectations() -> None:
    p, q = Normal(0.3, 0.8), Normal(-0.5, 1.7)
    x = torch.linspace(-12, 12, 100_001, dtype=torch.float64)
    terms = [torch.trapezoid(p.log_prob(x).exp() * d.log_prob(x), x) for d in (p, q)]
    torch.testing.assert_close((terms[0] - terms[1]).float(), kl_divergence(p, q), rtol=1e-6, atol=0)


@formula(
    "S1.2",
    r"\mathbb E_{z \sim q} \left[ \log p_\theta(x, z) - \log q(z) \right] = "
    r"\mathbb E_{z \sim q} \left[ \log p_\theta(x \mid z) \right] + "
    r"\mathbb E_{z \sim q} \left[ \log p(z) - \log q(z) \right]",
)
def elbo_taken_apart() -> None:
    model, x = LinearModel(), normal(5, seed=4)
    joint = MultivariateNormal(  # of (z, x), built from its own covariance
        torch.cat([model.prior.mean, model.bias]),
        torch.cat(
            [
                torch.cat([model.eye, model.weight.T], dim=1),
                torch.cat([model.weight, model.marginal.covariance_matrix], dim=1),
            ]
        ),
    )
    z = normal(50, 2, seed=6)
    log_joint = joint.log_prob(torch.cat([z, x.expand(50, 5)], dim=1))
    torch.testing.assert_close(log_joint, model.log_p_x_given_z(x, z) + model.prior.log_prob(z))


@formula(
    "S1.3",
    r"\mathrm{KL}(N(\mu, \mathrm{diag}(\sigma^2)) \Vert N(0, I)) = \frac{1}{2} \left[ \sum_i \sigma_i^2 + "
    r"\sum_i \mu_i^2 - d - \sum_i \log \sigma_i^2 \right]",
)
def kl_of_a_diagonal_gaussian() -> None:
    mu, sigma = normal(4, seed=1), normal(4, seed=2).exp()
    q = MultivariateNormal(mu, torch.diag(sigma**2))
    prior = MultivariateNormal(torch.zeros(4).double(), torch.eye(4).double())
    closed = 0.5 * ((sigma**2).sum() + (mu**2).sum() - 4 - (sigma**2).log().sum())
    torch.testing.assert_close(closed, kl_divergence(q, prior))
    torch.testing.assert_close(closed, gaussian_terms(mu, sigma))


@formula(
    "S1.4",
    r"\mathbb E_{z \sim q_\phi(z \mid x)} \left[ f(z) \right] = \int N(\epsilon; 0, I) "
    r"f(\mu + \sigma \odot \epsilon) d \epsilon",
)
def change_of_variables() -> None:
    z = torch.linspace(-25, 25, 200_001, dtype=torch.float64)
    over_z = torch.trapezoid(Normal(0.4, 1.6).log_prob(z).exp() * z.sin() * z, z)
    over_eps = torch.trapezoid(
        Normal(0.0, 1.0).log_prob(z).exp() * (0.4 + 1.6 * z).sin() * (0.4 + 1.6 * z), z
    )
    torch.testing.assert_close(over_z, over_eps)


@formula(
    "S1.5",
    r"\nabla_\phi \mathbb E_{z \sim q_\phi(z \mid x)} \left[ f(z) \right] = "
    r"\mathbb E_{z \sim q_\phi(z \mid x)} \left[ f(z) \nabla_\phi \log q_\phi(z \mid x) \right]",
)
def score_function_gradient() -> None:
    mu, sigma, n = 1.5, 0.5, 200_000
    eps = normal(n)
    z = mu + sigma * eps
    score, pathwise = z.square() * eps / sigma, 2 * z  # of E z^2 = mu^2 + sigma^2 by mu
    near_mean(score, 2 * mu)
    near_mean(pathwise, 2 * mu)
    assert score.var() > 20 * pathwise.var()  # (mu^2/sigma)^2 and more, against 4 sigma^2


@formula(
    "S2.1",
    r"\frac{d}{d \mathrm{var}} \left( - \frac{D}{2} \log \mathrm{var} - \frac{S}{2 \mathrm{var}} \right) = "
    r"- \frac{D}{2 \mathrm{var}} + \frac{S}{2 \mathrm{var}^2}",
)
def slope_by_var() -> None:
    var = torch.tensor([0.01, 0.3, 4.0], dtype=torch.float64, requires_grad=True)
    (-784 / 2 * var.log() - 9.0 / (2 * var)).sum().backward()
    torch.testing.assert_close(var.grad, (-784 / (2 * var) + 9.0 / (2 * var**2)).detach())
