"""A form with one file, in the bytes that WeCom's page on uploads shows (doc 90253)."""

import secrets

FORM_NAME = "media"
_ESCAPED = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})


def file_form(filename: str, content: bytes) -> tuple[str, tuple[bytes, bytes, bytes]]:
    """Return the Content-Type of the form, and its body in three pieces; the file itself is not copied."""
    boundary = secrets.token_hex(16)
    name = filename.translate(_ESCAPED)
    head = (
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="{FORM_NAME}";filename="{name}"; filelength={len(content)}\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    body = (head.encode(errors="replace"), content, f"\r\n--{boundary}--\r\n".encode())
    return f"multipart/form-data; boundary={boundary}", body
