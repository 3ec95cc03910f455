"""Bad input to a running node, and starts that cannot succeed: one sentence, nothing lost."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from rocksdict import Options, Rdict

from actors.engine import processes
from actors.ports.descriptors import WANTED
from daruma import seed
from daruma.client import Client
from daruma.config import ConfigError, load
from daruma.playground import ended, free_port, until
from protocol.features import encode
from protocol.wire import setup
from protocol.wire.commitment import CommitmentSigned, UpdateAddHtlc
from protocol.wire.message import Message
from protocol.wire.opening import FundingCreated
from storage.envelope import seal, unseal
from tests.kit import nursery
from tests.kit.stranger import Stranger
from tests.processes.scenario import Run


def _memory_kb(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    return 0


def test_garbage_and_half_handshakes_end_the_connection_and_nothing_else(run: Run) -> None:
    run.start()
    node = run.alice
    before = {row["name"]: row["pid"] for row in node.tree()}
    memory = _memory_kb(before["peers"])
    for data in (b"", b"\0" * 10, b"GET / HTTP/1.1\r\n\r\n" * 10, os.urandom(50), os.urandom(5000)):
        with socket.create_connection(("127.0.0.1", node.port), 5) as sock:
            sock.sendall(data)
    half_open = [socket.create_connection(("127.0.0.1", node.port), 5) for _ in range(300)]

    honest = Stranger(node)
    honest.init()
    honest.say(setup.Ping(num_pong_bytes=3, ignored=b""))

    assert setup.Pong(ignored=bytes(3)) == honest.hear()
    for sock in half_open:
        sock.close()
    assert before == {row["name"]: row["pid"] for row in node.tree()}
    assert _memory_kb(before["peers"]) < memory + 30_000


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (rb'{"id":1,"method":"invoice","params":{"amount_msat":1,"label":"\ud800","description":"d"}}',
         "Unicode"),
        (b'[1, 2]', "a request is an object"),
        (b'{"id": 1, "method": "pay", "params": 7}', "Expected array or object"),
        (b'\xff\xfe\xfd' * 9, "not UTF-8"),
        (b'{"id": 1, ]', "not JSON"),
        (b'[' * 200_000, "nested too deeply"),
    ],
)  # fmt: skip
def test_garbage_on_the_socket_gets_one_sentence(run: Run, request_: bytes, text: str) -> None:
    run.start()
    api = run.alice.pid("api")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(run.alice.client.path)
        sock.settimeout(20)
        sock.sendall(request_)
        answer = sock.recv(1 << 16).decode()

    assert text in json.loads(answer)["error"]["message"]
    if text == "Unicode":
        assert json.loads(answer)["id"] == 1, "the client waits for this number"
    assert run.alice.pid("api") == api


def test_the_tree_is_filtered_as_all_else(run: Run) -> None:
    run.start()
    request = {"id": 1, "method": "tree", "filter": {"actors": [{"name": True}]}}
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(run.alice.client.path)
        sock.settimeout(20)
        sock.sendall(json.dumps(request).encode())
        answer = sock.recv(1 << 16)

    names = [row["name"] for row in run.alice.client.tree()["actors"]]
    assert json.loads(answer)["result"] == {"actors": [{"name": name} for name in names]}


def test_a_backend_of_another_chain_is_named_and_nothing_of_it_is_believed(run: Run) -> None:
    result = subprocess.Popen(
        [sys.executable, "-m", "daruma", "start", "--lightning-dir", str(run.folder / "stray"),
         "--addr", f"127.0.0.1:{free_port()}", "--network", "signet", *run.chain.options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert result.stdout is not None and result.stderr is not None
        heard = result.stderr.readline().decode()
        client = Client(str(run.folder / "stray" / "signet" / "lightning-rpc"))
        info = until(client.getinfo, "it answers all the same")
    finally:
        ended(result)

    assert "another chain than signet" in heard
    assert info["blockheight"] == 0
    assert "another chain" in info["warning_bitcoind_sync"]


def test_an_actor_that_cannot_come_back_ends_the_node_with_a_sentence(run: Run) -> None:
    """Its store is refused: the tree is started anew, and the operator reads why it will not be."""
    run.start()
    alice = run.nodes.pop("alice")  # nobody starts it again
    store = run.folder / "alice" / "regtest" / "stores" / "payments"
    store.rename(store.with_name("elsewhere"))

    os.kill(alice.pid("payments") or 0, signal.SIGKILL)

    assert alice.process is not None
    assert alice.process.wait(60) == 1
    run.nodes["alice"] = alice


@pytest.mark.parametrize("verb", ["start", "chain", "demo"])
def test_a_python_without_assertions_is_refused(tmp_path: Path, verb: str) -> None:
    words = {"start": ["--lightning-dir", str(tmp_path)], "chain": ["--datadir", str(tmp_path)]}
    result = subprocess.run(
        [sys.executable, "-m", "daruma", verb, *words.get(verb, [])],
        env={**os.environ, "PYTHONOPTIMIZE": "1"}, capture_output=True, timeout=30, check=False,
    )  # fmt: skip

    assert result.returncode == 1
    assert b"without assertions" in result.stderr
    assert result.stderr.count(b"\n") == 1
    assert not list(tmp_path.iterdir())


def _descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.mark.parametrize("half", [False, True], ids=["closed", "half closed first"])
def test_a_wait_is_given_up_when_its_client_is_gone(run: Run, half: bool) -> None:
    run.start()
    run.alice.client.invoice(amount_msat=1000, label="x", description="d")
    api = run.alice.pid("api") or 0
    before = _descriptors(api)
    for number in range(60):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(run.alice.client.path)
            sock.sendall(b'{"id":%d,"method":"waitinvoice","params":["x"]}' % number)
            if half:
                sock.shutdown(socket.SHUT_WR)

    until(lambda: run.alice.client.getinfo() and _descriptors(api) <= before + 2, "all are free")
    assert run.alice.pid("api") == api


def test_a_client_that_has_said_all_still_gets_its_answer(run: Run) -> None:
    run.start()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(run.alice.client.path)
        sock.settimeout(20)
        sock.sendall(b'{"id":1,"method":"getinfo"}')
        sock.shutdown(socket.SHUT_WR)

        assert json.loads(sock.recv(1 << 16))["result"]["id"] == run.alice.id


def test_descriptors_are_raised_at_the_start(run: Run) -> None:
    """To what the system allows, or to what a node can use."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        with nursery.fresh():
            run.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    for row in run.alice.tree():
        if row["role"] in ("peers", "api", "monitors"):
            limit, _ = resource.prlimit(row["pid"], resource.RLIMIT_NOFILE)
            assert limit == min(hard, WANTED) > 256


