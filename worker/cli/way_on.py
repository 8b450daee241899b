"""What lets a stopped sender go on, in the words of `wecom status` and `wecom doctor`."""

from worker.messages.sender import Sender

WRONG_CREDENTIALS = ("40001", "40013", "40056", "40091", "45031", "301002")
"""The errcodes that other credentials mend, as the reason of a pause begins with them."""


def way_on(sender: Sender) -> str:
    """Name the command that lets a sender send again; wrong credentials have to be replaced first."""
    resume = f"`wecom senders resume {sender.name}`"
    if (sender.paused_reason or "").startswith(WRONG_CREDENTIALS):
        return f"`wecom senders add {sender.name} --replace ...` with the right credentials (else {resume})"
    return resume
