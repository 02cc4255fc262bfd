"""A run's report: its schema, measurements and HTML page."""
