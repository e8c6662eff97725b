"""The settings: one frozen tree, read once at start: `default.toml`, a file, the environment.

Later sources win. `default.toml` is the manual: it names every key, and nothing but what it names
is accepted, so that a misspelt key is an error instead of a silent default.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal, cast, get_args, get_type_hints

from configs.kernel.errors import AppError

DEFAULTS: Final = Path(__file__).with_name("default.toml")
PREFIX: Final = "VITRINE_"


class SettingsError(AppError):
    """A setting is unknown, of the wrong type or out of range; the message names it."""

    code = "settings"


@dataclass(frozen=True, slots=True)
class ServerSettings:
    http_host: str
    http_port: int
    public_url: str
    data_dir: str
    roles: str
    tls_cert: str
    tls_key: str
    log_format: Literal["console", "json"]
    log_level: Literal["debug", "info", "warning", "error"]
    drain_timeout_s: float
    max_connections: int
    half_open_per_address: int


@dataclass(frozen=True, slots=True)
class MediaSettings:
    rtmp_host: str
    rtmp_port: int
    rtmps_port: int
    srt_host: str
    srt_port: int
    srt_latency_ms: int
    srt_passphrase: str
    srt_port_rooms: str
    webrtc_host: str
    webrtc_port: int
    webrtc_hosts: str
    max_viewers: int
    takeover: Literal["takeover", "reject"]
    grace_period_s: float
    handshake_timeout_s: float
    half_open_per_address: int

    @property
    def webrtc_host_list(self) -> tuple[str, ...]:
        return tuple(host.strip() for host in self.webrtc_hosts.split(",") if host.strip())

    @property
    def srt_rooms_by_port(self) -> dict[int, str]:
        pairs = [pair.partition("=") for pair in self.srt_port_rooms.split(",") if pair.strip()]
        return {int(port): room.strip() for port, _, room in pairs}


@dataclass(frozen=True, slots=True)
class HlsSettings:
    part_s: float
    segment_s: float
    window_s: float
    ended_keep_s: float


@dataclass(frozen=True, slots=True)
class StoreSettings:
    database_url: str
    redis_url: str
    broker_url: str


@dataclass(frozen=True, slots=True)
class Settings:
    server: ServerSettings
    media: MediaSettings
    hls: HlsSettings
    store: StoreSettings


SECTIONS: Final[Mapping[str, type]] = get_type_hints(Settings)


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Reads the settings; raises `SettingsError` that names the key and where it stands."""
    values = _read(DEFAULTS)
    if path is not None:
        _merge(values, _read(path), str(path))
    _merge_environment(values, environ)
    sections = {
        name: kind(**_section(name, kind, values.get(name, {}))) for name, kind in SECTIONS.items()
    }
    settings = Settings(**sections)
    _check(settings)
    return settings


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from error


def _merge(values: dict[str, dict[str, Any]], changes: Mapping[str, Any], source: str) -> None:
    for section, entries in changes.items():
        if section not in SECTIONS or not isinstance(entries, dict):
            raise SettingsError(f"{source}: unknown section [{section}]")
        known = {field.name for field in fields(SECTIONS[section])}
        for key, value in entries.items():
            if key not in known:
                raise SettingsError(f"{source}: unknown key {section}.{key}")
            values[section][key] = value


def _merge_environment(values: dict[str, dict[str, Any]], environ: Mapping[str, str]) -> None:
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or "__" not in variable:
            continue
        section, _, key = variable.removeprefix(PREFIX).lower().partition("__")
        kinds = get_type_hints(SECTIONS[section]) if section in SECTIONS else {}
        if key not in kinds:
            raise SettingsError(f"{variable}: unknown key {section}.{key}")
        values[section][key] = _from_text(variable, kinds[key], environ[variable])


def _from_text(variable: str, kind: Any, text: str) -> str | int | float:
    if kind not in (int, float):
        return text
    try:
        return cast("int | float", kind(text))
    except ValueError as error:
        what = "a whole number" if kind is int else "a number"
        raise SettingsError(f"{variable}: must be {what}, not {text!r}") from error


def _section(name: str, kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {key: _typed(f"{name}.{key}", hints[key], value) for key, value in values.items()}


def _typed(name: str, kind: Any, value: Any) -> str | int | float:
    choices = get_args(kind)
    if choices:
        if value not in choices:
            raise SettingsError(f"{name}: must be one of {', '.join(choices)}, not {value!r}")
        return cast("str", value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, kind):
        raise SettingsError(f"{name}: must be {kind.__name__}, not {value!r}")
    return cast("str | int | float", value)


def _check(settings: Settings) -> None:
    for section in (settings.server, settings.media):
        for field in fields(section):
            value = getattr(section, field.name)
            if field.name.endswith("_port") and not 0 <= value <= 65535:
                raise SettingsError(f"{field.name}: {value} is not a port")
    if bool(settings.server.tls_cert) != bool(settings.server.tls_key):
        raise SettingsError("server.tls_cert and server.tls_key must be set together")
    passphrase = settings.media.srt_passphrase
    if passphrase and not 10 <= len(passphrase.encode()) <= 79:
        raise SettingsError("media.srt_passphrase: must be 10 to 79 bytes long")
    try:
        rooms = settings.media.srt_rooms_by_port
    except ValueError as error:
        raise SettingsError("media.srt_port_rooms: must look like 9001=demo,9002=shop") from error
    if any(not room or not 0 < port < 65536 for port, room in rooms.items()):
        raise SettingsError("media.srt_port_rooms: must look like 9001=demo,9002=shop")
    if not 0.1 <= settings.hls.part_s <= settings.hls.segment_s:
        raise SettingsError("hls.part_s: must be from 0.1 to hls.segment_s")
    if settings.server.roles != "all":
        raise SettingsError("server.roles: only 'all' is served by this release")
