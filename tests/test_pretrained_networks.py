"""Pretrained networks compute what their authors' do, and every product of theirs can be replaced."""

import csv
import hashlib
import io
import json

import numpy as np
import pytest
import safetensors.torch
import torch
from scipy.stats import spearmanr
from torch.nn import functional

from golden.catalog import find
from sim.backends import find_backend
from sim.benchmark_data import cifar10_jpeg, find_data_file, read_data_file, sts_benchmark
from sim.inject import ProductMode, accumulate
from sim.networks.minilm import PRODUCTS_PER_LAYER, MiniLm, find_minilm, pretrained_minilm
from sim.networks.resnet import ResNet, pretrained_resnet
from sim.networks.wordpiece import WordPiece
from sim.operands import LayerConfig, fit_operands, quantize_operand
from sim.zero_shot.benchmarks import SentenceBenchmark
from sim.zero_shot.rows import ROWS, operands_are_fitted

#: Whole products are too many for the golden model: so much of an image, and so many rows, are compared.
_SIDE, _ROWS = 5, 3

needs_images = pytest.mark.skipif(
    any(find_data_file(f"{name}") is None for name in ("cifar10-jpeg.npz", "resnet20-cifar10.safetensors")),
    reason="no data set: the JPEG copy of CIFAR-10 or the networks' weights are not on this machine",
)
needs_sentences = pytest.mark.skipif(
    find_minilm() is None or find_data_file("stsb-en-test.csv") is None,
    reason="no data set: MiniLM's package or the STS benchmark is not on this machine",
)


class Recorder(ProductMode):
    """Computes products in float and keeps them."""

    def __init__(self):
        super().__init__(strict=True)
        self.products = []

    def compute(self, product):
        self.products.append(product)
        if product.geometry is None:
            return product.x @ product.w
        g = product.geometry
        return torch.conv2d(product.x, product.w, None, g.stride, g.padding, g.dilation, g.groups)


def recorded(model, inputs):
    with torch.no_grad(), Recorder() as recorder:
        model(inputs)
    return recorder.products


def plain_resnet(weights, images):
    """The network as He et al. describe it, option A, written on functional alone."""

    def norm(x, name):
        parts = (weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return functional.batch_norm(x, *parts)

    x = functional.relu(norm(functional.conv2d(images, weights["conv1.weight"], padding=1), "bn1"))
    blocks = sorted({tuple(name.split(".")[:2]) for name in weights if name.startswith("layer")})
    blocks.sort(key=lambda block: (block[0], int(block[1])))
    for stage, i in blocks:
        first = weights[f"{stage}.{i}.conv1.weight"]
        stride = len(first) // first.shape[1]
        y = functional.relu(norm(functional.conv2d(x, first, stride=stride, padding=1), f"{stage}.{i}.bn1"))
        y = norm(functional.conv2d(y, weights[f"{stage}.{i}.conv2.weight"], padding=1), f"{stage}.{i}.bn2")
        shortcut = torch.zeros_like(y)
        outside = (y.shape[1] - x.shape[1]) // 2
        shortcut[:, outside : outside + x.shape[1]] = x[:, :, ::stride, ::stride]
        x = functional.relu(y + shortcut)
    return functional.linear(
        functional.avg_pool2d(x, 8).flatten(1), weights["linear.weight"], weights["linear.bias"]
    )


@needs_images
@pytest.mark.parametrize("depth", [20, 56])
def test_the_baseline_is_that_of_a_plain_reference(depth):
    images, labels = cifar10_jpeg(test=True, count=500)
    weights = safetensors.torch.load(read_data_file(f"resnet{depth}-cifar10.safetensors", download=False))
    with torch.no_grad():
        wanted = (plain_resnet(weights, images).argmax(1) == labels).sum()
        model = pretrained_resnet(depth)
        assert (model(images).argmax(1) == labels).sum() == wanted
        assert (model.fold_batch_norm()(images).argmax(1) == labels).sum() == wanted
    assert wanted > 0.75 * len(labels)


def test_batch_norm_is_folded():
    torch.manual_seed(0)
    model = ResNet(20)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for part in (module.weight, module.running_var):
                torch.nn.init.uniform_(part, 0.5, 1.5)
            for part in (module.bias, module.running_mean):
                torch.nn.init.uniform_(part, -1, 1)
    model.eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        wanted = model(images)
        got = model.fold_batch_norm()(images)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("depth", [20, 56])
def test_every_layer_of_a_resnet_is_a_product(depth):
    products = recorded(ResNet(depth).eval(), torch.randn(1, 3, 32, 32))
    assert len(products) == depth
    assert [each.geometry is None for each in products] == [False] * (depth - 1) + [True]


def slice_of(product):
    """A corner of the first image, or the first rows, of the same layer."""
    if product.geometry is None:
        return product.x[:_ROWS], product.w
    return product.x[:1, :, :_SIDE, :_SIDE], product.w


def fitted(name, x, w):
    """The arithmetic of a row for these tensors, as named."""
    config = ROWS[name].config if name in ROWS else find(name)
    if not operands_are_fitted(config):
        return LayerConfig(config=config, x_scale=1.0, w_scale=1.0, length=None)
    return fit_operands(config, float(x.abs().max()), float(w.abs().max()), int_bits=8, length=None)


@needs_images
@pytest.mark.parametrize("name", ["float12", "float8-rne", "fixed12", "int12-wrap", "exact", "f32-e5m7"])
def test_every_layer_is_golden_s_on_a_slice(name):
    """On the real weights and activations of ResNet-20."""
    images, _ = cifar10_jpeg(test=True, count=1)
    for product in recorded(pretrained_resnet(20).fold_batch_norm(), images):
        x, w = slice_of(product)
        layer = fitted(name, x, w)
        x = quantize_operand(x, layer.config.x, layer.x_scale)
        w = quantize_operand(w, layer.config.w, layer.w_scale)
        w = w[:4] if product.geometry is not None else w[:, :4]
        operation = "matmul" if product.geometry is None else "conv2d"
        geometry = () if product.geometry is None else (product.geometry,)
        got, wanted = (
            getattr(find_backend(backend), operation)(x, w, layer.config, *geometry)
            for backend in ("cpu", "golden")
        )
        assert torch.equal(got.double(), wanted), (name, list(product.w.shape))


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "naive", "cafe", "un", "##aff", "##able", ",", "!", "東", "a"]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Naïve, CAFÉ!", ["naive", ",", "cafe", "!"]),
        ("unaffable", ["un", "##aff", "##able"]),
        ("unaffables", ["[UNK]"]),
        ("a東a", ["a", "東", "a"]),
        ("c\0a\ufffdf\u0301e\ta", ["cafe", "a"]),
        ("a" * 101, ["[UNK]"]),
        ("", []),
    ],
)
def test_pieces_of_words(text, pieces):
    tokens = WordPiece(WORDS).tokens(text, longest=10)
    assert [WORDS[token] for token in tokens] == ["[CLS]", *pieces, "[SEP]"]


