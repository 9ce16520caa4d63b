"""``fairseq-ecg label overlays``."""


def overlays() -> int:
    """List the changes to the vocabulary that --overlay takes by name."""
    from fairseq_ecg.labeler.overlay import shipped_overlays

    for name, about in shipped_overlays().items():
        print(f"{name}: {about}")
    return 0
