"""Data sets are the published ones or an error that says how to get them; training is reproducible."""

import gzip

import pytest
import torch

from sim import data
from sim.data import DataError, digits_folds, fashion_mnist, find_fashion_mnist
from sim.models import conv_net, mlp, train, trained


def test_each_digit_is_tested_once():
    folds = digits_folds()
    assert sum(len(fold.test_labels) for fold in folds) == 1797
    for fold in folds:
        assert len(fold.train_labels) + len(fold.test_labels) == 1797
        assert fold.train_images.shape[1:] == (1, 8, 8)
        tested = {image.numpy().tobytes() for image in fold.test_images}
        assert not tested & {image.numpy().tobytes() for image in fold.train_images}


@pytest.mark.skipif(find_fashion_mnist() is None, reason="no data set: Fashion-MNIST is not on this machine")
def test_fashion_mnist_is_the_published_one():
    images = fashion_mnist(train=100, test=50, download=False)
    assert images.train_images.shape == (100, 1, 28, 28)
    assert images.test_labels.tolist()[:5] == [9, 2, 1, 1, 6]
    assert float(images.train_images.max()) == 1.0


def test_without_fashion_mnist_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(data, "find_fashion_mnist", lambda: None)
    with pytest.raises(DataError, match="not on this machine; install Debian's dataset-fashion-mnist"):
        fashion_mnist(train=10, test=10, download=False)


def test_another_file_of_the_same_name_is_refused(tmp_path, monkeypatch):
    for name in data._FASHION_FILES:
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(b"something else"))
    monkeypatch.setenv("FASHION_MNIST_DIR", str(tmp_path))
    assert find_fashion_mnist() == tmp_path
    with pytest.raises(DataError, match="is not the published train-images-idx3-ubyte"):
        fashion_mnist(train=10, test=10, download=False)


def test_a_damaged_file_is_refused(tmp_path, monkeypatch):
    for name in data._FASHION_FILES:
        (tmp_path / f"{name}.gz").write_bytes(b"<html>not found</html>")
    monkeypatch.setenv("FASHION_MNIST_DIR", str(tmp_path))
    with pytest.raises(DataError, match="cannot be unpacked"):
        fashion_mnist(train=10, test=10, download=False)


def test_an_incomplete_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("FASHION_MNIST_DIR", str(tmp_path))
    with pytest.raises(DataError, match="has not all of train-images-idx3-ubyte"):
        find_fashion_mnist()


def test_the_seed_decides_the_weights(tmp_path, monkeypatch):
    monkeypatch.setattr("sim.models.BUILD", tmp_path)
    fold = digits_folds()[0]
    first = train(mlp, fold, epochs=1, seed=5).state_dict()
    kept = [trained(mlp, fold, epochs=1, seed=5).state_dict() for _ in range(2)]  # trained, then read back
    other = train(mlp, fold, epochs=1, seed=6).state_dict()
    assert len(list(tmp_path.rglob("*.pt"))) == 1
    for name, weights in first.items():
        assert torch.equal(weights, kept[0][name])
        assert torch.equal(weights, kept[1][name])
        assert not torch.equal(weights, other[name])


def test_the_convolutional_network_takes_28_by_28():
    assert conv_net().eval()(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
