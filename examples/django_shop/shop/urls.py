"""The addresses of the shop."""

from django.contrib import admin
from django.urls import path

from shop import views

urlpatterns = [
    path("", views.form, name="form"),
    path("orders", views.take_order, name="take_order"),
    path("orders/<int:number>", views.show_order, name="order"),
    path("admin/", admin.site.urls),
]
