"""Runs the shop with all it needs in one terminal: Postgres, Redis, a worker, beat, a local WeCom. Ctrl-C stops all.

The environment variable PORT names the shop's port; without it, any free one is taken.
"""

import os
import sys
from pathlib import Path

import django
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.management import call_command
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from beside import stopped_by_control_c, wecom_up

ADMIN = "admin"

os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
os.environ.setdefault("WECOM_HOME", str(Path(__file__).resolve().parents[2] / ".wecom-example-django"))

with stopped_by_control_c(), wecom_up():
    django.setup()
    call_command("migrate", verbosity=0)
    from django.contrib.auth.models import User  # models can be imported now

    if not User.objects.filter(username=ADMIN).exists():
        User.objects.create_superuser(ADMIN, password=ADMIN)
    server = ThreadedWSGIServer(("127.0.0.1", int(os.environ.get("PORT", "0"))), WSGIRequestHandler)
    server.set_app(StaticFilesHandler(get_wsgi_application()))
    address = f"http://127.0.0.1:{server.server_port}"
    print(f"the shop is open: {address}")
    print(f"    curl -L -d userid=zhangsan -d item=Coffee {address}/orders")
    print(f"all messages: {address}/admin/wecom_worker/message/ (user {ADMIN}, password {ADMIN})", flush=True)
    server.serve_forever()
