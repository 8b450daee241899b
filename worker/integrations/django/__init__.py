"""wecom-worker in a Django project: `INSTALLED_APPS = [..., "worker.integrations.django"]`.

from worker import Text
from worker.integrations.django import wecom

with transaction.atomic():
    order.save()
    wecom.send("shop", Text(content="Your order is on its way."), users=[order.userid])

`docs/django.md` tells the rest. Nothing here reads Django's settings before it is used.
"""

from worker.integrations.django.producer import DjangoProducer

__all__ = ["DjangoProducer", "wecom"]

wecom = DjangoProducer()
"""The producer of this Django project; it is safe to use from threads."""