UNKNOWN = bytes(range(32))
RULE_BREAKERS: list[tuple[str, Message | bytes, str]] = [
    ("truncated", b"\x00\x80" + bytes(10), "ends early"),
    ("unknown even type", b"\x75\x30abc", "unknown even message type"),
    ("one byte", b"\x00", "at least two bytes"),
    (
        "unknown even feature",
        setup.Init(globalfeatures=b"", features=encode({0, 8, 12, 100})),
        "a feature that we do not know",
    ),
    (
        "a channel nobody knows",
        CommitmentSigned(channel_id=UNKNOWN, signature=bytes(64), htlc_signatures=()),
        "do not know this channel",
    ),
    (
        "funding_created out of the blue",
        FundingCreated(
            temporary_channel_id=UNKNOWN,
            funding_txid=bytes(32),
            funding_output_index=0,
            signature=bytes(64),
        ),
        "an opening that we do not know",
    ),
]


@pytest.mark.parametrize("name", ["before init", *(name for name, _, _ in RULE_BREAKERS)])
def test_rule_breakers_get_a_sentence(run: Run, name: str) -> None:
    run.start()
    pids = {row["name"]: row["pid"] for row in run.alice.tree()}
    stranger = Stranger(run.alice)
    if name == "before init":
        stranger.say(setup.Ping(num_pong_bytes=0, ignored=b""))
        assert any("before init" in text for text in stranger.hear_until_closed())
    else:
        _, message, text = next(row for row in RULE_BREAKERS if row[0] == name)
        if not isinstance(message, setup.Init):
            stranger.init()
        stranger.say(message)
        stranger.sock.settimeout(3)
        assert any(text in heard for heard in stranger.hear_until_closed())
    assert pids == {row["name"]: row["pid"] for row in run.alice.tree()}


