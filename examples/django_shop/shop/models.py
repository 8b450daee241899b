"""What the shop stores."""

from django.db import models


class Order(models.Model):
    """What somebody ordered, and the message that tells them."""

    userid = models.CharField(max_length=64)
    item = models.CharField(max_length=200)
    message_id = models.UUIDField()

    def __str__(self) -> str:
        return f"{self.item} for {self.userid}"
