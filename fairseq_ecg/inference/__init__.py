"""Use of trained networks: evaluation on labelled data, and pictures of recordings."""
