"""The export formats of a student."""
