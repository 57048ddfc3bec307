"""The register map of a tile as JSON, as a C header and as Markdown, all from the one table."""

from __future__ import annotations

from collections.abc import Iterable

from golden.random_words import K_STEP
from golden.tile import TileConfig
from hw.registers import MAGIC, VERSION, Access, Field, Register, key_names, register_map

__all__ = ["register_header", "register_json", "register_markdown", "register_table"]

_ACCESS = {
    Access.READ: "read",
    Access.WRITE: "read, write",
    Access.CLEAR: "read, write 1 to clear",
    Access.PULSE: "write 1 to act",
    Access.PUSH: "write",
    Access.REWIND: "read, write 0",
}


def register_json(config: TileConfig) -> dict:
    """The content of NAME_registers.json."""
    return {
        "name": config.name,
        "version": VERSION,
        "word_bits": 32,
        "registers": [
            {
                "name": register.name,
                "address": register.address,
                "meaning": register.meaning,
                "locked_while_busy": register.locked,
                "fields": [
                    {
                        "name": field.name,
                        "lsb": field.lsb,
                        "width": field.width,
                        "signed": field.signed,
                        "access": field.access.value,
                        "constant": field.constant,
                        "meaning": field.meaning,
                    }
                    for field in register.fields
                ],
            }
            for register in register_map(config)
        ],
    }


def register_header(config: TileConfig, offsets: dict[str, dict]) -> str:
    """The text of NAME_registers.h: C99, addresses in bytes, masks in place.

    ``offsets`` are those of :func:`hw.tile_manifest.tile_offsets`: what the offset registers are loaded with.
    """
    registers = register_map(config)
    (name_hash,) = (register.fields[0].constant for register in registers if register.name == "NAME_HASH")
    lines = [
        f"/* Registers of {config.name}.",
        "   An address is an offset in bytes; a MASK is in place, LSB is where it begins. A signed register",
        "   takes and gives its number sign-extended to 32 bits, so it has no mask. LOAD is what an offset",
        "   register gets for the biases that the tile was generated with. */",
        "#ifndef FMAQ_TILE_REGISTERS_H",
        "#define FMAQ_TILE_REGISTERS_H",
        "",
        "#include <stdint.h>",
        "",
        f"#define FMAQ_MAGIC_VALUE {_hex(MAGIC)}",
        f"#define FMAQ_VERSION_VALUE {VERSION}u",
    ]
    for register in registers:
        lines += [
            "",
            f"/* {register.meaning} */",
            f"#define FMAQ_{register.name} {_hex(register.address, 3)}",
        ]
        for field in register.fields:
            lines += _field_macros(register, field)
        if register.name in offsets:
            entry = offsets[register.name]
            lines.append(
                f"#define FMAQ_{register.name}_LOAD ((uint32_t)INT32_C({entry['load']})) "
                f"/* {entry['low']} to {entry['high']} make a difference */"
            )
    if key_names(config):
        lines += ["", _KEYS]
    other = [
        f"#elif FMAQ_NAME_HASH_VALUE != {_hex(name_hash)}",
        '#error "the registers of another tile are included already; a source file talks to one tile"',
    ]
    return "\n".join([*lines, "", *other, "#endif", ""])


def _field_macros(register: Register, field: Field) -> list[str]:
    name = f"FMAQ_{register.name}" + ("" if field.name == "value" else f"_{field.name.upper()}")
    comment = "" if field.name == "value" else f" /* {field.meaning} */"
    if field.signed:
        return [f"#define {name}_BITS {field.width}u{comment}"]
    lines = [
        f"#define {name}_LSB {field.lsb}u{comment}",
        f"#define {name}_MASK {_hex((2**field.width - 1) << field.lsb)}",
    ]
    if field.constant is not None and register.name not in ("MAGIC", "VERSION"):
        lines.append(f"#define {name}_VALUE {_hex(field.constant)}")
    return lines


def _hex(number: int, digits: int = 8) -> str:
    return f"0x{number:0{digits}x}u"


