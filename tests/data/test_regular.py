"""What is no file is refused before it is opened."""

import os
import socket

import pytest

from fairseq_ecg.data.regular import require_file
from fairseq_ecg.errors import DataError


def test_files_and_links_to_them_pass(tmp_path):
    (tmp_path / "a.edf").touch()
    (tmp_path / "link.edf").symlink_to("a.edf")
    require_file(tmp_path / "a.edf")
    require_file(str(tmp_path / "link.edf"))


def test_nothing_is_the_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        require_file(tmp_path / "a.edf")


def test_all_else_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    os.mkfifo("pipe")
    (tmp_path / "link").symlink_to("pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        for path, kind in (
            (str(tmp_path), "folder"),
            ("pipe", "named pipe"),
            ("link", "named pipe"),
            ("socket", "socket"),
            (os.devnull, "device"),
        ):
            with pytest.raises(DataError, match=f"^{path}: is a {kind}, not a file$"):
                require_file(path)
