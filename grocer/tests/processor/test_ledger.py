"""The ledger keeps what it has said, however often it is opened."""

from pathlib import Path

import apsw
import pytest

from grocer.processor.ledger import ChargeRequest, KeyReused, Ledger, RefundRequest, _connect

REQUEST = ChargeRequest(amount="12.34", currency="USD", card="tok_ok", reference="order-1")


def test_a_commit_is_on_disk_before_it_is_answered(tmp_path: Path) -> None:
    """Every connection writes ahead and syncs at each commit, and keeps refunds to charges that exist."""
    connection = _connect(tmp_path / "ledger.sqlite3")
    settings = {
        name: connection.execute(f"PRAGMA {name}").get for name in ("journal_mode", "synchronous", "foreign_keys")
    }
    connection.close()
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


async def test_it_remembers_when_it_is_opened_again(tmp_path: Path) -> None:
    """Charges, refunds and their keys are the same after a restart."""
    file = tmp_path / "ledger.sqlite3"
    with Ledger(file) as ledger:
        charge, is_new = await ledger.charge("key-1", REQUEST, declined=False)
        refund = await ledger.refund("back-1", RefundRequest(amount="2.34", charge="key-1"))
        assert is_new
    with Ledger(file) as ledger:
        again, is_new = await ledger.charge("key-1", REQUEST, declined=True)
        assert not is_new
        assert again == ledger.find("key-1")
        assert (again.position, again.status, again.refunded) == (charge.position, "succeeded", "2.34")
        assert await ledger.refund("back-1", RefundRequest(amount="2.34", charge="key-1")) == refund
        with pytest.raises(KeyReused, match="use a new key"):
            await ledger.refund("back-1", RefundRequest(amount="2.35", charge="key-1"))


async def test_it_can_be_read_by_two_processors_for_a_moment(tmp_path: Path) -> None:
    """A successor that opens the ledger before its predecessor has ended shares its keys: nobody is charged twice."""
    file = tmp_path / "ledger.sqlite3"
    with Ledger(file) as predecessor, Ledger(file) as successor:
        first = await predecessor.charge("key-1", REQUEST, declined=False)
        second = await successor.charge("key-1", REQUEST, declined=False)
    assert (first.is_new, second.is_new) == (True, False)
    assert first.charge == second.charge


async def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path) -> None:
    """What is there is left as it is."""
    file = tmp_path / "ledger.sqlite3"
    file.write_text("a shopping list, long enough to be no empty database " * 20)
    with pytest.raises(apsw.Error):
        Ledger(file)
    assert file.read_text().startswith("a shopping list")
