"""The number of corpus cases in docs/security.md is current."""

from pathlib import Path

from tests.security.corpus import table

PAGE = Path(__file__).parents[2] / "docs" / "security.md"


def test_corpus_table_is_current() -> None:
    assert table.render() in PAGE.read_text(), "update the table with: python -m tests.security.corpus.table"
