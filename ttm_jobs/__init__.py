"""What the API and workers share: settings, tables, queries, storage, notifier."""
