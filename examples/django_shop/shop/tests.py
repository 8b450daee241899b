"""`python manage.py test`: nothing is sent, what would be is in `wecom.outbox`."""

from django.test import TestCase

from shop.models import Order
from worker.integrations.django import wecom
from worker.testing import CapturedMessage


class OrderTest(TestCase):
    """Orders, as browsers send them."""

    def test_who_orders_is_told(self) -> None:
        """An order and its message belong together."""
        with self.captureOnCommitCallbacks(execute=True):
            self.client.post("/orders", {"userid": "zhangsan", "item": "Coffee"})
        [message] = wecom.outbox
        self.assertIsInstance(message, CapturedMessage)
        self.assertEqual(message.users, ("zhangsan",))
        self.assertEqual(message.id, Order.objects.get().message_id)

    def test_an_order_of_nobody_is_refused(self) -> None:
        """Neither an order nor a message is left."""
        with self.captureOnCommitCallbacks(execute=True):
            answer = self.client.post("/orders", {"userid": "", "item": "Coffee"})
        self.assertContains(answer, "users", status_code=400)
        self.assertEqual(wecom.outbox, [])
        self.assertFalse(Order.objects.exists())
