"""BOLT 11: invoices as text and as values."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from protocol import features
from protocol.bitcoin import script
from protocol.crypto import secp
from protocol.crypto.hashes import sha256
from protocol.errors import Malformed, ProtocolError
from protocol.values import Value

HRP = {"bitcoin": "lnbc", "testnet": "lntb", "signet": "lntbs", "regtest": "lnbcrt"}
_MULTIPLIER = {"": 10**11, "m": 10**8, "u": 10**5, "n": 10**2}
DEFAULT_EXPIRY_SECONDS, DEFAULT_FINAL_CLTV = 3600, 18
MAX_LENGTH = 7089  # what fits into one QR code
MAX_MSAT = 21_000_000 * 100_000_000 * 1000
MAX_CLTV, MAX_EXPIRY_SECONDS = 1 << 16, 1 << 32
_CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


class RouteHop(Value, frozen=True, kw_only=True, tag="route_hop"):
    """One hop of a private route ("r" field)."""

    node_id: bytes
    short_channel_id: bytes
    fee_base_msat: int
    fee_proportional_millionths: int
    cltv_expiry_delta: int


class Invoice(Value, frozen=True, kw_only=True):
    """All that an invoice says. `amount_msat` None means that the payer chooses."""

    network: str
    amount_msat: int | None
    timestamp: int
    payment_hash: bytes
    payment_secret: bytes
    payee: bytes
    description: str | None = None
    description_hash: bytes | None = None
    expiry_seconds: int = DEFAULT_EXPIRY_SECONDS
    min_final_cltv_expiry: int = DEFAULT_FINAL_CLTV
    features: frozenset[int] = frozenset()
    metadata: bytes | None = None
    fallbacks: tuple[str, ...] = ()
    routes: tuple[tuple[RouteHop, ...], ...] = ()

    def expired(self, now_seconds: float) -> bool:
        """At this time, in unix seconds."""
        return now_seconds > self.timestamp + self.expiry_seconds


class InvoiceError(ProtocolError):
    """A text that is no invoice we may pay; says why."""


def _amount(text: str) -> int | None:
    if not text:
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,18})([munp]?)", text)
    if match is None:
        raise InvoiceError("invalid amount")
    count, unit = int(match[1]), match[2]
    if unit == "p":
        if count % 10:
            raise InvoiceError("the amount is not a whole number of millisatoshi")
        return count // 10
    return count * _MULTIPLIER[unit]


def _amount_text(amount_msat: int | None) -> str:
    """The shortest representation ("SHOULD use the largest multiplier")."""
    if amount_msat is None:
        return ""
    for unit in ("", "m", "u", "n"):
        if amount_msat % _MULTIPLIER[unit] == 0:
            return f"{amount_msat // _MULTIPLIER[unit]}{unit}"
    return f"{amount_msat * 10}p"


def _number_words(value: int, size: int = 1) -> bytes:
    """As few words as it takes, but at least `size`."""
    count = max(size, (value.bit_length() + 4) // 5)
    return bytes(value >> 5 * place & 31 for place in reversed(range(count)))


def _network(hrp: str) -> tuple[str, str]:
    """-> (network, the amount's text); the longest prefix that fits wins."""
    for name, prefix in sorted(HRP.items(), key=lambda item: -len(item[1])):
        if hrp.startswith(prefix):
            return name, hrp[len(prefix) :]
    raise InvoiceError("unknown prefix: not a Lightning invoice of a network we know")


def _octets(words: bytes, *, size: int | None = None) -> bytes | None:
    """The field's bytes; None when its length is wrong (such a field is skipped)."""
    if size is not None and len(words) != (size * 8 + 4) // 5:
        return None
    return script.from_words(words, strict=False)


def _fallback(words: bytes, network: str) -> str | None:
    if not words or words[0] > 16:
        return None
    program = script.from_words(words[1:], strict=False) or b""
    if not 2 <= len(program) <= 40:
        return None
    version = bytes([words[0] + 0x50 if words[0] else 0])
    return script.to_address(version + script.push(program), network)


def _routes(words: bytes) -> tuple[RouteHop, ...]:
    data = script.from_words(words, strict=False) or b""
    return tuple(
        RouteHop(
            node_id=data[at : at + 33],
            short_channel_id=data[at + 33 : at + 41],
            fee_base_msat=int.from_bytes(data[at + 41 : at + 45], "big"),
            fee_proportional_millionths=int.from_bytes(data[at + 45 : at + 49], "big"),
            cltv_expiry_delta=int.from_bytes(data[at + 49 : at + 51], "big"),
        )
        for at in range(0, len(data) - 50, 51)
    )


def _text(words: bytes) -> str:
    try:
        return (_octets(words) or b"").decode()
    except UnicodeDecodeError:
        raise InvoiceError("the description is not UTF-8") from None


# letter -> (field of Invoice, reader); a reader that answers None makes the field skipped
_FIELDS: dict[str, tuple[str, Callable[[bytes], Any]]] = {
    "p": ("payment_hash", lambda words: _octets(words, size=32)),
    "s": ("payment_secret", lambda words: _octets(words, size=32)),
    "d": ("description", _text),
    "h": ("description_hash", lambda words: _octets(words, size=32)),
    "n": ("payee", lambda words: _octets(words, size=33)),
    "x": ("expiry_seconds", script.words_number),
    "c": ("min_final_cltv_expiry", script.words_number),
    "m": ("metadata", _octets),
    "9": ("features", lambda words: frozenset(_bits(words))),
}


def _bits(words: bytes) -> list[int]:
    value = script.words_number(words)
    return [bit for bit in range(value.bit_length()) if value >> bit & 1]


def _tagged(words: bytes, network: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    fallbacks: list[str] = []
    routes: list[tuple[RouteHop, ...]] = []
    at = 0
    while at < len(words):
        if at + 3 > len(words):
            raise InvoiceError("a field ends early")
        size = words[at + 1] << 5 | words[at + 2]
        letter, data = _CHARSET[words[at]], words[at + 3 : at + 3 + size]
        at += 3 + size
        if at > len(words):
            raise InvoiceError("a field ends early")
        if letter == "f":
            address = _fallback(data, network)
            fallbacks += [address] if address else []
        elif letter == "r":
            routes.append(_routes(data))
        elif letter in _FIELDS:
            name, read = _FIELDS[letter]
            value = read(data)
            if value is not None and name not in found:
                found[name] = value
    return found | {"fallbacks": tuple(fallbacks), "routes": tuple(routes)}


def decode(text: str) -> Invoice:
    """Checks checksum, signature, compulsory fields and features. Raises `InvoiceError`."""
    if len(text) > MAX_LENGTH:
        raise InvoiceError(f"an invoice has at most {MAX_LENGTH} characters")
    text = text.strip()
    if text[:10].lower() == "lightning:":
        text = text[10:]
    decoded = script.bech32_decode(text)
    if decoded is None or decoded[2] != script.BECH32:
        raise InvoiceError("bad bech32 checksum or characters: copy the invoice again")
    hrp, words, _ = decoded
    network, amount = _network(hrp)
    if len(words) < 104 + 7:
        raise InvoiceError("too short for a signature")
    body, signature = words[:-104], script.from_words(words[-104:]) or b""
    digest = sha256(hrp.encode() + _padded(body))
    fields = _tagged(body[7:], network)
    payee = _payee(fields.pop("payee", None), digest, signature)
    for needed, why in (("payment_hash", "payment hash"), ("payment_secret", "payment secret")):
        if needed not in fields:
            raise InvoiceError(f"the invoice has no {why}")
    unknown = features.unknown_even(fields.get("features", frozenset()), features.KNOWN_INVOICE)
    if unknown:
        raise InvoiceError(f"the invoice needs a feature that we do not know (bit {unknown[0]})")
    amount_msat = _amount(amount)
    _check_sizes(fields, amount_msat)
    return Invoice(
        network=network,
        amount_msat=amount_msat,
        timestamp=script.words_number(body[:7]),
        payee=payee,
        **fields,
    )


def _check_sizes(fields: dict[str, Any], amount_msat: int | None) -> None:
    """What nobody means: numbers that fit into no message, hints that lead nowhere."""
    if ("description" in fields) == ("description_hash" in fields):
        raise InvoiceError("the invoice needs a description or the hash of one, and not both")
    if (amount_msat or 0) > MAX_MSAT:
        raise InvoiceError("the amount is more than there is")
    if fields.get("min_final_cltv_expiry", 0) > MAX_CLTV:
        raise InvoiceError("min_final_cltv_expiry is out of range")
    if fields.get("expiry_seconds", 0) > MAX_EXPIRY_SECONDS:
        raise InvoiceError("the expiry is out of range")
    for hop in (hop for route in fields["routes"] for hop in route):
        try:
            secp.check_point(hop.node_id)
        except Malformed:
            raise InvoiceError("a route hint has a key that is no point") from None


def _padded(words: bytes) -> bytes:
    """The data part as bytes, zero bits appended up to a byte boundary."""
    spare = -len(words) * 5 % 8
    return (script.words_number(words) << spare).to_bytes((len(words) * 5 + spare) // 8, "big")


def _payee(named: bytes | None, digest: bytes, signature: bytes) -> bytes:
    if len(signature) != 65:
        raise InvoiceError("the signature has a wrong length")
    try:
        if named is None:
            return secp.recover(digest, signature)
        good = secp.verify(named, digest, signature[:64])
    except Malformed:
        raise InvoiceError("the signature recovers to no key") from None
    if not good:
        raise InvoiceError("the signature does not fit the payee")
    return named


def encode(invoice: Invoice, node_secret: bytes) -> str:
    """The signed text; `payee` is implied by the key and is not written."""
    words = _number_words(invoice.timestamp, 7)

    def put(letter: str, data: bytes) -> None:
        nonlocal words
        words += bytes([_CHARSET.index(letter), len(data) >> 5, len(data) & 31]) + data

    put("s", script.to_words(invoice.payment_secret))
    put("p", script.to_words(invoice.payment_hash))
    if invoice.description_hash is not None:
        put("h", script.to_words(invoice.description_hash))
    else:
        put("d", script.to_words((invoice.description or "").encode()))
    if invoice.expiry_seconds != DEFAULT_EXPIRY_SECONDS:
        put("x", _number_words(invoice.expiry_seconds))
    put("c", _number_words(invoice.min_final_cltv_expiry))
    if invoice.metadata is not None:
        put("m", script.to_words(invoice.metadata))
    for route in invoice.routes:
        put("r", script.to_words(b"".join(_hop_bytes(hop) for hop in route)))
    if invoice.features:
        put("9", _number_words(sum(1 << bit for bit in invoice.features)))
    hrp = HRP[invoice.network] + _amount_text(invoice.amount_msat)
    digest = sha256(hrp.encode() + _padded(words))
    words += script.to_words(secp.sign_recoverable(node_secret, digest))
    return script.bech32_encode(hrp, words)


def _hop_bytes(hop: RouteHop) -> bytes:
    return (
        hop.node_id
        + hop.short_channel_id
        + hop.fee_base_msat.to_bytes(4, "big")
        + hop.fee_proportional_millionths.to_bytes(4, "big")
        + hop.cltv_expiry_delta.to_bytes(2, "big")
    )
