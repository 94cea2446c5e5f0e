"""A fit on what PyTorch's data loaders bring."""

import numpy as np
import pytest

import fastnn

torch = pytest.importorskip("torch", reason="a data loader of PyTorch, which is not installed")


def test_a_data_loader_gives_the_bits_of_its_arrays():
    random = np.random.default_rng(0)
    x, y = random.random((70, 5), np.float32), random.integers(0, 3, 70)
    data = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    nets = [fastnn.mlp([5, 8, 3]) for _ in range(2)]
    options = {"epochs": 2, "optimizer": fastnn.SGD(fastnn.Cosine(0.1)), "verbose": 0}
    nets[0].fit(torch.utils.data.DataLoader(data, batch_size=16), **options)
    nets[1].fit(x, y, batch_size=16, shuffle=False, **options)
    assert nets[0].program.parameters.tobytes() == nets[1].program.parameters.tobytes()
