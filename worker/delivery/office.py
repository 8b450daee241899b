"""Everything a worker process needs to deliver, put together once."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from redis import Redis

from worker.delivery.absence import Absence
from worker.delivery.accept import AcceptanceRules
from worker.delivery.apps import SendersOfApps
from worker.delivery.bell import Bell, Publish
from worker.delivery.campaign_watch import CampaignWatch
from worker.delivery.default_sender import ensure_default_sender
from worker.delivery.patience import Patience, Stopping
from worker.delivery.quota import Quota
from worker.delivery.stagger import QuietWindows
from worker.delivery.standing_aside import StandsAside
from worker.delivery.upload_threads import UploadThreads
from worker.encryption import load_key_ring
from worker.ledger import Ledger, WorkerProcess, open_engine, require_migrated
from worker.messages.sender import Sender
from worker.providers import open_providers
from worker.providers.base import Answer, Category, Provider, ProviderError
from worker.redis_connection import open_redis
from worker.servers import open_servers
from worker.settings import Settings

LOCK_SECONDS = 5
"""No worker waits longer for a row that somebody's open transaction holds; it tries again later."""


@dataclass(frozen=True)
class Office:
    """One process's ledger, providers, bells and threads; all of it is safe to use from many threads."""

    settings: Settings
    ledger: Ledger
    redis: Redis
    providers: Mapping[str, Provider]
    quota: Quota
    campaign_watch: CampaignWatch
    bell: Bell
    quiet: QuietWindows
    senders_at_work: ThreadPoolExecutor
    worker: WorkerProcess
    aside: StandsAside
    upload_threads: UploadThreads = field(default_factory=UploadThreads)
    stopping: Stopping = field(default_factory=Stopping)
    absence: Absence = field(default_factory=Absence)

    @property
    def acceptance(self) -> AcceptanceRules:
        """The rules by which messages are accepted."""
        return acceptance_rules(self.settings)

    @property
    def slowest_call(self) -> float:
        """Seconds from the begin of a send to its answer at worst, through whichever provider."""
        return max(provider.slowest_call for provider in self.providers.values())

    def calls_at_once(self, sender: Sender) -> int:
        """Return how many calls one chunk may have under way; all chunks that may be in work share the connections."""
        calls = self.settings.connections
        if sender.calls_at_once is not None:
            calls = min(calls, sender.calls_at_once)
        return max(1, calls // self.settings.deliveries)

    def provider_of(self, sender: Sender) -> Provider:
        """Return what a sender sends through.

        Raises:
            ProviderError: this release has no such provider.
        """
        if sender.provider not in self.providers:
            known = ", ".join(self.providers)
            reason = f"this worker has no provider {sender.provider!r}, only {known}; is it older than the sender?"
            raise ProviderError(Answer(Category.UNREACHABLE, reason=reason))
        return self.providers[sender.provider]

    def patience(self, until: float) -> Patience:
        """Return how long a step of the ledger is tried that may wait until this moment of `elapsed`."""
        return Patience(until, self.stopping, self.absence)

    def close(self) -> None:
        """Let go of threads and connections; calls under way finish first."""
        self.stopping.set()
        self.senders_at_work.shutdown()
        self.upload_threads.close()
        self.ledger.engine.dispose()
        self.redis.close()


def open_office(settings: Settings, publish: Publish) -> Office:
    """Connect a worker process to its servers.

    Raises:
        LedgerError: the ledger cannot be reached or its tables are missing.
        SecretKeyError: the keys are missing or malformed.
        EmbeddedError: the embedded servers cannot be started.
    """
    servers = open_servers(settings)
    key_ring = load_key_ring(settings)
    engine = open_engine(servers.database_url, lock_seconds=LOCK_SECONDS, silence_seconds=settings.silence_seconds)
    ledger = Ledger(engine, key_ring)
    require_migrated(ledger.engine)
    ensure_default_sender(ledger, settings)
    redis = open_redis(servers.redis_url)
    providers = open_providers(settings, redis, key_ring)
    worker = WorkerProcess.this()
    return Office(
        settings=settings,
        ledger=ledger,
        redis=redis,
        providers=providers,
        quota=Quota(
            redis,
            ledger.usage,
            quiet_windows(settings),
            settings.lease_seconds,
            SendersOfApps(ledger.senders, providers),
        ),
        campaign_watch=CampaignWatch(ledger.campaigns, settings.campaign_failure_share),
        bell=Bell(redis, publish, settings.deliveries),
        quiet=quiet_windows(settings),
        senders_at_work=ThreadPoolExecutor(settings.connections, thread_name_prefix="wecom-send"),
        worker=worker,
        aside=StandsAside(ledger.asides, worker),
    )


def quiet_windows(settings: Settings) -> QuietWindows:
    """Read the quiet windows from the settings."""
    return QuietWindows(settings.quiet_before, settings.quiet_after, settings.quiet_spread)


def acceptance_rules(settings: Settings) -> AcceptanceRules:
    """Read the rules of acceptance from the settings."""
    return AcceptanceRules(
        quiet_windows(settings), settings.duplicate_check_seconds, settings.idempotency_seconds, settings.media_hosts
    )
