"""Configuration: one frozen record, every value with its origin.

`--option` on the command line, then `DARUMA_OPTION`, then `config.toml` in the node's folder (the
key `option`, under `[<network>]` first), then the default. Unknown keys are refused.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from protocol.gossip import addresses

NETWORKS = ("regtest", "signet", "testnet", "bitcoin")
LOSES = (
    "is refused: this node does not yet enforce its channels on chain, and a peer could take your "
    "money; use regtest or signet, or say --accept-losing-money"
)
RPC_PORTS = {"regtest": 18443, "signet": 38332, "testnet": 18332, "bitcoin": 8332}

# option -> (default, what it is)
OPTIONS: dict[str, tuple[Any, str]] = {
    "lightning-dir": ("~/.daruma", "folder of the node's data"),
    "network": ("regtest", "bitcoin network: " + ", ".join(NETWORKS)),
    "addr": ("127.0.0.1:9735", "host:port where peers may connect"),
    "alias": ("daruma", "name of the node"),
    "announce-addr": ("", "host:port (with commas) that the world is told for connecting"),
    "zeroconf-peers": ("", "node ids (with commas) trusted to open channels without confirmation"),
    "accept-losing-money": (
        "",
        "true: run on bitcoin (mainnet) although closed channels are not yet enforced on chain",
    ),
    "rebuild": ("", "payments: make its missing store anew from the channels; invoices are lost"),
    "bitcoin-rpcconnect": (None, "host of a bitcoind"),
    "bitcoin-rpcport": (None, "port of its RPC"),
    "bitcoin-rpcuser": (None, "user of its RPC"),
    "bitcoin-rpcpassword": (None, "password of its RPC"),
    "bitcoin-datadir": (None, "its data folder, for the cookie file"),
}


# given without a value they are meant to be true
FLAGS = frozenset({"accept-losing-money"})


class ConfigError(Exception):
    """One sentence for the operator."""


@dataclass(frozen=True)
class Config:
    """What a node is started with, read and checked; `origins`: where each setting comes from."""

    lightning_dir: Path
    network: str
    host: str
    port: int
    alias: str
    zeroconf_peers: tuple[str, ...]
    announced: tuple[tuple[str, str, int], ...]
    rpc: dict[str, Any] | None
    rebuild: tuple[str, ...] = ()
    origins: dict[str, str] = field(default_factory=dict)

    @property
    def told(self) -> str:
        """The settings and where they come from, for the log: passwords are not in it."""
        chain = f"{self.rpc['host']}:{self.rpc['port']}" if self.rpc else "embedded"
        shown = {
            "network": self.network,
            "lightning-dir": self.lightning_dir,
            "addr": f"{self.host}:{self.port}",
            "alias": repr(self.alias),
            "announce-addr": len(self.announced),
            "zeroconf-peers": len(self.zeroconf_peers),
        }
        words = [
            f"{name}={value} ({self.origins.get(name, 'default')})" for name, value in shown.items()
        ]
        return ", ".join([*words, f"chain={chain}"])

    @property
    def folder(self) -> Path:
        """Where this network's files are."""
        return self.lightning_dir / self.network

    @property
    def socket(self) -> Path:
        return self.folder / "lightning-rpc"


def load(
    given: Mapping[str, Any],
    environment: Mapping[str, str] | None = None,
    *,
    for_client: bool = False,
) -> Config:
    """`given`: options of the command line, absent or None when not said. Raises `ConfigError`.

    A client needs no chain, only the place of the socket.
    """
    environment = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}

    def take(name: str, file: Mapping[str, Any]) -> None:
        variable = "DARUMA_" + name.upper().replace("-", "_")
        for origin, value in (
            ("command line", given.get(name)),
            (variable, environment.get(variable)),
            ("config.toml", file.get(name)),
            ("default", OPTIONS[name][0]),
        ):
            if value is not None or origin == "default":
                values[name], origins[name] = value, origin
                return

    take("lightning-dir", {})
    take("network", {})
    if not str(values["lightning-dir"]).strip():
        raise ConfigError("lightning-dir is empty: give the folder of the node's data")
    folder = Path(str(values["lightning-dir"])).expanduser()
    file = _read_file(folder / "config.toml", str(values["network"]))
    for name in OPTIONS:
        if name != "lightning-dir":
            take(name, file)
    network = str(values["network"])
    _check_network(network)
    if not for_client and network == "bitcoin":
        _check_courage(values["accept-losing-money"])
    rpc = None if for_client else _rpc(values, network)
    return _checked(folder, values, origins, rpc)


