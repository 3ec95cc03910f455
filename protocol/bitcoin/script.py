"""Script bytes: pushes, witness programs, and the addresses that name them."""

from __future__ import annotations

import functools
import operator
import string

from protocol.crypto.hashes import hash160, sha256

P2A = bytes.fromhex("51024e73")


def push(data: bytes) -> bytes:
    """A push of up to 75 bytes."""
    if len(data) < 0x4C:
        return bytes([len(data)]) + data
    if len(data) < 0x100:
        return b"\x4c" + bytes([len(data)]) + data
    return b"\x4d" + len(data).to_bytes(2, "little") + data


def number(value: int) -> bytes:
    """A minimal push of a small positive number."""
    if value == 0:
        return b"\x00"
    if value <= 16:
        return bytes([0x50 + value])
    return push(value.to_bytes(value.bit_length() // 8 + 1, "little"))


def p2wsh(witness_script: bytes) -> bytes:
    """The output script that pays to this witness script."""
    return b"\x00\x20" + sha256(witness_script)


def p2wpkh(public_key: bytes) -> bytes:
    """The output script that pays to this key (33 bytes)."""
    return b"\x00\x14" + hash160(public_key)


def is_witness_program(script: bytes) -> bool:
    """Versions 0 to 16, 2 to 40 bytes (BIP 141)."""
    return (
        4 <= len(script) <= 42
        and (script[0] == 0 or 0x51 <= script[0] <= 0x60)
        and script[1] == len(script) - 2
    )


def dust_limit_sat(script: bytes) -> int:
    """BOLT 3, Dust Limits: the smallest output that relays."""
    if script[:1] == b"\x6a":
        return 0
    if is_witness_program(script):
        known = {(0, 22): 294, (0, 34): 330}.get((script[0], len(script)))
        if known is not None:
            return known
        return 3 * (9 + len(script) + 67) if script[0] == 0x51 else 354
    return 540 if len(script) == 23 else 546


def _is_op_return(script: bytes) -> bool:
    """OP_RETURN and one push of 6 to 80 bytes."""
    short = 8 <= len(script) <= 77 and script[1] == len(script) - 2
    long = 79 <= len(script) <= 83 and script[1] == 0x4C and script[2] == len(script) - 3
    return script[:1] == b"\x6a" and (short or long)


def is_standard_shutdown(script: bytes, *, any_segwit: bool, returns: bool = False) -> bool:
    """BOLT 2, Closing Initiation: the forms that a `shutdown` may carry."""
    version_zero = script[:1] == b"\x00" and is_witness_program(script) and len(script) in (22, 34)
    later = any_segwit and is_witness_program(script) and script[0] != 0
    return version_zero or later or returns and _is_op_return(script)


# ---- addresses (BIP 173, BIP 350) -------------------------------------------------------------

_CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
BECH32, BECH32M = 1, 0x2BC830A3
HRP = {"bitcoin": "bc", "testnet": "tb", "signet": "tb", "regtest": "bcrt"}


# what each five bits that fall out at the top fold back in
_FOLDED = [
    functools.reduce(operator.xor, (g for bit, g in enumerate(_GENERATOR) if top >> bit & 1), 0)
    for top in range(32)
]
_VALUES = {char: value for value, char in enumerate(_CHARSET)}
# five bits to the digit that Python's own reader of numbers takes for them
_DIGITS = bytes.maketrans(bytes(range(32)), (string.digits + string.ascii_lowercase[:22]).encode())


def _polymod(values: list[int]) -> int:
    check = 1
    for value in values:
        check = (check & 0x1FFFFFF) << 5 ^ value ^ _FOLDED[check >> 25]
    return check


def _expand(hrp: str) -> list[int]:
    return [ord(char) >> 5 for char in hrp] + [0] + [ord(char) & 31 for char in hrp]


def bech32_encode(hrp: str, words: list[int], constant: int = BECH32) -> str:
    """`words` of five bits each; `constant` is that of bech32 or bech32m (BIP 350)."""
    check = _polymod(_expand(hrp) + words + [0] * 6) ^ constant
    return (
        hrp
        + "1"
        + "".join(_CHARSET[word] for word in words)
        + "".join(_CHARSET[check >> 5 * (5 - i) & 31] for i in range(6))
    )


def bech32_decode(text: str) -> tuple[str, list[int], int] | None:
    """-> (hrp, words without the checksum, which constant), or None."""
    if text.lower() != text and text.upper() != text:
        return None
    text = text.lower()
    hrp, found, data = text.rpartition("1")
    if not found or not hrp or len(data) < 6 or not _VALUES.keys() >= set(data):
        return None
    if any(not 33 <= ord(char) <= 126 for char in hrp):
        return None
    words = [_VALUES[char] for char in data]
    constant = _polymod(_expand(hrp) + words)
    return (hrp, words[:-6], constant) if constant in (BECH32, BECH32M) else None


def to_words(data: bytes) -> list[int]:
    """8-bit groups to 5-bit groups, padded with zero bits."""
    bits = len(data) * 8
    padded = (bits + 4) // 5 * 5
    value = int.from_bytes(data, "big") << padded - bits
    return [value >> shift & 31 for shift in range(padded - 5, -5, -5)] if data else []


def words_number(words: list[int]) -> int:
    """5-bit groups as one number."""
    return int(bytes(words).translate(_DIGITS), 32) if words else 0


def from_words(words: list[int], *, strict: bool = True) -> bytes | None:
    """5-bit groups to bytes; None when `strict` and the padding is not all zero and short."""
    bits = len(words) * 5
    value = words_number(words)
    extra = bits % 8
    if strict and (extra >= 5 or value & (1 << extra) - 1):
        return None
    return (value >> extra).to_bytes(bits // 8, "big")


def to_address(script: bytes, network: str) -> str | None:
    """The segwit address of a witness program, else None."""
    if not is_witness_program(script):
        return None
    version = script[0] - 0x50 if script[0] else 0
    constant = BECH32M if version else BECH32
    return bech32_encode(HRP[network], [version, *to_words(script[2:])], constant)


def from_address(address: str, network: str) -> bytes | None:
    """The witness program of a segwit address of this network, else None."""
    decoded = bech32_decode(address)
    if decoded is None or len(address) > 90:
        return None
    hrp, words, constant = decoded
    if hrp != HRP[network] or not words or words[0] > 16:
        return None
    program = from_words(words[1:])
    if program is None or not 2 <= len(program) <= 40:
        return None
    if words[0] == 0 and len(program) not in (20, 32):
        return None
    if constant != (BECH32M if words[0] else BECH32):
        return None
    return bytes([words[0] + 0x50 if words[0] else 0]) + push(program)
