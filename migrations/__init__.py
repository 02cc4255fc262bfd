"""Alembic's migrations of the tables in `ttm_jobs.models`, for SQLite and PostgreSQL."""
