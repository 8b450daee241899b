"""How Django is told of a database that is known by its URL."""

from typing import Any

from sqlalchemy import make_url


def of_django(url: str) -> dict[str, Any]:
    """The entry of `DATABASES`."""
    address = make_url(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": address.database,
        "USER": address.username or "",
        "PASSWORD": address.password or "",
        "HOST": address.host or address.query.get("host", ""),
        "PORT": address.port or address.query.get("port", ""),
    }
