"""What can be set about the simulated WeCom, with the documented value as the default."""

from collections.abc import Mapping
from dataclasses import dataclass, fields


@dataclass(slots=True)
class Settings:
    """The adjustable rules; times in seconds, 0 switches an optional limit off.

    Attributes:
        token_life: life of an access token (doc 91039: normally 7200).
        new_token_on_repeat: a repeated gettoken makes another token instead of giving the living one. Older texts
            promise the same token, the present doc 91039 is silent.
        wrong_secrets: so many wrong secrets within a minute close gettoken for an hour (doc 90313 gives no number).
        long_text: `truncate` cuts text past 2048 bytes, and every other text of which the documents say so (doc 90236);
            `refuse` answers 45002 (doc 90313).
        textcard_unit: whether title and description of a textcard are cut past 128 and 512 `bytes` (older documents,
            90248) or `characters` (newer 90236).
        duplicate_answer: what a suppressed duplicate is answered, which no document says: `same` gives the first
            msgid again, `new` another one, `none` leaves msgid out.
        empty_lists: write `"invaliduser":""` and its like where nobody is invalid; otherwise leave them out.
            Both have been seen.
        member_per_minute: messages of one app shown to one member in any 60 s; the rest is dropped (doc 90312).
        member_per_hour: the same in any hour (doc 90312).
        persons_per_account: person-times a natural day for each account of the app's cap (doc 90312).
        persons_per_group: how many person-times a department, a tag or @all counts for.
        calls_per_minute: calls of one corp to an address (doc 90312; sends are not counted).
        calls_per_hour: the same in an hour (doc 90312).
        send_calls_per_minute: the same for message/send, which really has no such limit; 0 is none.
        concurrency: calls of one corp under way at once before 45033 (doc 90313 gives no number); 0 is none.
        recall_seconds: how long a message can be recalled (doc 94867: 24 h).
        repeated_recall_errcode: answer to recalling a message a second time, which no document says.
        media_life: life of a media_id (doc 90253: 3 days).
        expired_media_errcode: what a media_id past its life earns: 40007, or 40145 (doc 90313).
        unknown_media: `refuse` answers a media_id that was never given out with 40007, `accept` takes it for good.
        created_at_number: media/upload answers created_at as a number; the documents show a text.
        uploadimg_per_day: pictures a corp may upload with uploadimg in a natural day (doc 90312); 0 is no limit.
        uploadimg_per_month: the same in 30 days (doc 90312).
        response_code_life: how long a card can be updated (doc 94888: 72 h; older texts: 24 h).
        task_id_first: a repeated card is refused for its task_id (42014) even where the duplicate check would
            suppress it. Which of the two comes first is not documented.
        latency: how long every answer takes at least; the call is processed when it arrives.
        latency_jitter: up to so much more, evenly spread.
    """

    token_life: int = 7200
    new_token_on_repeat: bool = False
    wrong_secrets: int = 5
    long_text: str = "truncate"
    textcard_unit: str = "bytes"
    duplicate_answer: str = "same"
    empty_lists: bool = False
    member_per_minute: int = 30
    member_per_hour: int = 1000
    persons_per_account: int = 200
    persons_per_group: int = 1
    calls_per_minute: int = 10_000
    calls_per_hour: int = 150_000
    send_calls_per_minute: int = 0
    concurrency: int = 0
    recall_seconds: int = 86_400
    repeated_recall_errcode: int = 0
    media_life: int = 259_200
    expired_media_errcode: int = 40007
    unknown_media: str = "refuse"
    created_at_number: bool = False
    uploadimg_per_day: int = 1000
    uploadimg_per_month: int = 3000
    response_code_life: int = 259_200
    task_id_first: bool = False
    latency: float = 0.0
    latency_jitter: float = 0.0

    def change(self, changes: Mapping[str, object]) -> None:
        """Set the named ones, all or none.

        Raises:
            ValueError: a name is unknown, or a value has the wrong type or is not one of those allowed.
        """
        known = {setting.name: setting.type for setting in fields(self)}
        for name, value in changes.items():
            if name not in known:
                raise ValueError(f"there is no setting {name!r}; there are {', '.join(known)}")
            if name in WORDS:
                if value not in WORDS[name]:
                    raise ValueError(f"{name} is one of {', '.join(WORDS[name])}, not {value!r}")
            elif not _fits(value, known[name]):
                raise ValueError(f"{name} cannot be {value!r}")
        for name, value in changes.items():
            setattr(self, name, value)


WORDS = {
    "long_text": ("truncate", "refuse"),
    "textcard_unit": ("bytes", "characters"),
    "duplicate_answer": ("same", "new", "none"),
    "unknown_media": ("refuse", "accept"),
}
"""Settings whose value is one of a few words."""


def _fits(value: object, kind: object) -> bool:
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    accepted = (int, float) if kind is float else int
    return isinstance(value, accepted) and value >= 0
