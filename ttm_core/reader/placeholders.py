"""Files that were downloaded instead of another file, by their first bytes, and what to do."""

PLACEHOLDERS = {
    b"<": "a web page (HTML or XML). Download the file itself",
    b"version https://git-lfs": "a pointer of Git LFS, not the file. Run `git lfs pull`",
}
