"""The record that API and worker share: settings, tables, queries, storage, notifier."""
