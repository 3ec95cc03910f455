"""The command line: `daruma start`, `daruma chain`, `daruma demo`, `daruma <method> [args]`."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from typing import Any

from daruma import config as configuration
from daruma.config import FLAGS, OPTIONS, ConfigError

USAGE = """usage: daruma start [options]          run a node in the foreground
       daruma chain --datadir DIR      run the embedded regtest chain alone
       daruma demo [--json]            watch two nodes pay, be killed, and come back
       daruma <method> [arguments]     ask a running node; `daruma help` lists the methods

options: --lightning-dir --network --addr --alias --bitcoin-datadir
         --bitcoin-rpcconnect --bitcoin-rpcport --bitcoin-rpcuser --bitcoin-rpcpassword
         --accept-losing-money (without it bitcoin, the main network, is refused)
         (the same --lightning-dir and --network for a node and for the methods asked of it)
for methods: all as name=value, or all by position; -J JSON  -H table  -R raw
log: <lightning-dir>/<network>/log
"""


# how a result is shown; the last two are Core Lightning's and say nothing here
SHAPES = {"-J": "json", "-H": "table", "-R": "raw", "-F": "json", "-k": "", "-o": ""}


def main(arguments: list[str] | None = None) -> int:
    """`words` of the command line; -> exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0 if words else 2
    if words[0] == "--version":
        print("daruma 0.1.0")
        return 0
    try:
        options, rest = _options(words)
    except ConfigError as error:
        print(f"daruma: {error}", file=sys.stderr)
        return 2
    if not rest:
        print(USAGE, end="", file=sys.stderr)
        return 2
    place = next((n for n, word in enumerate(rest) if word not in SHAPES), 0)
    verb, rest = rest[place], rest[:place] + rest[place + 1 :]
    if verb == "start" and rest in (["-h"], ["--help"]):
        print(USAGE, end="")
        return 0
    try:
        return _run(verb, rest, options)
    except ConfigError as error:
        print(f"daruma: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _run(verb: str, rest: list[str], options: dict[str, Any]) -> int:
    if verb in ("start", "chain", "demo") and not __debug__:
        # what an assertion would stop is a node that goes on with something wrong in its hands
        text = "Python runs without assertions (-O or PYTHONOPTIMIZE)"
        raise ConfigError(f"{text}, which a node with money needs: start it without that")
    match verb:
        case "start":
            _none_left(rest)
            from daruma import boot

            return boot.run(configuration.load(options))
        case "chain":
            return _chain(rest)
        case "demo":
            from daruma import demo

            return demo.run(rest)
    return _method(verb, rest, options)


def _none_left(rest: list[str]) -> None:
    if rest:
        known = [f"--{name}" for name in OPTIONS]
        near = difflib.get_close_matches(rest[0], known, 1)
        hint = f": did you mean {near[0]}?" if near else ": see daruma --help"
        raise ConfigError(f"unknown argument {rest[0]!r}{hint}")


def _options(words: list[str]) -> tuple[dict[str, Any], list[str]]:
    """The node's options, wherever they stand, and all other words in order."""
    options: dict[str, Any] = {}
    rest: list[str] = []
    at = 0
    while at < len(words):
        name, given, value = words[at].partition("=")
        if name.startswith("--") and name[2:] in OPTIONS:
            if not given and name[2:] in FLAGS:
                value = "true"
            elif not given:
                at += 1
                if at == len(words):
                    raise ConfigError(f"{name} needs a value")
                value = words[at]
            options[name[2:]] = value
        else:
            rest.append(words[at])
        at += 1
    return options, rest


def _chain(rest: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="daruma chain")
    parser.add_argument("--datadir", required=True)
    parser.add_argument("--rpcport", type=int)
    parser.add_argument("--rpcuser")
    parser.add_argument("--rpcpassword")
    parsed = parser.parse_args(rest)
    from daruma.embedded import process

    return process.run(parsed.datadir, parsed.rpcport, parsed.rpcuser, parsed.rpcpassword)


def _method(method: str, words: list[str], options: dict[str, Any]) -> int:
    from daruma.client import Client, NotRunning, RpcError

    shape = "table" if sys.stdout.isatty() else "json"
    for word in [word for word in words if word in SHAPES]:
        words.remove(word)
        shape = SHAPES[word] or shape
    unknown = [word for word in words if word.startswith("--")]
    _none_left(unknown)
    client = Client(str(configuration.load(options, for_client=True).socket))
    try:
        result = client.call(method, _params(words))
    except NotRunning as error:
        print(f"daruma: {error}", file=sys.stderr)
        return 2
    except RpcError as error:
        print(json.dumps(error.error, indent=3))
        return 1
    if method == "help" and shape == "table":
        _show_help(result["help"])
    else:
        _show(result, shape)
    return 0


def _params(words: list[str]) -> Any:
    """name=value for all, or positions."""
    names = [word.partition("=") for word in words]
    if words and all(found and name.replace("_", "").isalnum() for name, found, _ in names):
        return {name: _value(value) for name, _, value in names}
    return [_value(word) for word in words]


def _value(word: str) -> Any:
    try:
        return json.loads(word)
    except ValueError:
        return word


def _show_help(rows: list[dict[str, Any]]) -> None:
    """By category, a method with its parameters on one line and what it does on the next."""
    for category in sorted({row["category"] for row in rows}):
        print(f"== {category}")
        for row in rows:
            if row["category"] == category:
                print(f"{row['command']}\n    {row['description']}")


def _show(result: Any, shape: str) -> None:
    if shape != "table":
        print(json.dumps(result, indent=3 if shape == "json" else None))
        return
    from daruma import tables

    tables.show(result)


if __name__ == "__main__":
    sys.exit(main())