def _check_network(network: str) -> None:
    if network == "mainnet":
        raise ConfigError(f"mainnet is called bitcoin here, and {LOSES}")
    if network not in NETWORKS:
        near = difflib.get_close_matches(network, NETWORKS, 1)
        hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(NETWORKS)}"
        raise ConfigError(f"there is no network {network!r}: {hint}")


def _check_courage(said: object) -> None:
    """On mainnet a node that cannot yet enforce its channels on chain is a way to lose money."""
    if str(said).lower() not in ("true", "1"):
        raise ConfigError(f"bitcoin (mainnet) {LOSES}")


def _read_file(path: Path, network: str) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        data = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML ({error}): correct it") from None
    section = data.pop(network, {})
    if not isinstance(section, dict):
        raise ConfigError(f"{path}: {network} is a section: write [{network}]")
    for other in NETWORKS:
        data.pop(other, None)
    merged: dict[str, Any] = {**data, **section}
    for key in merged:
        if key not in OPTIONS or key == "lightning-dir":
            near = difflib.get_close_matches(key, OPTIONS, 1)
            hint = f": did you mean {near[0]}?" if near else ": remove it"
            raise ConfigError(f"{path} has an unknown key {key!r}{hint}")
    return merged


def _checked(
    folder: Path, values: dict[str, Any], origins: dict[str, str], rpc: dict[str, Any] | None
) -> Config:
    network = str(values["network"])
    host, port = _place(str(values["addr"]))
    socket = folder / network / "lightning-rpc"
    if len(str(socket).encode()) > 100:
        raise ConfigError(
            f"the path of the socket is too long for a unix socket ({socket}): "
            "use a shorter --lightning-dir"
        )
    alias = str(values["alias"])
    if len(alias.encode()) > 32:
        raise ConfigError("alias has at most 32 bytes")
    return Config(
        lightning_dir=folder,
        network=network,
        host=host,
        port=port,
        alias=alias,
        zeroconf_peers=_node_ids(str(values["zeroconf-peers"])),
        rebuild=_rebuild(str(values["rebuild"])),
        announced=_addresses(str(values["announce-addr"])),
        rpc=rpc,
        origins=origins,
    )


def _addresses(text: str) -> tuple[tuple[str, str, int], ...]:
    found = []
    for word in filter(None, (word.strip() for word in text.split(","))):
        try:
            found.append(addresses.parse(*_place(word)))
        except ValueError:
            raise ConfigError(f"announce-addr: {word[:80]!r} is no address to connect to") from None
    if sum(item.type == "dns" for item in found) > 1:
        raise ConfigError("announce-addr: only one hostname may be announced (BOLT 7)")
    return tuple(found)


def _rebuild(text: str) -> tuple[str, ...]:
    if text not in ("", "payments"):
        raise ConfigError(f"rebuild: {text[:40]!r} cannot be made anew: only payments can")
    return (text,) if text else ()


def _node_ids(text: str) -> tuple[str, ...]:
    found = tuple(word.strip() for word in text.split(",") if word.strip())
    for word in found:
        if re.fullmatch("0[23][0-9a-f]{64}", word) is None:
            raise ConfigError(f"zeroconf-peers: {word[:80]!r} is not a node id: 66 hex digits")
    return found


def _place(text: str) -> tuple[str, int]:
    host, found, port = text.rpartition(":")
    if not found:
        host, port = text, "9735"
    host = host.strip("[]")
    if not port.isdigit() or not 0 < int(port) < 65536 or not host:
        raise ConfigError(f"addr {text!r} is not host:port")
    return host, int(port)


def _rpc(values: dict[str, Any], network: str) -> dict[str, Any] | None:
    """None: no bitcoind was named, so that the embedded chain is started (regtest only)."""
    named = [name for name in values if name.startswith("bitcoin-") and values[name] is not None]
    if not named:
        if network != "regtest":
            raise ConfigError(
                f"{network} needs a bitcoind: give --bitcoin-rpcconnect, --bitcoin-rpcport, "
                "--bitcoin-rpcuser and --bitcoin-rpcpassword"
            )
        return None
    port = values["bitcoin-rpcport"] or RPC_PORTS[network]
    if not str(port).isdigit():
        raise ConfigError("bitcoin-rpcport is a number")
    datadir = Path(str(values["bitcoin-datadir"] or "~/.bitcoin")).expanduser()
    below = {"bitcoin": "", "testnet": "testnet3"}.get(network, network)
    return {
        "host": values["bitcoin-rpcconnect"] or "127.0.0.1",
        "port": int(port),
        "user": values["bitcoin-rpcuser"],
        "password": values["bitcoin-rpcpassword"],
        "cookie": str(datadir / below / ".cookie"),
    }
