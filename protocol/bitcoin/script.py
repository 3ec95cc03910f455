"""Script bytes: pushes, witness programs, and the addresses that name them."""

from __future__ import annotations

import base64
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


def _folded(top: int) -> int:
    """What the ten bits that two words push out at the top of a checksum fold back in."""
    check = top << 20
    for _ in range(2):
        out, check = check >> 25, (check & 0x1FFFFFF) << 5
        for bit, generator in enumerate(_GENERATOR):
            check ^= generator if out >> bit & 1 else 0
    return check


_FOLDED = [_folded(top) for top in range(1024)]
# a word is five bits in a byte of its own: to and from letters, from the digits of base32 (RFC
# 4648), and to those that Python's own reader of numbers takes
_NO_WORD, _FIVE_BITS = 255, bytes(range(32))
_LETTERS = bytes.maketrans(_FIVE_BITS, _CHARSET.encode())
_WORDS = bytes(_CHARSET.find(chr(code)) % 256 for code in range(256))
_FROM_BASE32 = bytes.maketrans((string.ascii_uppercase + "234567").encode(), _FIVE_BITS)
_DIGITS = bytes.maketrans(_FIVE_BITS, (string.digits + string.ascii_lowercase[:22]).encode())


def _polymod(words: bytes) -> int:
    check = 1
    if len(words) % 2:
        check, words = check << 5 ^ words[0], words[1:]
    for first, second in zip(words[::2], words[1::2], strict=True):
        check = (check & 0xFFFFF) << 10 ^ first << 5 ^ second ^ _FOLDED[check >> 20]
    return check


def _expand(hrp: str) -> bytes:
    code = hrp.encode()
    return bytes([*(char >> 5 for char in code), 0, *(char & 31 for char in code)])


def bech32_encode(hrp: str, words: bytes, constant: int = BECH32) -> str:
    """`words` of five bits each; `constant` is that of bech32 or bech32m (BIP 350)."""
    check = _polymod(_expand(hrp) + words + bytes(6)) ^ constant
    checksum = bytes(check >> shift & 31 for shift in range(25, -5, -5))
    return f"{hrp}1{(words + checksum).translate(_LETTERS).decode()}"


def bech32_decode(text: str) -> tuple[str, bytes, int] | None:
    """-> (hrp, words without the checksum, which constant), or None."""
    if not text.isascii() or text.lower() != text and text.upper() != text:
        return None
    hrp, found, data = text.lower().rpartition("1")
    words = data.encode().translate(_WORDS)
    if not found or not hrp or len(words) < 6 or _NO_WORD in words:
        return None
    if any(not 33 <= ord(char) <= 126 for char in hrp):
        return None
    constant = _polymod(_expand(hrp) + words)
    return (hrp, words[:-6], constant) if constant in (BECH32, BECH32M) else None


def to_words(data: bytes) -> bytes:
    """8-bit groups to 5-bit groups, padded with zero bits."""
    return base64.b32encode(data).rstrip(b"=").translate(_FROM_BASE32)


def words_number(words: bytes) -> int:
    """5-bit groups as one number."""
    return int(words.translate(_DIGITS), 32) if words else 0


def from_words(words: bytes, *, strict: bool = True) -> bytes | None:
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
    return bech32_encode(HRP[network], bytes([version]) + to_words(script[2:]), constant)


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
