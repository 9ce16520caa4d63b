"""What long work has in common: whole files, locks, finished parts, processes, progress."""
