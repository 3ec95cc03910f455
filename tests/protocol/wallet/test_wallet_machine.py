"""The wallet alone on a bench: scripts have a purpose, and coins a reservation."""

from __future__ import annotations

from protocol.wallet.messages import CoinsRefused, NewScript, ReserveCoins, ScriptIs
from protocol.wallet.port import Adopt, Build, Built, Examined, Reveal, Revealed
from tests.kit.benches import HEIGHT, TIP, bench


def test_a_purpose_has_one_script_for_ever() -> None:
    wallet = bench("wallet")
    assert len(wallet.take(Adopt)) == 1
    wallet.hear("funding", NewScript(purpose="1"))
    assert wallet.take(Reveal) == [Reveal(purpose="1")]
    wallet.report(Revealed(purpose="1", script=b"\x51", address="a", external=0, internal=-1))
    assert wallet.take(ScriptIs) == [ScriptIs(purpose="1", script=b"\x51")]

    wallet.restart()
    wallet.take(Adopt)
    wallet.hear("funding", NewScript(purpose="1"))
    assert wallet.take(ScriptIs) == [ScriptIs(purpose="1", script=b"\x51")]
    assert not wallet.take(Reveal)


def test_coins_that_do_not_suffice_are_refused_and_nothing_is_kept() -> None:
    wallet = bench("wallet")
    wallet.hear("chain", TIP)
    wallet.report(Examined(height=HEIGHT, hash=bytes(32), time=0, ours=()))
    wallet.hear(
        "funding", ReserveCoins(purpose="1", outputs=((b"\x51", 1000),), feerate_per_kw=1000)
    )
    (order,) = wallet.take(Build)
    assert order.request.purpose == "1"
    wallet.report(Built(purpose="1", raw=None, reason="not enough", external=-1, internal=-1))

    assert [one.purpose for one in wallet.take(CoinsRefused)] == ["1"]
    assert not wallet.rows("reservation")