def test_a_huge_add_from_a_stranger_is_no_channel(run: Run) -> None:
    run.start()
    stranger = Stranger(run.alice)
    stranger.init()
    add = UpdateAddHtlc(
        channel_id=UNKNOWN, id=0, amount_msat=2**63, payment_hash=bytes(32), cltv_expiry=0,
        onion_routing_packet=bytes(1366),
    )  # fmt: skip
    for _ in range(2000):
        stranger.say(add)
    stranger.say(setup.Ping(num_pong_bytes=1, ignored=b""))
    heard = stranger.hear()
    while not isinstance(heard, setup.Pong):
        heard = stranger.hear()


def _start(folder: Path, chain: list[str], port: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "daruma", "start", "--lightning-dir", str(folder)]
    return subprocess.run(
        [*command, "--addr", f"127.0.0.1:{port}", *chain],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def _sentence(result: subprocess.CompletedProcess[str], *words: str) -> None:
    assert result.returncode != 0
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    for word in words:
        assert word in result.stderr


def test_a_second_node_on_the_same_folder_is_refused(run: Run) -> None:
    run.start()

    result = _start(run.alice.folder, run.chain.options, free_port())

    _sentence(result, "another node is running", "use another")
    assert run.alice.client.getinfo()["id"] == run.alice.id


def test_another_seed_in_an_old_folder_is_refused(run: Run) -> None:
    words = "abandon " * 11 + "about"
    (run.folder / "alice" / "regtest" / "seed.txt").write_text(words)

    result = _start(run.folder / "alice", run.chain.options, free_port())

    _sentence(result, "belongs to another node", "use the seed")


def test_a_missing_seed_in_an_old_folder_is_refused(run: Run) -> None:
    (run.folder / "alice" / "regtest" / "seed.txt").unlink()

    result = _start(run.folder / "alice", run.chain.options, free_port())

    _sentence(result, "seed file is missing", "restore")


def test_an_older_snapshot_is_refused(run: Run) -> None:
    store = run.folder / "alice" / "regtest" / "stores" / "payments"
    shutil.copytree(store, run.folder / "older")
    run.start()
    run.alice.invoice(1000, "newer")
    run.nodes.pop("alice").stop()
    shutil.rmtree(store)
    shutil.move(run.folder / "older", store)

    result = _start(run.folder / "alice", run.chain.options, free_port())

    _sentence(result, "payments store is older than the last run", "restore")


def _monitor_store(run: Run) -> Path:
    """Of the monitor that keeps alice's channel: the one with more in it."""
    stores = (run.folder / "alice" / "regtest" / "stores").glob("monitors-*")
    return max(stores, key=lambda folder: sum(x.stat().st_size for x in folder.glob("*.sst")))


def test_a_bit_flipped_in_a_snapshot_is_refused(run: Run) -> None:
    store = _monitor_store(run)
    table = max(store.glob("*.sst"), key=lambda path: path.stat().st_size)
    data = bytearray(table.read_bytes())
    data[10] ^= 0xFF
    table.write_bytes(data)

    result = _start(run.folder / "alice", run.chain.options, free_port())

    _sentence(result, "monitors-", "restore it from a backup")


def test_a_truncated_snapshot_is_refused(run: Run) -> None:
    store = _monitor_store(run)
    table = max(store.glob("*.sst"), key=lambda path: path.stat().st_size)
    os.truncate(table, table.stat().st_size // 2)

    result = _start(run.folder / "alice", run.chain.options, free_port())

    _sentence(result, "monitors-", "restore it from a backup")


def test_a_snapshot_of_a_later_release_is_refused(run: Run) -> None:
    store = run.folder / "alice" / "regtest" / "stores" / "wallet"
    rows = Rdict(str(store), Options(raw_mode=True))
    key = next(bytes(key) for key in rows.keys() if bytes(key).startswith(b"r/"))  # noqa: SIM118
    sealed = unseal(bytes(rows[key]), "")
    rows[key] = seal(sealed.name, sealed.version + 1, sealed.body)
    rows.close()

    result = _start(run.folder / "alice", run.chain.options, free_port())

    _sentence(result, "later release", "start that release again")


def test_a_disk_that_is_full_for_a_while_loses_nothing(run: Run) -> None:
    """The actor ends at the write; the next life, with room, goes on where the disk was."""
    run.start()
    before = run.alice.invoice(1000, "before")
    row = next(row for row in run.alice.tree() if row["name"] == "payments")
    resource.prlimit(row["pid"], resource.RLIMIT_FSIZE, (1, 1))

    run.until(lambda: run.alice.invoice(1000, "after")["bolt11"], "the invoice is written")

    rows = run.alice.client.listinvoices()["invoices"]
    assert {row["label"] for row in rows} == {"before", "after"}
    assert before["bolt11"] in {row["bolt11"] for row in rows}
    again = next(row for row in run.alice.tree() if row["name"] == "payments")
    assert again["restarts"] == row["restarts"] + 1


def test_a_disk_that_stays_full_ends_no_node(run: Run) -> None:
    """No life of an actor may write: the node stays, and goes on by itself when there is room."""
    run.start()
    before = run.alice.invoice(1000, "before")
    rows = {row["name"]: row for row in run.alice.tree()}
    supervisor, hard = rows["supervisor"]["pid"], resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    for pid in (supervisor, rows["payments"]["pid"]):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, hard))
    late = threading.Thread(target=run.alice.invoice, args=(1000, "after"), daemon=True)
    late.start()

    run.until(lambda: "payments" not in {row["name"] for row in _up(run)}, "it is away")
    assert run.alice.client.call("listpeers", {}) == {"peers": []}, "the others live"
    waited_from = time.monotonic()
    run.until(lambda: time.monotonic() - waited_from > 5, "for longer than a restart takes")
    resource.prlimit(supervisor, resource.RLIMIT_FSIZE, (hard, hard))

    run.until(lambda: run.alice.invoice(1000, "after")["bolt11"], "the invoice is written")
    labels = [row["label"] for row in run.alice.client.listinvoices()["invoices"]]
    assert sorted(labels) == ["after", "before"]
    assert before["bolt11"]
    again = {row["name"]: row for row in run.alice.tree()}
    assert again["supervisor"]["pid"] == supervisor and run.restarts == 0


