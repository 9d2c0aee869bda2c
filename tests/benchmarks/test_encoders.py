"""The benchmark of the encoders measures what it says."""

import pytest

from benchmarks import encoders


async def test_every_protocol_is_beside_the_native_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "ROUNDS", 1)
    rows = await encoders.measured()
    assert list(rows) == list(encoders.ENCODERS)
    assert all(alone > 0 and whole > 0 for alone, whole, _ in rows.values())
    assert all(size > len(" token") for *_, size in rows.values())
    assert "| native |" in encoders.table(rows)
