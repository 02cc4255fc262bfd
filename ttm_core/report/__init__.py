"""What a run's report says, how it is measured, and how it is shown."""
