"""Mutants that no vector can tell from the original and that are not proved equal, with the reason why."""

__all__ = ["EXPLAINED"]

#: (module, mutation) -> why nothing notices it.
EXPLAINED: dict[tuple[str, str], str] = {
    ("hw.random_words", "ColumnHalves.elaborate: 1 -> 2"): (
        "the counter has a bit more, which stays 0: it stops at the largest number that it counts to"
    ),
    ("hw.adder", "Aligner.__init__: 1 -> 2 (2)"): "the flag has a second bit, which is always 0",
    ("hw.multiplier", "NormalMultiplier.__init__: 1 -> 2"): "the flag has a second bit, which is always 0",
    ("hw.column", "load_layout: 1 -> 2"): "the flag has a second bit, which is always 0",
    ("hw.column", "token_layout: 1 -> 2 (7)"): "a field of the token has a second bit, which is always 0",
    ("hw.column", "token_layout: 1 -> 2 (2)"): "a field of the token has a second bit, which is always 0",
}
