"""What docs/security.md counts is what there is."""

from pathlib import Path

from tests.security.corpus import table

PAGE = Path(__file__).parents[2] / "docs" / "security.md"


def test_the_corpus_is_counted() -> None:
    assert table.render() in PAGE.read_text(), "run: python -m tests.security.corpus.table, and put it into the page"
