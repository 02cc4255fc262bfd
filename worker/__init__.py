"""The process that takes jobs: one at a time for each device."""
