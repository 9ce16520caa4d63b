import pytest

from fairseq_ecg.data.names import path_below, plain_name, printable
from fairseq_ecg.errors import DataError

PLAIN = [
    "shard-000000.npy",
    "s0010_re.dat",
    "..two dots",
    ".hidden",
    "a b",
    "Ableitung-ä",
    "12:30:00.mat",
    "x" * 255,
    "caf\udce9.dat",  # bytes that are not UTF-8
]

NOT_PLAIN = {
    "": "names no file",
    ".": "names no file",
    "..": "another folder",
    " .. ": "names no file",
    "../x": "another folder",
    "a/b": "another folder",
    "/etc/passwd": "another folder",
    "..\\x": "another folder",
    "\\\\server\\share": "another folder",
    "C:": "drive",
    "c:x.dat": "drive",
    "x\0.dat": "control",
    "x\n": "control",
    "\x1b]0;title\x07": "control",
    "x\x85": "control",
    "x\u2028": "control",
    "x" * 256: "255 bytes",
    "ä" * 128: "255 bytes",
    "\ud800": "no file can have",
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_names_are_returned(name):
    assert plain_name("x.hea", name, "the file of a signal") == name


@pytest.mark.parametrize("name", NOT_PLAIN)
def test_what_could_leave_the_folder_is_refused_by_name(name):
    with pytest.raises(DataError) as error:
        plain_name("x.hea", name, "the file of a signal")
    message = str(error.value)
    assert message.startswith("x.hea: the file of a signal is '")
    assert NOT_PLAIN[name] in message
    assert message.isascii()
    assert message.isprintable()
    assert len(message) < 300


@pytest.mark.parametrize("name", [None, 3, b"x", ["x"], float("nan"), b"x" * 10**6, [0] * 10**5])
def test_what_is_no_text_is_refused(name):
    with pytest.raises(DataError, match="is no text") as error:
        plain_name("x.hea", name, "the file of a signal")
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    "path", ["a.mat", "p10/p1/s1.mat", "./a", "a//b", "a b/ä.mat", "~/x", "x" * 255 + "/y"]
)
def test_paths_below_a_folder_are_returned(path):
    assert path_below("x.tsv", path, "the path", "the root") == path


@pytest.mark.parametrize(
    "path",
    [
        *("", ".", "./", "/", "/etc/passwd", "//x", "..", "../x", "a/../b", "a/..", "./../x"),
        *("C:/x", "C:x", "a\\..\\..\\x", "a/\0", "a/b\nc", "x" * 256, "a/" + "x" * 256 + "/b"),
        *("http://host/x\r", None, 3),
    ],
)
def test_paths_that_leave_the_folder_are_refused(path):
    with pytest.raises(
        DataError, match=r"^x\.tsv: the path is .*it is not below the root"
    ) as error:
        path_below("x.tsv", path, "the path", "the root")
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rec 1_ä日本.mat", "rec 1_ä日本.mat"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\r\nb\0\x7f\x9b", r"a\x0d\x0ab\x00\x7f\x9b"),
        ("caf\udce9", r"caf\xe9"),
        ("\ud800", r"\ud800"),
        ("gpj.\u202etam", r"gpj.\u202etam"),
        ("\u2028", r"\u2028"),
    ],
)
def test_what_terminals_obey_is_shown_as_escapes(text, shown):
    assert printable(text) == shown
    printable(text).encode()
