from pathlib import Path

from fairseq_ecg.cli.outputs import output_files, say_left_out

OUT = Path("out")


def test_files_lie_to_each_other_as_the_recordings_do():
    names = ["/data/p1/a.mat", "/data/p1/b.hea", "/data/p2/a.mat"]
    assert output_files(names, OUT, ".png") == [
        OUT / "p1" / "a.png",
        OUT / "p1" / "b.png",
        OUT / "p2" / "a.png",
    ]
    assert output_files(["/data/p1/a.mat"], OUT, ".svg") == [OUT / "a.svg"]


def test_no_two_recordings_share_a_file():
    names = ["d/a.mat", "d/a.edf", "d/a.edf", "s3://bucket/d/../a.mat"]
    files = output_files(names, OUT, ".png")
    assert len(set(files)) == len(names)
    assert all(OUT in file.parents and ".." not in file.parts for file in files)


def test_what_is_left_out_is_reported(capsys):
    assert say_left_out({}) == 0
    assert say_left_out({"a": "a:\nis empty"}) == 3
    assert capsys.readouterr().err == "fairseq-ecg: left out: a: is empty\n"
