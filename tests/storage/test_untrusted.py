"""The one place that opens files of unknown origin: what it reads, and what it refuses without hanging or bursting."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wsdet.storage.untrusted import (
    MAX_DEPTH,
    is_unicode,
    opened,
    read_bytes,
    read_json,
    read_object,
    read_text,
    read_xml,
    read_yaml,
    shown,
)
from wsdet.types import InputError

READERS = [read_bytes, read_text, read_json, read_yaml, read_xml]


def socket_at(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


def write(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "a"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (os.mkfifo, "must be a regular file, it is a pipe"),
        (lambda path: path.symlink_to("/dev/zero"), "must be a regular file, it is a device"),
        (lambda path: path.symlink_to("/dev/tty"), "it is a device|cannot be opened"),
        (socket_at, "cannot be opened"),
        (lambda path: path.mkdir(), "cannot be opened: Is a directory"),
        (lambda path: path.symlink_to(path.name), "cannot be opened: Too many levels"),
        (lambda path: path.symlink_to("nothing"), "does not exist"),
        (lambda path: None, "does not exist"),
    ],
    ids=["pipe", "zero", "terminal", "socket", "folder", "loop", "broken link", "missing"],
)
def test_only_regular_files_are_opened_and_nothing_waits(
    tmp_path: Path, read: Callable[[Path], Any], make: Callable[[Path], None], says: str
) -> None:
    make(tmp_path / "a")
    start = time.process_time()
    with pytest.raises(InputError, match=rf"{tmp_path}/a ({says})"):
        read(tmp_path / "a")
    assert time.process_time() - start < 1


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 300])
def test_what_is_no_name_of_a_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot be opened"):
        read_bytes(tmp_path / name)


def test_a_link_to_a_regular_file_is_followed(tmp_path: Path) -> None:
    write(tmp_path, "1")
    (tmp_path / "link").symlink_to("a")
    assert read_json(tmp_path / "link") == 1


@pytest.mark.parametrize("read", READERS)
def test_larger_files_are_refused_before_they_are_read(tmp_path: Path, read: Callable[..., Any]) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.truncate(2**40)  # sparse: takes no room
    with pytest.raises(InputError, match="has 1099511627776 bytes, at most 100 are read"):
        read(tmp_path / "a", 100)
    with pytest.raises(InputError, match="has 1099511627776 bytes, at most"):
        read(tmp_path / "a")


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no files there whose size is not told")
def test_a_file_that_does_not_tell_its_size_is_read_up_to_the_limit() -> None:
    with pytest.raises(InputError, match="more than 10 bytes"):
        read_bytes("/proc/self/maps", 10)


def test_a_large_file_can_be_read_in_parts(tmp_path: Path) -> None:
    with opened(write(tmp_path, b"12345"), 5) as file:
        assert (file.read(2), file.read()) == (b"12", b"345")


def test_text_is_utf_8_with_or_without_a_byte_order_mark(tmp_path: Path) -> None:
    assert read_text(write(tmp_path, b"\xef\xbb\xbfK\xc3\xa4se")) == "Käse"
    with pytest.raises(InputError, match=r"not UTF-8 text.*save it as UTF-8"):
        read_text(write(tmp_path, "Käse".encode("latin-1")))


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ('{"a": [1, 2.5, null, true, "\\ud83d\\ude00"]}', {"a": [1, 2.5, None, True, "\U0001f600"]}),
        ("[" * MAX_DEPTH + "]" * MAX_DEPTH, None),
        ('"\\\\ud800"', "\\ud800"),  # an escaped backslash
        ("1e999", float("inf")),
    ],
)
def test_json_within_the_limits(tmp_path: Path, content: str, value: Any) -> None:
    found = read_json(write(tmp_path, content))
    assert value is None or found == value


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2), "nested more than 100 levels"),
        ('{"a":' * 100_000, "nested more than 100 levels"),
        ('{"name": "\\ud800"}', "half of a surrogate pair"),
        ('{"\\uDFFF": 1}', "half of a surrogate pair"),
        ("9" * 5000, "not a JSON file"),
        ("", "not a JSON file"),
        ("{'a': 1}", "not a JSON file"),
    ],
    ids=["deep", "very deep", "surrogate", "surrogate key", "long number", "empty", "quotes"],
)
def test_json_beyond_the_limits(tmp_path: Path, content: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_json(write(tmp_path, content))


def test_an_object_is_an_object(tmp_path: Path) -> None:
    assert read_object(write(tmp_path, '{"a": 1}')) == {"a": 1}
    with pytest.raises(InputError, match="must hold a JSON object, got list"):
        read_object(write(tmp_path, "[1]"))


def test_yaml_with_a_few_aliases_and_merged_keys(tmp_path: Path) -> None:
    content = "base: &b {x: 1}\none: *b\ntwo: {<<: *b, y: &s text}\nthree: *s\n"
    assert read_yaml(write(tmp_path, content)) == {
        "base": {"x": 1},
        "one": {"x": 1},
        "two": {"x": 1, "y": "text"},
        "three": "text",
    }


_BOMB = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (_BOMB, "more than 100000 values"),
        (_BOMB.replace("[*", "{<<: [*").replace("]\n", "]}\n").replace("{<<: [x]}", "{x: 1}"), "YAML|values"),
        ("a: &a [1, *a]\n", "inside what it stands for"),
        ("[" * 200 + "]" * 200, "nested more than"),
        ("[" * 100_000, "nested more than|YAML"),
        ("- x\n" * 150_000, "more than 100000 values"),
        ("!!python/object/apply:os.system [touch x]", "YAML"),
        ("!!timestamp 2001-99-99", "YAML"),
        ('a: "\\ud800"', "surrogate"),
        ("a: *nowhere", "inside what it stands for|YAML"),
        ("? [a]\n: b", "YAML"),
        ("a: b: c", "YAML"),
        ("9" * 5000, "YAML"),
    ],
)
def test_yaml_beyond_the_limits(tmp_path: Path, content: str, says: str) -> None:
    start = time.process_time()
    with pytest.raises(InputError, match=says):
        read_yaml(write(tmp_path, content))
    assert time.process_time() - start < 10


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "declares a document type"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', "declares a document type"),
        ("<a>", "not well-formed"),
        ("", "not well-formed"),
        (b'<?xml version="1.0" encoding="nonsense"?><a/>', "not well-formed"),
    ],
)
def test_xml_declares_nothing(tmp_path: Path, content: str | bytes, says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_xml(write(tmp_path, content))
    assert read_xml(write(tmp_path, "<a><b>1</b></a>")).findtext("b") == "1"


def test_what_can_be_written_and_what_can_be_shown() -> None:
    assert is_unicode("Käse \U0001f600")
    assert not is_unicode(os.fsdecode(b"\xff.jpg"))
    assert shown("Käse 1.jpg") == "Käse 1.jpg"
    assert shown("a\x1b]0;x\x07\n") == "a\\x1b]0;x\\x07\\n"
