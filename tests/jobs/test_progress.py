import pytest

from fairseq_ecg.jobs.progress import progress_bar


@pytest.mark.parametrize(("show", "is_shown"), [(None, False), (False, False), (True, True)])
def test_where_bars_are_shown(show, is_shown, capsys):
    """Output that is captured is no terminal."""
    assert list(progress_bar("abc", "letters", "letter", show=show)) == ["a", "b", "c"]
    with progress_bar(3, "numbers", "number", show=show) as bar:
        bar.update(2)
    text = capsys.readouterr().err
    assert [name in text for name in ("letters: 100%", "numbers:  67%")] == [is_shown] * 2
