"""Which layer has which configuration, as a TOML file of patterns::

    # The last pattern that a layer's name matches decides.
    "*" = "fixed10"
    "layer3.*" = "fixed12"
    "linear" = "e3m4_e3m4_p_e4m7b12_rz_a_e4m7b10_rz_c16"

Keys are shell patterns of layer names (``*``, ``?``, ``[...]``; a star goes past points), values names of
configurations. General patterns come first and exceptions after them, as in a .gitignore.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from golden.config import ConfigError, MacConfig
from sim.layers import named_config

__all__ = ["LayerPatterns", "toml_text"]


@dataclass(frozen=True)
class LayerPatterns:
    """Configurations by patterns of layer names, in the order in which they are written."""

    entries: tuple[tuple[str, MacConfig], ...]

    @classmethod
    def of(cls, mapping: Mapping[str, str | MacConfig]) -> LayerPatterns:
        """From patterns and configurations, or their names.

        Raises :class:`ConfigError` for a mapping of no patterns, and for what names no configuration.
        """
        if not mapping:
            raise ConfigError('there is no pattern; write one for all layers, such as "*" = "float12"')
        entries = []
        for pattern, value in mapping.items():
            if isinstance(value, Mapping):
                raise ConfigError(
                    f"{pattern} is a table; put the whole name into quotes, as in "
                    f'"{pattern}.{next(iter(value), "*")}" = "float12"'
                )
            if not isinstance(value, str | MacConfig):
                raise ConfigError(
                    f'"{pattern}" has {value!r}, which names no configuration; write a name in quotes, '
                    'such as "float12"'
                )
            config = value if isinstance(value, MacConfig) else named_config(value)
            entries.append((pattern, config))
        return cls(tuple(entries))

    @classmethod
    def read(cls, path: Path | str) -> LayerPatterns:
        """From a TOML file. Raises :class:`ConfigError` where it is none."""
        try:
            mapping = tomllib.loads(Path(path).read_text())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(
                f'{path} is not TOML ({error}); write lines such as "layer3.*" = "float12", each pattern once'
            ) from error
        except OSError as error:
            raise ConfigError(f"{path} cannot be read ({error.strerror}); name a TOML file") from error
        try:
            return cls.of(mapping)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error

    def config_of(self, layer: str) -> MacConfig:
        """The configuration of a layer: that of the last pattern which its name matches."""
        for pattern, config in reversed(self.entries):
            if fnmatchcase(layer, pattern):
                return config
        raise ConfigError(
            f"no pattern matches the layer {layer!r}; add a line for it, or one for all others at the top: "
            '"*" = "float12"'
        )

    def check(self, layers: Iterable[str]) -> None:
        """Raise :class:`ConfigError` where a pattern matches no layer, or a layer no pattern."""
        layers = list(layers)
        for pattern, _ in self.entries:
            if not any(fnmatchcase(layer, pattern) for layer in layers):
                near = difflib.get_close_matches(pattern, layers, n=3)
                hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(layers)}"
                raise ConfigError(f"the pattern {pattern!r} matches no layer of this model; {hint}")
        for layer in layers:
            self.config_of(layer)


def toml_text(configs: Mapping[str, str], comment: str) -> str:
    """A file for :meth:`LayerPatterns.read`: one line a layer, after the comment."""
    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    for layer, name in configs.items():
        escaped = "".join(f"[{c}]" if c in "*?[" else c for c in layer)
        lines.append(f'"{escaped}" = "{name}"')
    return "\n".join(lines) + "\n"
