"""References to secrets: what is read, what is refused, and that no message tells one."""

import os
from pathlib import Path

import pytest

from probe.config.secrets import MAX_BYTES, MAX_SHOWN, SecretError, SecretStore

VALUE = b"correct horse battery staple"


@pytest.fixture
def private(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_bytes(VALUE + b"\n")
    path.chmod(0o600)
    return path


def test_a_file_gives_its_bytes_without_one_line_end(private: Path) -> None:
    secret = SecretStore({}).get("file", str(private))
    assert secret.reveal() == VALUE
    assert secret.source == f"file:{private}"
    private.write_bytes(b" \xff\x00 \n\n")
    assert SecretStore({}).get("file", str(private)).reveal() == b" \xff\x00 \n"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601])
def test_a_file_that_others_may_use_is_refused(private: Path, mode: int) -> None:
    private.chmod(mode)
    with pytest.raises(SecretError, match=rf"has mode {mode:04o}, so others may use it: chmod 600"):
        SecretStore({}).get("file", str(private))


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "folder").mkdir(mode=0o700)
    for name in ("pipe", "folder"):
        with pytest.raises(SecretError, match="is not a regular file"):
            SecretStore({}).get("file", str(tmp_path / name))


def test_a_symlink_is_judged_by_what_it_points_to(tmp_path: Path, private: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(private)
    assert SecretStore({}).get("file", str(link)).reveal() == VALUE


def test_size_is_bounded(private: Path) -> None:
    private.write_bytes(b"x" * MAX_BYTES)
    assert len(SecretStore({}).get("file", str(private)).reveal()) == MAX_BYTES
    private.write_bytes(b"x" * (MAX_BYTES + 1))
    with pytest.raises(SecretError, match="is larger than 65536 bytes"):
        SecretStore({}).get("file", str(private))
    with pytest.raises(SecretError, match="is larger than 65536 bytes"):
        SecretStore({"V": "x" * (MAX_BYTES + 1)}).get("env", "V")


def test_a_missing_file_and_a_relative_path_say_so(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match="No such file or directory"):
        SecretStore({}).get("file", str(tmp_path / "none"))
    with pytest.raises(SecretError, match="must be absolute"):
        SecretStore({}).get("file", "secret")
    with pytest.raises(SecretError, match="is not a path"):
        SecretStore({}).get("file", "/a\x00b")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        pytest.param("a\x1b[2Jb", r"a\x1b[2Jb", id="an escape sequence"),
        pytest.param("a\nERROR b", r"a\nERROR b", id="a line end"),
        pytest.param("a\u202eb", r"a\u202eb", id="a bidirectional override"),
        pytest.param("a\udcffb", r"a\udcffb", id="a byte that is not UTF-8"),
        pytest.param("Schlüssel 1", "Schlüssel 1", id="what prints as it is"),
    ],
)
def test_a_path_in_a_message_does_nothing_to_a_terminal(name: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with pytest.raises(SecretError) as missing:
        SecretStore({}).get("file", str(path))
    assert str(missing.value) == f"{tmp_path}/{told} cannot be opened: No such file or directory"
    path.write_bytes(VALUE)
    path.chmod(0o644)
    with pytest.raises(SecretError) as open_to_all:
        SecretStore({}).get("file", str(path))
    place = f"{tmp_path}/{told}"
    assert str(open_to_all.value) == f"{place} has mode 0644, so others may use it: chmod 600 {place}"
    with pytest.raises(SecretError) as credential:
        SecretStore({"CREDENTIALS_DIRECTORY": str(path)}).get("credential", "imap")
    assert str(credential.value) == f"{place}/imap cannot be opened: Not a directory"


def test_a_long_path_is_cut_in_a_message() -> None:
    with pytest.raises(SecretError) as long:
        SecretStore({}).get("file", "/" + "x" * 100_000)
    assert len(str(long.value)) < MAX_SHOWN + 50


def test_environment() -> None:
    assert SecretStore({"V": "word"}).get("env", "V").reveal() == b"word"
    with pytest.raises(SecretError, match="variable W is not set"):
        SecretStore({"V": "word"}).get("env", "W")
    with pytest.raises(SecretError, match="not the name of an environment variable"):
        SecretStore({"A=B": "word"}).get("env", "A=B")


def test_credentials_come_from_the_directory_whatever_their_mode(private: Path) -> None:
    private.chmod(0o440)
    environ = {"CREDENTIALS_DIRECTORY": str(private.parent)}
    assert SecretStore(environ).get("credential", "secret").reveal() == VALUE


@pytest.mark.fault("P28")
@pytest.mark.parametrize("name", ["../secret", "..", ".", "a/b", "", ".hidden", "x" * 256])
def test_a_credential_cannot_leave_its_directory(name: str, private: Path) -> None:
    with pytest.raises(SecretError, match="a credential's name"):
        SecretStore({"CREDENTIALS_DIRECTORY": str(private.parent)}).get("credential", name)


def test_without_credentials_the_next_step_is_named() -> None:
    with pytest.raises(SecretError, match="LoadCredential=imap"):
        SecretStore({}).get("credential", "imap")


def test_empty_is_refused(private: Path) -> None:
    private.write_bytes(b"\n")
    with pytest.raises(SecretError, match="the secret is empty"):
        SecretStore({}).get("file", str(private))


def test_without_resolving_nothing_is_read(tmp_path: Path) -> None:
    secret = SecretStore({}, resolve=False).get("file", str(tmp_path / "none"))
    assert secret.reveal() == b""
    assert secret.source == f"file:{tmp_path / 'none'}"


def test_a_secret_never_prints(private: Path) -> None:
    secret = SecretStore({}).get("file", str(private))
    assert VALUE.decode() not in f"{secret} {secret!r} {[secret]}"
