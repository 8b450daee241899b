"""How Celery runs the tasks of wecom-worker, with a reason for every line.

The ledger holds the messages, so none of these settings decides whether one is lost or doubled. They decide how
soon work is picked up and how little is wasted.
"""

from worker.broker import QUORUM, given_again_after, is_rabbitmq
from worker.servers import open_servers
from worker.settings import settings

# The embedded Redis is started here if no other broker is named.
broker_url = open_servers().broker_url
if is_rabbitmq(broker_url):
    broker_transport_options = {
        "confirm_publish": True,  # what a worker hands over again must have arrived before it lets go of the old one
    }
    queue_options = {"queue_arguments": dict(QUORUM)}  # written to disk on several machines before it is confirmed
else:
    broker_transport_options = {
        # longer than any task, which is a turn of chunks within their leases; a killed worker's bells come back then
        "visibility_timeout": given_again_after(settings()),
        "unacked_restore_interval": 1,  # look every second for what came back; the default of 10 x 10 s is 100 s
        "unacked_restore_throttle": 1,
        "socket_timeout": 10,  # without it a half-open connection hangs the worker for good
        "socket_connect_timeout": 5,
        "socket_keepalive": True,  # a dead peer is noticed between two health checks
        "health_check_interval": 25,
        # no retry_on_timeout: redis-py would open the connection on which kombu waits for news anew, without
        # subscribing again, and the worker would wait there for ever
    }
    queue_options = {}
broker_heartbeat = (
    60  # seconds; RabbitMQ notices so soon that a worker's machine is gone, and gives its tasks to others
)

task_default_queue = "wecom"  # what programs outside send to: wecom.send, wecom.campaign, wecom.recall
task_queues = {
    "wecom": queue_options,
    "wecom.deliver": queue_options,  # bells
    "wecom.housekeeping": queue_options,  # the dispatcher and the reaper
}
task_create_missing_queues = False  # a mistyped queue is an error, not a place where tasks are never read
task_routes = {
    "wecom.deliver": {"queue": "wecom.deliver"},
    "wecom.dispatch": {"queue": "wecom.housekeeping"},
    "wecom.reap": {"queue": "wecom.housekeeping"},
}

imports = ("worker.tasks",)
task_serializer = "json"
accept_content = ("json",)  # never pickle: whoever reaches the broker could run code
task_ignore_result = True  # results are rows in the ledger
result_backend = None
task_acks_late = True  # a bell whose worker dies is rung again
task_reject_on_worker_lost = True
worker_cancel_long_running_tasks_on_connection_loss = False  # a delivery under way needs no broker; let it finish

worker_consumer = "worker.consumer:Consumer"  # keeps what Celery would throw away
worker_pool = "threads"  # the time goes into waiting for WeCom; stops cleanly; a tenth of prefork's memory
worker_concurrency = 8  # deliveries at once; the connections to WeCom are WECOM_CONNECTIONS, shared by all of them
worker_prefetch_multiplier = 1  # reserve no bell that another worker could answer now
worker_hijack_root_logger = False  # worker/logs.py sets the format and keeps secrets out
worker_enable_remote_control = settings().remote_control  # whoever reaches the broker could stop and slow workers
worker_send_task_events = False  # nobody listens, and arguments would leak into monitors
worker_redirect_stdouts = False  # what prints means to print
enable_utc = True  # the times in the ledger have zones; Celery's own are never shown
timezone = "UTC"

beat_scheduler = "worker.ticks:TickScheduler"  # no wall clock decides, and ticks do not pile up without a worker
beat_schedule = {
    "dispatch": {"task": "wecom.dispatch", "schedule": settings().dispatch_seconds},
    "reap": {"task": "wecom.reap", "schedule": settings().reap_seconds},
}
