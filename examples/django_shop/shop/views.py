"""The pages of the shop."""

from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from shop.models import Order
from worker import InvalidMessage, TextCard
from worker.integrations.django import wecom

SENDER = "default"


def form(request: HttpRequest) -> HttpResponse:
    """Ask what somebody would like."""
    return render(request, "form.html")


@require_POST
def take_order(request: HttpRequest) -> HttpResponse:
    """Store an order together with the message about it."""
    userid, item = request.POST.get("userid", ""), request.POST.get("item", "")
    card = TextCard(title="Your order", description=f"{item} is on its way", url=request.build_absolute_uri("/"))
    try:
        with transaction.atomic():  # with its commit both exist; after a roll-back neither does
            order = Order(userid=userid, item=item)
            order.message_id = wecom.send(SENDER, card, users=[userid])
            order.save()
    except InvalidMessage as error:
        return HttpResponseBadRequest(str(error), content_type="text/plain; charset=utf-8")
    return redirect("order", order.pk)


def show_order(request: HttpRequest, number: int) -> HttpResponse:
    """Show an order and what became of its message."""
    order = get_object_or_404(Order, pk=number)
    return render(request, "order.html", {"order": order, "message": wecom.status(order.message_id)})
