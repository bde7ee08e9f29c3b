"""Several processes share a batch: each row counts once, and its noise is that of the whole batch."""

from __future__ import annotations

import pytest
import torch

from vaelab.distributed import WholeBatchNoise, World


@pytest.mark.parametrize("n", [1, 2, 3, 83, 128])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_each_row_counts_once_and_each_process_has_one(n: int, size: int) -> None:
    shares = [World(rank, size).rows(n) for rank in range(size)]
    counted = [list(range(n))[rows] for rows, count in shares if count]
    assert sum(counted, []) == list(range(n))
    assert [len(part) for part in counted] == [count for _, count in shares if count]
    assert all(0 <= rows.start < rows.stop <= n for rows, _ in shares)


DRAWS = {
    "randn": lambda n: torch.randn(n, 3),
    "a shape as a list": lambda n: torch.randn([n, 2, 4]),
    "rand with a size": lambda n: torch.rand(torch.empty(n, 28, 28).shape, dtype=torch.float64),
    "randn_like": lambda n: torch.randn_like(torch.empty(n, 20)),
    "rand_like in bfloat16": lambda n: torch.rand_like(torch.empty(n, 20, dtype=torch.bfloat16)),
    "repeated": lambda n: (
        torch.randn_like(torch.empty(n, 20).repeat(4, 1)).unflatten(0, (4, n)).transpose(0, 1)
    ),
}


@pytest.mark.parametrize("name", DRAWS)
def test_the_noise_of_some_rows_is_theirs_in_the_whole_batch(name: str) -> None:
    n, rows_of_two = 83, World(1, 2).rows(83)[0]
    torch.manual_seed(0)
    whole = DRAWS[name](n), torch.randn(5)
    torch.manual_seed(0)
    with WholeBatchNoise(n, rows_of_two):
        part = DRAWS[name](rows_of_two.stop - rows_of_two.start)
    assert torch.equal(part, whole[0][rows_of_two])
    assert torch.equal(torch.randn(5), whole[1])  # and what is drawn afterwards is the same
