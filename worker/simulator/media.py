"""Files that were uploaded: what they were, without their bytes, and how long their media_id lives (doc 90253)."""

import secrets
from dataclasses import dataclass, field
from hashlib import sha256

from worker.simulator.answers import RefusedError
from worker.simulator.apps import App
from worker.simulator.limits import Limits
from worker.simulator.media_formats import LIMITS, SAFE_EXTENSIONS, check_media, check_permanent_image
from worker.simulator.multipart import FormPart, MultipartError, form_parts
from worker.simulator.settings import Settings

PERMANENT = "uploadimg"
"""The kind of an upload that got a url and no media_id."""


@dataclass(slots=True)
class Upload:
    """One file that was accepted.

    Attributes:
        number: counts accepted uploads from 0.
        at: when, in Unix seconds of the simulator's clock.
        corpid: the corp that uploaded it.
        agentid: the app that did.
        kind: `image`, `voice`, `video` or `file`; `uploadimg` for a picture with a permanent url.
        filename: as users see it.
        content_type: of the part, empty where it had none.
        size: in bytes.
        sha256: hexadecimal digest of the bytes.
        times: how often this corp has uploaded these bytes as this kind, this time included.
        media_id: what was answered; empty for uploadimg.
        url: what was answered to uploadimg; empty otherwise.
        ended_with: the errcode its media_id earns since it was ended early; 0 while it was not.
    """

    number: int
    at: float
    corpid: str
    agentid: int
    kind: str
    filename: str
    content_type: str
    size: int
    sha256: str
    times: int
    media_id: str
    url: str
    ended_with: int = 0


@dataclass(slots=True)
class Media:
    """Every upload, and every media_id given out."""

    settings: Settings
    uploads: list[Upload] = field(default_factory=list)
    _by_id: dict[str, Upload] = field(default_factory=dict)
    _times: dict[tuple[str, str, str], int] = field(default_factory=dict)

    def reset(self) -> None:
        """Forget every upload."""
        self.uploads.clear()
        self._by_id.clear()
        self._times.clear()

    def upload(self, app: App, kind: str, part: FormPart, now: float) -> Upload:
        """Take a file for media/upload.

        Raises:
            RefusedError: 40005 for another kind than the four; those of `check_media`.
        """
        if kind not in LIMITS:
            raise RefusedError(40005)
        check_media(kind, part.filename, part.content)
        upload = self._write_down(app, kind, part, now, media_id=secrets.token_urlsafe(48))
        self._by_id[upload.media_id] = upload
        return upload

    def upload_permanent(self, app: App, part: FormPart, now: float, limits: Limits) -> Upload:
        """Take a picture for media/uploadimg.

        Raises:
            RefusedError: those of `check_permanent_image`; 45009 too many. What is refused does not count.
        """
        check_permanent_image(part.filename, part.content)
        limits.check_picture(app.corpid, now)
        url = f"https://p.qpic.cn/pic_wework/simulator/{secrets.token_hex(20)}/0"
        return self._write_down(app, PERMANENT, part, now, url=url)

    def find(self, corpid: str, media_id: str, kind: str, now: float) -> Upload | None:
        """Look up what a message names; None for one that was never given out, where the settings accept it.

        Raises:
            RefusedError: 40007 unknown, another corp's or of another kind; past its life or ended early as set.
        """
        upload = self._by_id.get(media_id)
        if upload is None:
            if self.settings.unknown_media == "accept":
                return None
            raise RefusedError(40007)
        if upload.corpid != corpid or upload.kind != kind:
            raise RefusedError(40007)
        if upload.ended_with:
            raise RefusedError(upload.ended_with)
        if now >= upload.at + self.settings.media_life:
            raise RefusedError(self.settings.expired_media_errcode)
        return upload

    def end(self, errcode: int, *, media_id: str | None = None, corpid: str | None = None) -> int:
        """End media early, all or one corp's or one; returns how many. What was ended before earns the new errcode."""
        ended = 0
        for upload in self._by_id.values():
            if media_id in (None, upload.media_id) and corpid in (None, upload.corpid):
                upload.ended_with = errcode
                ended += 1
        return ended

    def _write_down(
        self, app: App, kind: str, part: FormPart, now: float, *, media_id: str = "", url: str = ""
    ) -> Upload:
        digest = sha256(part.content).hexdigest()
        known = (app.corpid, kind, digest)
        self._times[known] = times = self._times.get(known, 0) + 1
        upload = Upload(
            number=len(self.uploads),
            at=now,
            corpid=app.corpid,
            agentid=app.agentid,
            kind=kind,
            filename=part.filename,
            content_type=part.content_type,
            size=len(part.content),
            sha256=digest,
            times=times,
            media_id=media_id,
            url=url,
        )
        self.uploads.append(upload)
        return upload


def file_in(content_type: str, body: bytes, *, name: str = "") -> FormPart:
    """Find the one file in a request's body, in the part of this name or in any.

    Raises:
        RefusedError: 40058 no proper multipart/form-data or two such parts; 44001 no such part, or it names no file;
            40123 `filelength` is not its length (docs 90253, 90313; which is which is not documented).
    """
    try:
        parts = form_parts(content_type, body)
    except MultipartError:
        raise RefusedError(40058) from None
    files = [part for part in parts if (part.name == name if name else part.filename)]
    if len(files) > 1:
        raise RefusedError(40058)
    if not files or not files[0].filename:
        raise RefusedError(44001)
    length = files[0].parameters.get("filelength")
    if length is not None and length != str(len(files[0].content)):
        raise RefusedError(40123)
    return files[0]


def may_be_safe(filename: str) -> bool:
    """Whether a file of this name can be sent with safe 1 (doc 90236)."""
    return filename.lower().endswith(SAFE_EXTENSIONS)
