"""Checks of the formulas of part 6, discrete codes, and of its solutions."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from formulas import formula, normal, statement
from torch import Tensor
from torch.distributions import Categorical, kl_divergence

from beyond.discrete.discrete import (
    Codebook,
    codebook_losses,
    nearest_code,
    round_to_levels,
    straight_through,
)
from beyond.discrete.fsq import FiniteScalarQuantizer
from beyond.discrete.prior import CodePrior
from beyond.discrete.vq import VectorQuantizer
from vaelab.metrics.score import bonus

N, K, D = 3, 4, 2  # patches, codes, numbers of a code vector


def all_grids(length: int = N, codes: int = K) -> Tensor:
    """All grids of indices, [codes^length, length]."""
    return torch.tensor(list(itertools.product(range(codes), repeat=length)))


def random_prior(num_classes: int = 2) -> CodePrior:
    """A prior over grids of N indices that is far from uniform."""
    torch.manual_seed(0)
    prior = CodePrior(K, N, num_classes, width=16, layers=1)
    with torch.no_grad():
        for weight in prior.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return prior.eval()


def scalar_loss(z: Tensor, e: Tensor, grad_of: str) -> tuple[float, Tensor, Tensor]:
    """The value of one loss of (6.6) and its gradients. grad_of: the name that has no stop-gradient."""
    z, e = z.clone().requires_grad_(), e.clone().requires_grad_()
    fixed = {"z": (z, e.detach()), "e": (z.detach(), e)}[grad_of]
    loss = sum((a - b) @ (a - b) for a, b in zip(*fixed, strict=True))
    loss.backward()
    zero = torch.zeros_like(z)
    return loss.item(), zero if z.grad is None else z.grad, zero if e.grad is None else e.grad


# --- The handout --------------------------------------------------------------------------------


@formula("6.1", r"s_i = \arg\min_k \Vert z_i - e_k \Vert^2")
def index_of_the_nearest_code() -> None:
    z, codebook = normal(5, 7, 7, D).float(), normal(K, D, seed=1).float()
    quantizer = VectorQuantizer(K, D)
    quantizer.codebook.copy_(codebook)
    indices = nearest_code(z, codebook)
    assert torch.equal(quantizer.nearest(z), indices)
    for vector, index in zip(z.reshape(-1, D), indices.flatten(), strict=True):
        distances = [sum((vector[j] - code[j]).item() ** 2 for j in range(D)) for code in codebook]
        assert distances[index] == min(distances)


def codes_of_an_image() -> tuple[Tensor, Tensor]:
    """All grids, [K^N, N], and q(s|x) of an image whose grid is the 38th, by (6.2): [K^N]."""
    grids = all_grids()
    s_of_x = grids[37]
    return grids, (grids == s_of_x).all(dim=1).double()


@formula("6.2", r"q(s \mid x) = 1 \text{ if } s = s(x), \text{ and } 0 \text{ otherwise}")
def q_is_a_distribution() -> None:
    grids, q = codes_of_an_image()
    assert q.sum() == 1
    assert torch.equal((q @ grids.double()).long(), grids[37])  # its mean is the grid itself
    assert Categorical(q).entropy() == pytest.approx(0)


@formula("6.3", r"\mathrm{KL}(q(s \mid x) \Vert p(s)) = n \log K")
def kl_from_the_uniform_prior() -> None:
    grids, q = codes_of_an_image()
    uniform = torch.full((len(grids),), 1 / len(grids)).double()
    assert kl_divergence(Categorical(q), Categorical(uniform)).item() == pytest.approx(N * math.log(K))


@formula(
    "6.4",
    r"\mathrm{KL}(q(s \mid x) \Vert p_\psi(s \mid y)) = - \sum_{i=1}^n "
    r"\log p_\psi(s_i(x) \mid s_1(x), \dots, s_{i-1}(x), y)",
)
def kl_from_a_learned_prior() -> None:
    (grids, q), prior = codes_of_an_image(), random_prior()
    for label in range(2):
        y = torch.full((len(grids),), label)
        with torch.no_grad():
            p = prior.log_prob(grids, y).double().exp()  # [K^N], sums to 1
            factors = prior.logits(grids[37:38], y[:1])[0].log_softmax(dim=1)  # [N, K]
        expected = -sum(factors[i, grids[37, i]].item() for i in range(N))
        assert kl_divergence(Categorical(q), Categorical(p)).item() == pytest.approx(expected, rel=1e-5)


@formula("6.5", r"\hat z_i = z_i + \mathrm{sg}(e_{s_i} - z_i)")
def value_and_gradient_of_straight_through() -> None:
    z, e = normal(N, D).requires_grad_(), normal(N, D, seed=1).requires_grad_()
    for z_hat in (z + (e - z).detach(), straight_through(z, e)):
        torch.testing.assert_close(z_hat, e)
        of_z, of_e = torch.autograd.grad(z_hat.sin().sum(), (z, e), allow_unused=True)
        assert of_e is None
        torch.testing.assert_close(of_z, e.detach().cos())  # the gradient at e, not at z


@formula(
    "6.6",
    r"L(x) = \frac{1}{2 \mathrm{var}} \Vert x - \hat x \Vert^2 + \sum_{i=1}^n \Vert \mathrm{sg}(z_i) - "
    r"e_{s_i} \Vert^2 + \beta \sum_{i=1}^n \Vert z_i - \mathrm{sg}(e_{s_i}) \Vert^2",
)
def loss_of_an_image() -> None:
    codebook, z = Codebook(K, D, beta=0.25), normal(1, N, D).float().requires_grad_()
    x, var = torch.rand(1, N, D), 0.1
    z_hat, indices, of_quantizer = codebook(z)
    loss = (x - z_hat.sigmoid()).square().sum() / (2 * var) + of_quantizer  # a decoder without weights
    loss.backward()
    e = codebook.vectors.detach()[indices[0]]  # [N, D]
    first, _, of_e = scalar_loss(z[0].detach(), e, "e")
    second, of_z, _ = scalar_loss(z[0].detach(), e, "z")
    at_e = e.clone().requires_grad_()
    recon = (x[0] - at_e.sigmoid()).square().sum() / (2 * var)
    recon.backward()
    assert loss.item() == pytest.approx(recon.item() + first + 0.25 * second, rel=1e-5)
    torch.testing.assert_close(z.grad[0], at_e.grad + 0.25 * of_z)
    expected = torch.zeros(K, D).index_add_(0, indices[0], of_e)
    torch.testing.assert_close(codebook.vectors.grad, expected)


@formula("6.7", r"\arg\min_e \sum_{j=1}^m \Vert z_j - e \Vert^2 = \frac{1}{m} \sum_{j=1}^m z_j")
def mean_of_the_assigned_vectors() -> None:
    z = normal(7, D)
    axis = torch.linspace(-2, 2, 401, dtype=torch.float64)  # steps of a hundredth
    grid = torch.cartesian_prod(axis, axis)  # [401^2, D]
    sums = (z[:, None] - grid).square().sum(dim=(0, 2))
    assert (grid[sums.argmin()] - z.mean(dim=0)).abs().max() <= 0.00501


@formula("6.8", r"f(z) = \frac{L - 1}{2} \tanh(z)")
def interval_of_the_levels() -> None:
    z = torch.linspace(-9, 9, 20_001, dtype=torch.float64)
    for levels in (3, 5, 7):
        f = (levels - 1) / 2 * z.tanh()
        assert len(f.round().unique()) == levels  # L values, no more
        torch.testing.assert_close(f.round(), round_to_levels(z, levels))


@formula("6.9", r"\hat z = f(z) + \mathrm{sg}(\mathrm{round}(f(z)) - f(z))")
def rounding_with_a_gradient() -> None:
    a = torch.linspace(-3, 3, 50, dtype=torch.float64, requires_grad=True)
    f = 2 * a.tanh()
    z_hat = f + (f.round() - f).detach()
    torch.testing.assert_close(z_hat, f.round())
    (gradient,) = torch.autograd.grad(z_hat.sum(), a, retain_graph=True)
    torch.testing.assert_close(gradient, 2 * (1 - a.detach().tanh() ** 2))
    (theirs,) = torch.autograd.grad(round_to_levels(a, 5).sum(), a)
    torch.testing.assert_close(theirs, gradient)


@formula("6.10", r"s = 1 + \sum_{j=1}^D \left( \hat z_j + \frac{L_j - 1}{2} \right) \prod_{l < j} L_l")
def index_of_the_rounded_numbers() -> None:
    levels = (5, 3, 7)
    quantizer = FiniteScalarQuantizer(levels)
    half = torch.tensor([(n - 1) / 2 for n in levels])
    codes = quantizer.codes(torch.arange(quantizer.num_codes)) * half  # [105, 3], whole numbers
    seen = []
    for number, z_hat in enumerate(codes.tolist()):
        digits = [value + (n - 1) / 2 for value, n in zip(z_hat, levels, strict=True)]
        seen.append(1 + sum(digit * math.prod(levels[:j]) for j, digit in enumerate(digits)))
        assert seen[-1] == pytest.approx(number + 1)  # in the code, indices start at 0
    assert len({round(s) for s in seen}) == math.prod(levels)


# --- Sentences ----------------------------------------------------------------------------------


@statement(
    "discrete",
    "441 bits for $n = 49$ and $K = 512$",
    "当 $n = 49$ 、 $K = 512$ 时为 441 比特",
)
def bits_of_a_grid() -> None:
    assert 49 * math.log2(512) == 441


@statement("discrete", "Both sums have the same value.", "两个和式的值相同")
def both_losses_are_equal() -> None:
    first, second = codebook_losses(normal(2, N, D), normal(2, N, D, seed=1))
    assert first == second > 0


@statement(
    "discrete",
    "with 49 indices the bonus is 1.1375, with 20 real numbers it is 1.1745",
    "49 个索引的奖励系数是 1.1375，20 个实数的奖励系数是 1.1745",
)
def bonus_of_49_indices() -> None:
    assert (round(bonus(49), 4), round(bonus(20), 4)) == (1.1375, 1.1745)


# --- The solutions ------------------------------------------------------------------------------


@formula(
    "S6.1",
    r"\mathrm{KL}(q(s \mid x) \Vert p(s)) = \sum_s q(s \mid x) \log \frac{q(s \mid x)}{p(s)} = "
    r"1 \cdot \log \frac{1}{K^{-n}} = n \log K",
)
def one_term_of_the_sum() -> None:
    _, q = codes_of_an_image()
    uniform = K**-N
    terms = [t * math.log(t / uniform) if t > 0 else 0.0 for t in q.tolist()]
    assert sum(term != 0 for term in terms) == 1
    assert sum(terms) == math.log(1 / uniform) == pytest.approx(N * math.log(K))
    for t in (1e-6, 1e-12):  # the limit of the other terms
        assert abs(t * math.log(t / uniform)) < 1e-4


@formula(
    "S6.2",
    r"p_\psi(s \mid y) = \prod_{i=1}^n p_\psi(s_i \mid s_1, \dots, s_{i-1}, y)",
)
def product_of_the_factors() -> None:
    grids, prior = all_grids(), random_prior()
    y = torch.ones(len(grids), dtype=torch.long)
    with torch.no_grad():
        p = prior.log_prob(grids, y).double().exp()  # [K^N]
    assert p.sum().item() == pytest.approx(1, abs=1e-5)
    for i in range(N):  # the i-th factor, from the probabilities of whole grids
        for grid in all_grids(i + 1).unbind():
            starts = (grids[:, :i] == grid[:i]).all(dim=1)
            goes_on = starts & (grids[:, i] == grid[i])
            row = prior.logits(torch.nn.functional.pad(grid[None], (0, N - i - 1)), y[:1])[0, i]
            expected = row.softmax(dim=0)[grid[i]].item()
            assert (p[goes_on].sum() / p[starts].sum()).item() == pytest.approx(expected, rel=1e-4)


@formula(
    "S6.3",
    r"- \frac{1}{N} \sum_{k=1}^N \log p_\psi(s(x_k)) = - \sum_s q(s) \log p_\psi(s) = "
    r"- \sum_s q(s) \log q(s) + \mathrm{KL}(q \Vert p_\psi)",
)
def mean_over_the_training_images() -> None:
    log_p = normal(K).log_softmax(dim=0)  # grids of one index
    images = torch.tensor([0, 2, 2, 3, 2, 0, 3, 3])  # s(x_k); the grid 1 has no image
    q = torch.bincount(images, minlength=K) / len(images)
    mean = -log_p[images].mean()
    torch.testing.assert_close(mean, -(q * log_p).sum())
    entropy, kl = torch.special.entr(q).sum(), kl_divergence(Categorical(q), Categorical(logits=log_p))
    torch.testing.assert_close(mean, entropy + kl)
    assert mean > entropy  # reached by no other prior than q


@formula(
    "S6.4",
    r"\nabla_e \sum_{j=1}^m \Vert z_j - e \Vert^2 = 2 \sum_{j=1}^m (e - z_j) = 2 m (e - \bar z)",
)
def gradient_of_the_sum() -> None:
    z, e = normal(7, D), normal(D, seed=1).requires_grad_()
    (z - e).square().sum().backward()
    torch.testing.assert_close(e.grad, 2 * (e.detach() - z).sum(dim=0))
    torch.testing.assert_close(e.grad, 2 * 7 * (e.detach() - z.mean(dim=0)))


@formula(
    "S6.5",
    r"\sum_{j=1}^m \Vert z_j - e \Vert^2 = "
    r"\sum_{j=1}^m \Vert z_j - \bar z \Vert^2 + m \Vert \bar z - e \Vert^2",
)
def sum_around_the_mean() -> None:
    z, e = normal(7, D), normal(D, seed=1)
    mean = z.mean(dim=0)
    around = (z - mean).square().sum() + 7 * (mean - e).square().sum()
    torch.testing.assert_close((z - e).square().sum(), around)


@formula(
    "S6.6",
    r"e - \eta \cdot 2 m (e - \bar z) = (1 - 2 m \eta) e + 2 m \eta \bar z",
)
def a_step_towards_the_mean() -> None:
    z, e = normal(7, D), normal(D, seed=1)
    mean = z.mean(dim=0)
    for eta in (0.01, 1 / 14, 0.1):
        weight = torch.nn.Parameter(e.clone())
        (z - weight).square().sum().backward()
        torch.optim.SGD([weight], lr=eta).step()
        torch.testing.assert_close(weight.detach(), (1 - 14 * eta) * e + 14 * eta * mean)
    weight = e - 1 / 14 * 14 * (e - mean)
    torch.testing.assert_close(weight, mean)  # the step size 1 / (2 m)


@statement(
    "solutions",
    r"an update with decay $\gamma$ is a step of size $\eta = (1 - \gamma) / (2 m)$",
    r"衰减率为 $\gamma$ 的一次更新就是步长 $\eta = (1 - \gamma) / (2 m)$ 的一步",
)
def moving_average_is_a_step() -> None:
    """While the number of assigned vectors stays m, from batch to batch."""
    z, gamma = normal(7, 1, D).float(), 0.9
    quantizer = VectorQuantizer(1, D, decay=gamma, restart_below=0)
    e = normal(1, D, seed=1).float()
    quantizer.codebook.copy_(e), quantizer.counts.fill_(7.0), quantizer.sums.copy_(7 * e)
    quantizer.train()(z)
    eta = (1 - gamma) / (2 * 7)
    torch.testing.assert_close(quantizer.codebook, e - eta * 2 * 7 * (e - z.mean(dim=0)))
