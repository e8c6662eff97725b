from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from configs.kernel.errors import PeerError
from media.webrtc.certificate import FILE_NAME, VALIDITY, Certificate, Fingerprint

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_is_kept_and_readable_only_by_us(tmp_path: Path) -> None:
    made = Certificate.load_or_generate(tmp_path / "data", now=NOW)
    again = Certificate.load_or_generate(tmp_path / "data", now=NOW)

    assert again.fingerprint == made.fingerprint
    assert (tmp_path / "data" / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_is_renewed_before_it_runs_out(tmp_path: Path) -> None:
    made = Certificate.load_or_generate(tmp_path, now=NOW)
    later = Certificate.load_or_generate(tmp_path, now=NOW + VALIDITY - timedelta(days=10))

    assert later.fingerprint != made.fingerprint


@pytest.mark.parametrize("content", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\n"])
def test_a_broken_file_is_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)

    made = Certificate.load_or_generate(tmp_path, now=NOW)

    assert Certificate.load_or_generate(tmp_path, now=NOW).fingerprint == made.fingerprint


def test_fingerprints_are_read_in_any_case() -> None:
    made = Certificate.generate(now=NOW).fingerprint

    assert Fingerprint.parse(f"SHA-256 {made.value.lower()}") == made


def test_an_unknown_hash_is_passed_over() -> None:
    assert Fingerprint.parse("sha-1 " + ":".join(["AB"] * 20)) is None


@pytest.mark.parametrize("text", ["", "sha-256", "sha-256 AB:CD", "sha-256 zz", "sha-256 AB:"])
def test_malformed_fingerprints_are_refused(text: str) -> None:
    with pytest.raises(PeerError):
        Fingerprint.parse(text)
