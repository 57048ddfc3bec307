"""What the tests of the study of symmetry share."""

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def halves(*shape, seed=0):
    """Values of e5m10."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).half().float()