#: For the key registers; the contract has the words that it makes.
_KEYS = f"""\
/* Random words: what to write to the key registers. stage is 0 for the product, 1 for the inner, 2 for the
   outer accumulator; side is 0 for rows, 1 for columns. The half word of row m at position k is
   fmaq_half(key of side 0, m, k), that of column n fmaq_half(key of side 1, n, k); the word is the highest
   bits of their exclusive or. */
static inline uint32_t fmaq_mix(uint32_t a)
{{
  a = (a + 0x7ed55d16u) + (a << 12);
  a = (a ^ 0xc761c23cu) ^ (a >> 19);
  a = (a + 0x165667b1u) + (a << 5);
  a = (a + 0xd3a2646cu) ^ (a << 9);
  a = (a + 0xfd7046c5u) + (a << 3);
  return (a ^ 0xb55a4f09u) ^ (a >> 16);
}}

static inline uint32_t fmaq_key(uint64_t seed, uint32_t call, uint32_t stage, uint32_t side)
{{
  uint32_t whole = fmaq_mix(fmaq_mix((uint32_t)seed) ^ (uint32_t)(seed >> 32));
  return fmaq_mix(fmaq_mix(whole ^ call) ^ (2u * stage + side));
}}

static inline uint32_t fmaq_half(uint32_t key, uint32_t line, uint32_t k)
{{
  return fmaq_mix(fmaq_mix(key ^ line) ^ (k * {_hex(K_STEP)}));
}}"""


def register_markdown(config: TileConfig, offsets: dict[str, dict]) -> str:
    """The text of NAME_registers.md; ``offsets`` as for :func:`register_header`."""
    loads = "".join(
        f"| {name} | {entry['load']} | {entry['low']} to {entry['high']} |\n"
        for name, entry in offsets.items()
    )
    loads = loads and (
        "\n## Offsets\n\n"
        "What the offset registers get for the biases that the tile was generated with; they start at 0.\n"
        "Beyond the range nothing changes any more: software clamps to it.\n\n"
        f"| register | load | range |\n| --- | ---: | --- |\n{loads}"
    )
    return (
        f"# Registers of `{config.name}`\n\n"
        "32-bit words behind AXI4-Lite. Addresses are offsets in bytes. A signed register takes and gives\n"
        "its number sign-extended to 32 bits. What a register of the build configuration reads as stands in\n"
        "its last column.\n\n" + register_table(register_map(config), constants=True) + loads
    )


def register_table(registers: Iterable[Register], *, constants: bool) -> str:
    """A row for each register, and one for each field of those that have several.

    With ``constants`` a last column says what the registers of the build configuration read as. Without,
    fields that another register has, too, are not repeated.
    """
    described: dict[tuple, str] = {}
    head = ["address", "register", "bits", "access", "meaning"] + (["reads as"] if constants else [])
    rows = [head, ["---"] * len(head)]
    for register in registers:
        address = f"{register.address:#05x}"
        alone = register.fields[0].name == "value"
        locked = " (not while busy)" if register.locked else ""
        if not alone:
            fields = tuple((field.name, field.lsb, field.width, field.meaning) for field in register.fields)
            first = described.setdefault(fields, register.name)
            known = "" if constants or first == register.name else f"; fields as of {first}"
            rows.append([address, f"**{register.name}**", "", "", register.meaning + locked + known, ""])
            if known:
                continue
        for field in register.fields:
            top = field.lsb + field.width - 1
            rows.append(
                [
                    address if alone else "",
                    f"**{register.name}**" if alone else f".{field.name}",
                    f"{top}" if field.width == 1 else f"{top}:{field.lsb}",
                    _ACCESS[field.access] + (", signed" if field.signed else ""),
                    field.meaning + (locked if alone else ""),
                    _constant(field),
                ]
            )
    return "".join(f"| {' | '.join(row[: len(head)])} |\n" for row in rows)


def _constant(field: Field) -> str:
    if field.constant is None:
        return ""
    return (
        f"{field.constant:#010x}" if field.name == "value" and field.constant >> 16 else str(field.constant)
    )
