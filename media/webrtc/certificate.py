"""The certificate that all DTLS handshakes of this server use, and fingerprints (RFC 8122)."""

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from configs.kernel.errors import PeerError

VALIDITY: Final = timedelta(days=365)
RENEW_BEFORE: Final = timedelta(days=30)
FILE_NAME: Final = "webrtc.pem"

_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "sha-256": hashes.SHA256(),
    "sha-384": hashes.SHA384(),
    "sha-512": hashes.SHA512(),
}
_HEX_PAIRS: Final = re.compile(r"[0-9A-F]{2}(:[0-9A-F]{2})*")


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A certificate's digest as it stands in SDP: `algorithm` as in ``sha-256``, `value` in upper
    case hex pairs with colons between them."""

    algorithm: str
    value: str

    @classmethod
    def parse(cls, text: str) -> "Fingerprint | None":
        """From the value of an ``a=fingerprint`` line. None: an algorithm that we do not take.
        Raises `PeerError` when it is no fingerprint at all."""
        algorithm, _, value = text.strip().partition(" ")
        algorithm, value = algorithm.lower(), value.strip().upper()
        if not _HEX_PAIRS.fullmatch(value):
            raise PeerError("malformed fingerprint", code="sdp_malformed")
        known = _HASHES.get(algorithm)
        if known is None:
            return None
        if len(value) != known.digest_size * 3 - 1:
            raise PeerError("fingerprint of a wrong length", code="sdp_malformed")
        return cls(algorithm, value)

    @classmethod
    def of(cls, certificate: x509.Certificate, algorithm: str = "sha-256") -> "Fingerprint":
        return cls(algorithm, certificate.fingerprint(_HASHES[algorithm]).hex(":").upper())

    def matches(self, certificate: x509.Certificate) -> bool:
        return self == Fingerprint.of(certificate, self.algorithm)


@dataclass(frozen=True, slots=True)
class Certificate:
    """An ECDSA P-256 key with its self-signed certificate."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def fingerprint(self) -> Fingerprint:
        return Fingerprint.of(self.certificate)

    @classmethod
    def generate(cls, *, now: datetime) -> "Certificate":
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "WebRTC")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + VALIDITY)
            .sign(key, hashes.SHA256())
        )
        return cls(key, certificate)

    @classmethod
    def load_or_generate(cls, directory: Path, *, now: datetime | None = None) -> "Certificate":
        """The one kept in `directory` as `FILE_NAME`; a new one (written with mode 0600) when there
        is none, it cannot be read, or it will soon run out."""
        now = now or datetime.now(UTC)
        path = directory / FILE_NAME
        kept = cls._load(path)
        if kept is not None and kept.certificate.not_valid_after_utc - RENEW_BEFORE > now:
            return kept
        made = cls.generate(now=now)
        directory.mkdir(parents=True, exist_ok=True)
        made._store(path)
        return made

    @classmethod
    def _load(cls, path: Path) -> "Certificate | None":
        try:
            pem = path.read_bytes()
            key = serialization.load_pem_private_key(pem, None)
            certificate = x509.load_pem_x509_certificate(pem)
        except (OSError, ValueError):
            return None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            return None
        return cls(key, certificate) if key.public_key() == certificate.public_key() else None

    def _store(self, path: Path) -> None:
        pem = self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ) + self.certificate.public_bytes(serialization.Encoding.PEM)
        # A new file that takes the old one's place: never half-written, never readable by others.
        part = path.with_suffix(".part")
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
        part.replace(path)
