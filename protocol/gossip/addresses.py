"""BOLT 7, address descriptors of a node_announcement, as Core Lightning shows them."""

from __future__ import annotations

import base64
import ipaddress
from typing import NamedTuple

from protocol.errors import Malformed
from protocol.wire.codec import Reader

IPV4, IPV6, TOR_V3, DNS = 1, 2, 4, 5


class Address(NamedTuple):
    """`type` is Core Lightning's word; `port` 1 to 65535."""

    type: str
    address: str
    port: int


def parse(host: str, port: int) -> Address:
    """An address as an operator writes it. Raises ValueError."""
    if host.endswith(".onion"):
        kind = "torv3"
    else:
        try:
            kind = f"ipv{ipaddress.ip_address(host).version}"
        except ValueError:
            kind = "dns"
    found = Address(kind, host, port)
    _descriptor(found)
    return found


def encode(addresses: list[Address]) -> bytes:
    """In ascending order of type, as the origin must have them. Raises ValueError."""
    descriptors = [_descriptor(item) for item in addresses]
    descriptors.sort(key=lambda descriptor: descriptor[0])
    return b"".join(descriptors)


def _descriptor(item: Address) -> bytes:
    port = item.port.to_bytes(2, "big")
    match item.type:
        case "ipv4":
            return bytes([IPV4]) + ipaddress.IPv4Address(item.address).packed + port
        case "ipv6":
            return bytes([IPV6]) + ipaddress.IPv6Address(item.address).packed + port
        case "torv3":
            onion = base64.b32decode(item.address.removesuffix(".onion").upper())
            if len(onion) != 35:
                raise ValueError("an onion address of version 3 has 35 bytes")
            return bytes([TOR_V3]) + onion + port
        case "dns":
            name = item.address.encode("ascii")
            if not 0 < len(name) < 256:
                raise ValueError("a hostname has 1 to 255 bytes")
            return bytes([DNS, len(name)]) + name + port
    raise ValueError(f"no address type {item.type!r}")


def decode(data: bytes) -> list[Address]:
    """Every address of a known type; from the first unknown type on, nothing.

    Raises `Malformed` when the descriptor of a known type is cut short.
    """
    reader, found = Reader(data), list[Address]()
    while reader.left:
        match reader.uint(1):
            case 0:
                pass  # padding
            case 1:
                host = str(ipaddress.IPv4Address(reader.take(4)))
                found.append(Address("ipv4", host, reader.uint(2)))
            case 2:
                host = str(ipaddress.IPv6Address(reader.take(16)))
                found.append(Address("ipv6", host, reader.uint(2)))
            case 3:
                reader.take(12)  # onions of version 2: "SHOULD ignore"
            case 4:
                host = base64.b32encode(reader.take(35)).decode().lower() + ".onion"
                found.append(Address("torv3", host, reader.uint(2)))
            case 5:
                found.append(_hostname(reader))
            case _:
                break
    return found


def _hostname(reader: Reader) -> Address:
    name = reader.take(reader.uint(1))
    try:
        return Address("dns", name.decode("ascii"), reader.uint(2))
    except UnicodeDecodeError:
        # BOLT 7: "the hostname bytes MUST be ASCII characters"
        raise Malformed("a hostname that is not ASCII") from None


def usable(addresses: list[Address]) -> list[Address]:
    """Those with a port, and the first hostname only."""
    names = [item for item in addresses if item.type == "dns"]
    return [item for item in addresses if item.port and item not in names[1:]]


def may_be_forwarded(addresses: list[Address]) -> bool:
    """A node_announcement with two hostnames "MUST not" be."""
    return sum(item.type == "dns" for item in addresses) <= 1
