"""A shop in Django: an order and the message about it are stored together, or not at all."""