def _up(run: Run) -> list[dict[str, Any]]:
    return [row for row in run.alice.tree() if _lives(row["pid"])]


def _lives(pid: int) -> bool:
    found = processes.stat(pid)
    return found is not None and found.state != "Z"


def test_an_occupied_port_is_refused(run: Run) -> None:
    with socket.socket() as occupant:
        occupant.bind(("127.0.0.1", 0))
        occupant.listen()

        result = _start(run.folder / "alice", run.chain.options, occupant.getsockname()[1])

    _sentence(result, "cannot be used", "--addr")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["start", "--nework", "regtest"], "did you mean --network"),
        (["start", "--network", "regtst"], "did you mean regtest"),
        (["start", "--network", "bitcoin"], "bitcoin (mainnet) is refused"),
        (["start", "--network", "mainnet"], "--accept-losing-money"),
        (["start", "--network", "bitcoin", "--accept-losing-money"], "needs a bitcoind"),
        (["start", "--network", "bitcoin", "--accept-losing-money=no"], "is refused"),
        (["start", "--addr", "nowhere:0"], "addr"),
        (["start", "--lightning-dir", "/dev/null"], "cannot be used"),
        (["chain", "--datadir", "/dev/null"], "cannot be used"),
        (["start", "--help-me"], "see daruma --help"),
        (["start", "--lightning-dir", ""], "lightning-dir is empty"),
        (["start", "--lightning-dir", "/tmp/" + "x" * 120], "too long for a unix socket"),
        (["getinfo", "--lightning-dir", "/tmp/daruma-nobody-here"], "start it with"),
    ],
)
def test_a_wrong_command_line_gets_one_sentence(words: list[str], text: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "daruma", *words], capture_output=True, text=True, check=False
    )

    _sentence(result, text)