def test_long_texts_are_cut():
    tokens = WordPiece(WORDS).tokens("a " * 20, longest=10)
    assert len(tokens) == 10 and WORDS[tokens[-1]] == "[SEP]"


@needs_sentences
def test_tokens_of_the_benchmark_are_those_of_the_reference_tokenizer():
    """Their digest as the library tokenizers 0.23.3 gives them from the published tokenizer.json."""
    model = pretrained_minilm()
    tokens = [
        [model.tokens(s) for s in pair] for pair in sts_benchmark(test=True, count=None, download=False).pairs
    ]
    digest = hashlib.sha256(json.dumps(tokens).encode()).hexdigest()
    assert digest == "433134cded0a5095adbc7f3cce43f050c8de2dee9e88596e27097f1d77745ced"


def plain_minilm(weights, tokens, mask):
    """BERT on padded sentences, by torch's own attention."""

    def linear(x, name):
        return functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(x, name):
        return functional.layer_norm(x, (384,), weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-12)

    parts = {
        name: weights[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type")
    }
    x = parts["word"][tokens] + parts["position"][: tokens.shape[1]] + parts["token_type"][0]
    x = norm(x, "embeddings.LayerNorm")
    for i in range(6):
        at = f"encoder.layer.{i}"
        q, k, v = (
            linear(x, f"{at}.attention.self.{name}").view(*tokens.shape, 12, 32).transpose(1, 2)
            for name in ("query", "key", "value")
        )
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
        y = linear(y.transpose(1, 2).reshape(*tokens.shape, 384), f"{at}.attention.output.dense")
        x = norm(x + y, f"{at}.attention.output.LayerNorm")
        y = linear(functional.gelu(linear(x, f"{at}.intermediate.dense")), f"{at}.output.dense")
        x = norm(x + y, f"{at}.output.LayerNorm")
    return functional.normalize((x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True), dim=1)


@needs_sentences
def test_sentences_become_what_a_plain_reference_makes_of_them():
    model = pretrained_minilm()
    weights = safetensors.torch.load_file(find_minilm() / "model.safetensors")
    sentences = [s for pair in sts_benchmark(test=True, count=20, download=False).pairs for s in pair]
    tokens = [model.tokens(sentence) for sentence in sentences]
    longest = max(map(len, tokens))
    padded = torch.tensor([each + [0] * (longest - len(each)) for each in tokens])
    with torch.no_grad():
        wanted = plain_minilm(weights, padded, padded != 0)
        got = torch.cat([model(torch.tensor([each])) for each in tokens])
    torch.testing.assert_close(got, wanted, rtol=0, atol=2e-6)


@needs_sentences
def test_the_baseline_of_the_sts_benchmark():
    benchmark = SentenceBenchmark(count=None, seed=0)
    outputs = benchmark.outputs(benchmark.batches)
    assert benchmark.n == 1379
    assert round(benchmark.score(outputs), 4) == 0.8203
    rows = list(csv.reader(io.StringIO(read_data_file("stsb-en-test.csv", download=False).decode())))
    people = np.array([float(row[2]) for row in rows])
    similarities = benchmark.test.similarities(outputs)
    assert benchmark.score(outputs) == pytest.approx(spearmanr(similarities, people).statistic, abs=1e-12)


def test_every_product_of_minilm_passes_through_the_accumulator():
    torch.manual_seed(0)
    model = MiniLm(WORDS).eval()
    length, sentences = 7, 2
    tokens = torch.randint(4, 13, (sentences, length))
    products = recorded(model, tokens)
    each = [384, 384, 384, 32, length, 384, 384, 1536]  # Q, K, V, Q·Kᵀ, P·V, output, up, down
    assert len(each) == PRODUCTS_PER_LAYER
    assert [product.length for product in products] == 6 * each
    attention = [product for product in products if product.w.ndim == 3]
    assert [product.x.shape[0] for product in attention] == [sentences * 12] * 12
    with torch.no_grad(), accumulate(find("exact"), strict=True) as mode:
        model(tokens)
    assert mode.calls == 6 * PRODUCTS_PER_LAYER and not mode.unreplaced


def test_the_reference_computation_of_attention_is_caught_too():
    """Were attention written with torch's fused operator, both of its products would still be replaced."""
    x = torch.randn(1, 2, 5, 8)
    with torch.no_grad(), accumulate(find("exact")) as mode:
        functional.scaled_dot_product_attention(x, x, x)
    assert mode.calls == 2
