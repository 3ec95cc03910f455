"""The first process of a node: the operator's. It locks the folder, starts the embedded chain if no
bitcoind was named, and hands over to the root of the actor system (`actors.engine.root`).
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys

from actors.engine import root
from actors.engine.control import Life
from actors.engine.root import Root, StartFailed
from actors.ports import descriptors
from actors.settings import Settings
from daruma import seed
from daruma.config import Config, ConfigError
from daruma.embedded.process import ChainProcess
from protocol.api.rpc import VERSION


class Node:
    """What is there before and after every life of the actors. Raises `ConfigError`, `OSError`."""

    def __init__(self, config: Config) -> None:
        self.config = config
        folder = config.folder
        try:
            self.lock = root.lock(folder)
        except root.Taken:
            text = f"another node is running in {folder}"
            raise ConfigError(f"{text}: stop it, or use another --lightning-dir") from None
        if (folder / "stores" / "monitors").exists():
            text = f"{folder} was made by an earlier development version: use another folder"
            raise ConfigError(text)
        (folder / "run").mkdir(mode=0o700, exist_ok=True)
        secret = seed.load_or_make(folder)
        self.chain = ChainProcess(folder / "chain") if config.rpc is None else None
        settings = Settings(
            folder=str(folder),
            network=config.network,
            host=config.host,
            port=config.port,
            alias=config.alias,
            zeroconf_peers=config.zeroconf_peers,
            announced=config.announced,
            rpc=config.rpc or (self.chain.rpc if self.chain else {}),
            seed=secret,
            first_pid=os.getpid(),
            guests=descriptors.guests(),
        )
        life = Life("actors.tree:NODE", str(folder), settings, config.rebuild)
        self.root = Root(life, companions=self._companions, idle=self._idle)

    def _companions(self) -> dict[str, int]:
        return {} if self.chain is None else {"bitcoin": self.chain.pid}

    def _idle(self) -> None:
        if self.chain is not None:
            self.chain.keep()

    def end(self) -> None:
        """The chain ends with the node, and the socket is gone."""
        if self.chain is not None:
            self.chain.stop()
        with contextlib.suppress(FileNotFoundError):
            (self.config.folder / "lightning-rpc").unlink()


def run(config: Config) -> int:
    """The whole life of a node; -> exit status."""
    if (limit := descriptors.raise_limit()) < descriptors.LEAST:
        text = f"{limit} file descriptors are allowed, and a node needs {descriptors.LEAST}"
        print(f"daruma: {text}: raise the limit (ulimit -n) and start again", file=sys.stderr)
        return 1
    try:
        node = Node(config)
    except ConfigError as error:
        print(f"daruma: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"daruma: {_unusable(config, error)}", file=sys.stderr)
        return 1

    node.root.stop_on_signals()
    try:
        return _keep(node)
    finally:
        node.end()


def _unusable(config: Config, error: OSError) -> str:
    """A seed that somebody else owns is no reason to make another one."""
    place = error.filename or config.folder
    cure = "choose another folder with --lightning-dir"
    if os.path.lexists(place) and os.path.lexists(config.folder / "seed.txt"):
        cure = "give it to the node's user and start again"
    return f"{place} cannot be used ({error.strerror}): {cure}"


def _keep(node: Node) -> int:
    config = node.config
    told = f"daruma {VERSION} starts: {config.told}, Python {platform.python_version()}"
    node.root.log(told)
    try:
        node.root.run(lambda: print(f"ready {config.socket}", flush=True))
    except StartFailed as failed:
        print(f"daruma: {failed}", file=sys.stderr)
        return 1
    except PermissionError as error:
        print(f"daruma: {_unusable(config, error)}", file=sys.stderr)
        return 1
    finally:
        node.root.log("ends")
    return 0