@pytest.mark.parametrize("file", ["log", "lock"])
def test_a_file_that_cannot_be_used_is_named_and_no_new_node_is_advised(
    tmp_path: Path, file: str
) -> None:
    folder = tmp_path / "regtest"
    (folder / file).mkdir(parents=True)
    seed.load_or_make(folder)

    result = _start(tmp_path, [], free_port())

    _sentence(result, str(folder / file), "give it to the node's user and start again")


def test_too_few_descriptors_are_found_before_anything_is_started(tmp_path: Path) -> None:
    command = f"ulimit -n 60; exec {sys.executable} -m daruma start --lightning-dir {tmp_path}/n"

    result = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False
    )

    _sentence(result, "60 file descriptors are allowed", "needs 128: raise the limit")
    assert not (tmp_path / "n").exists()


def test_help_is_read_from_the_top(run: Run) -> None:
    """A method on one line with what it takes, and what it does on the next."""
    run.start()
    words = ["--lightning-dir", str(run.alice.folder), "-H", "help"]

    result = subprocess.run(
        [sys.executable, "-m", "daruma", *words], capture_output=True, text=True, check=False
    )

    lines = result.stdout.splitlines()
    assert lines[0].startswith("== ")
    place = next(n for n, text in enumerate(lines) if text.startswith("pay bolt11"))
    assert lines[place + 1].startswith("    ")


def test_an_unknown_key_in_the_configuration_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('alais = "me"\n')

    result = _start(tmp_path, [], free_port())

    _sentence(result, "unknown key 'alais'", "did you mean alias")


def test_a_refused_method_has_status_one_and_the_error(run: Run) -> None:
    run.start()
    words = ["pay", "nonsense", "--lightning-dir", str(run.alice.folder)]

    result = subprocess.run(
        [sys.executable, "-m", "daruma", *words], capture_output=True, text=True, check=False
    )

    assert result.returncode == 1
    assert json.loads(result.stdout)["code"] == -32602
    until(lambda: run.alice.client.getinfo(), "the node goes on")


def test_the_key_of_a_frame_is_checked_and_nobody_listens_off_loopback(run: Run) -> None:
    """Thespian's ports: a forged frame is not unpickled; every listener is on loopback."""
    run.start()
    inodes = set()
    for row in run.alice.tree():
        for entry in Path(f"/proc/{row['pid']}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed while we look
                target = os.readlink(entry)
                if target.startswith("socket:["):
                    inodes.add(target[8:-1])
    listening = [
        line.split()
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[3] == "0A" and line.split()[9] in inodes
    ]
    assert listening
    assert {"0100007F"} == {row[1].split(":")[0] for row in listening}
    mark = run.folder / "forged"
    body = b"cos\nmkdir\n(S'" + str(mark).encode() + b"'\ntR."
    for row in listening:
        port = int(row[1].split(":")[1], 16)
        if port != run.alice.port:
            with socket.create_connection(("127.0.0.1", port), 2) as sock:
                sock.sendall(b"%d>" % len(body) + body)
    assert run.alice.client.getinfo()["id"] == run.alice.id
    assert not mark.exists()


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        ("announce-addr", "short.onion:1", "no address to connect to"),
        ("announce-addr", "a.example,b.example", "only one hostname"),
        ("zeroconf-peers", "02ab", "not a node id"),
    ],
)
def test_an_option_that_cannot_be_heeded_is_refused(
    tmp_path: Path, option: str, value: str, text: str
) -> None:
    with pytest.raises(ConfigError, match=text):
        load({"lightning-dir": str(tmp_path), option: value}, {})


def test_addresses_are_announced_and_shown(tmp_path: Path) -> None:
    given = {"lightning-dir": str(tmp_path), "announce-addr": "203.0.113.7:9735,[2001:db8::7]:1"}

    config = load(given, {})

    assert config.announced == (("ipv4", "203.0.113.7", 9735), ("ipv6", "2001:db8::7", 1))
