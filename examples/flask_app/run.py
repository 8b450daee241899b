"""Runs the shop with all it needs in one terminal: Postgres, Redis, a worker, beat, a local WeCom. Ctrl-C stops all.

The environment variable PORT names the shop's port; without it, any free one is taken.
"""

import os
import sys
from pathlib import Path

from app import create_app
from werkzeug.serving import make_server

from worker.servers import open_servers

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from beside import stopped_by_control_c, wecom_up

os.environ.setdefault("WECOM_HOME", ".wecom-example-flask")

with stopped_by_control_c(), wecom_up():
    database = open_servers().database_url
    shop = make_server(
        "127.0.0.1",
        int(os.environ.get("PORT", "0")),
        create_app({"SQLALCHEMY_DATABASE_URI": database, "WECOM_DATABASE_URL": database}),
        threaded=True,
    )
    address = f"http://127.0.0.1:{shop.port}"
    print(f"the shop is open: {address}")
    print(f"    curl -L -d userid=zhangsan -d item=Coffee {address}/orders", flush=True)
    shop.serve_forever()
