"""Whether the Hugging Face hub can be reached, asked before anything is fetched from it."""

SECONDS = 5.0
"""How long an answer is waited for."""


def only_cached() -> bool:
    """Return whether the hub cannot be reached, so that only what was fetched before is there.

    The package's own client tries six times, for half a minute, before it says so. One request is
    enough to know, sent by the client's session, which takes the same proxies and certificates.

    Raises:
        ImportError: huggingface_hub is not installed.
    """
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return True
    try:
        get_session().head(constants.ENDPOINT, timeout=SECONDS)
    except Exception:  # those of requests or of httpx, as the client's version has it
        return True
    return False


def reason(error: Exception, offline: bool) -> str:
    """Say why nothing came from the hub.

    Args:
        error: of its client, which takes what `only_cached` returned for the user's wish.
        offline: what that was.
    """
    return "it cannot be reached, and nothing was fetched from it before" if offline else str(error)
