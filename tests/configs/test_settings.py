import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from configs.settings import DEFAULTS, SECTIONS, SettingsError, load


def test_the_default_file_names_every_key_and_no_other() -> None:
    named = {section: set(keys) for section, keys in tomllib.loads(DEFAULTS.read_text()).items()}

    assert named == {name: {f.name for f in fields(kind)} for name, kind in SECTIONS.items()}


def test_every_default_is_explained() -> None:
    keys = [line for line in DEFAULTS.read_text().splitlines() if line[:1].isalpha()]

    assert [line for line in keys if " # " not in line] == []


def test_environment_wins_over_file_and_file_over_default(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[media]\nrtmp_port = 2000\nsrt_port = 2001\n")

    settings = load(file, {"VITRINE_MEDIA__SRT_PORT": "3001", "HOME": "x"})

    assert settings.media.rtmp_port == 2000
    assert settings.media.srt_port == 3001
    assert settings.media.webrtc_port == 8189


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[media]\nrtmp_prot = 1\n", "media.rtmp_prot"),
        ("[medai]\nrtmp_port = 1\n", "[medai]"),
        ("media = 3\n", "[media]"),
        ('[media]\nrtmp_port = "x"\n', "media.rtmp_port"),
        ("[media]\nrtmp_port = true\n", "media.rtmp_port"),
        ("[media]\nrtmp_port = 70000\n", "rtmp_port"),
        ('[media]\ntakeover = "maybe"\n', "media.takeover"),
        ('[media]\nsrt_passphrase = "short"\n', "media.srt_passphrase"),
        ('[media]\nsrt_port_rooms = "9001"\n', "media.srt_port_rooms"),
        ('[media]\nsrt_port_rooms = "a=b"\n', "media.srt_port_rooms"),
        ('[server]\ntls_cert = "a.pem"\n', "server.tls_key"),
        ("[hls]\npart_s = 9\n", "hls.part_s"),
        ("[hls\n", "mine.toml"),
    ],
)
def test_a_wrong_file_is_an_error_that_names_the_key(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)

    with pytest.raises(SettingsError) as error:
        load(file, {})

    assert named in str(error.value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("VITRINE_MEDIA__RTMP_PROT", "1"),
        ("VITRINE_MEDAI__RTMP_PORT", "1"),
        ("VITRINE_MEDIA__RTMP_PORT", "many"),
        ("VITRINE_HLS__PART_S", "short"),
    ],
)
def test_a_wrong_variable_is_an_error_that_names_it(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        load(None, {variable: value})


def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent\.toml"):
        load(tmp_path / "absent.toml", {})


def test_lists_in_settings() -> None:
    environ = {
        "VITRINE_MEDIA__WEBRTC_HOSTS": "127.0.0.1, ::1",
        "VITRINE_MEDIA__SRT_PORT_ROOMS": "9001=demo,9002=shop",
    }

    media = load(None, environ).media

    assert media.webrtc_host_list == ("127.0.0.1", "::1")
    assert media.srt_rooms_by_port == {9001: "demo", 9002: "shop"}
