"""The ledger: the tables, and every SQL statement of the project.

A message is a row here before anybody is told about it, and no state is written anywhere else.
"""

from sqlalchemy import Engine

from worker.encryption import KeyRing
from worker.ledger.borrowed import Transaction, after_commit, borrowed
from worker.ledger.bounds import storable
from worker.ledger.campaign_intake import (
    MessageCopy,
    NewCampaign,
    array_of,
    begin_campaign,
    finish_campaign,
    moment_of,
)
from worker.ledger.campaigns import Campaign, Campaigns, NotTakenBack, UnknownCampaign, counted
from worker.ledger.card_updates import (
    CardUpdates,
    CardUpdateSettlement,
    CardUpdateState,
    CardUpdateStatus,
    ClaimedCardUpdate,
    SentCard,
    find_card,
    request_card_update,
)
from worker.ledger.connection import (
    ClaimInDoubtError,
    LedgerError,
    PerhapsStored,
    fault_in_one_line,
    is_passing,
    open_engine,
    unreachable,
)
from worker.ledger.deliveries import ClaimedMessage, Deliveries, Postponement
from worker.ledger.due import Due, DueSender
from worker.ledger.examination import Examination
from worker.ledger.history import Attempt, History, HistoryEntry, MessageStatus
from worker.ledger.holds import Held, Holds
from worker.ledger.intake import (
    KeyHolder,
    NewMessage,
    StoredMessage,
    find_key,
    find_stored,
    hold_key,
    insert_messages,
)
from worker.ledger.media import Media, StoredFile, keep_files
from worker.ledger.migrating import migrate
from worker.ledger.parked_calls import Calls, ParkedCalls, Parking
from worker.ledger.reaper import Reaped, Reaper
from worker.ledger.recalls import ClaimedRecall, Recalls, RecallSettlement, RecallStatus
from worker.ledger.rejected import Rejected, RejectedRequest
from worker.ledger.retries import Retry
from worker.ledger.revisions import Age, Standing, require_migrated, standing
from worker.ledger.schedules import (
    DueSchedule,
    NewSchedule,
    Schedule,
    ScheduleExists,
    Schedules,
    UnknownSchedule,
    claim_schedule,
    insert_schedule,
    move_schedule_on,
    pause_schedule,
)
from worker.ledger.schema import FINAL, Priority, State
from worker.ledger.senders import SenderExists, Senders, UnknownSender
from worker.ledger.settlements import Settlement
from worker.ledger.standing_aside import Asides, Fault, StandingAside
from worker.ledger.transactions import InDoubt, transact
from worker.ledger.unconfirmed import Unconfirmed, UnconfirmedMessage
from worker.ledger.uploads import ClaimedUpload, Refusal, Settled, Uploads
from worker.ledger.usage import NoLongerSending, PerhapsSent, SentLately, Usage
from worker.ledger.workers import DISPATCH, REAP, LifeSign, WorkerProcess, Workers


class Ledger:
    """All statements, by subject; producers open it without a key ring and cannot read credentials."""

    def __init__(self, engine: Engine, key_ring: KeyRing | None = None) -> None:
        self.engine = engine
        self.senders = Senders(engine, key_ring)
        self.deliveries = Deliveries(engine)
        self.holds = Holds(engine)
        self.workers = Workers(engine)
        self.asides = Asides(engine)
        self.examination = Examination(engine)
        self.reaper = Reaper(engine)
        self.recalls = Recalls(engine)
        self.card_updates = CardUpdates(engine)
        self.parked_calls = ParkedCalls(engine)
        self.media = Media(engine)
        self.uploads = Uploads(engine)
        self.due = Due(engine)
        self.usage = Usage(engine)
        self.unconfirmed = Unconfirmed(engine)
        self.rejected = Rejected(engine)
        self.history = History(engine)
        self.campaigns = Campaigns(engine)
        self.schedules = Schedules(engine)


__all__ = [
    "DISPATCH",
    "FINAL",
    "REAP",
    "Age",
    "Asides",
    "Attempt",
    "Calls",
    "Campaign",
    "Campaigns",
    "CardUpdateSettlement",
    "CardUpdateState",
    "CardUpdateStatus",
    "CardUpdates",
    "ClaimInDoubtError",
    "ClaimedCardUpdate",
    "ClaimedMessage",
    "ClaimedRecall",
    "ClaimedUpload",
    "Deliveries",
    "DueSchedule",
    "DueSender",
    "Examination",
    "Fault",
    "Held",
    "History",
    "HistoryEntry",
    "Holds",
    "InDoubt",
    "KeyHolder",
    "Ledger",
    "LedgerError",
    "LifeSign",
    "Media",
    "MessageCopy",
    "MessageStatus",
    "NewCampaign",
    "NewMessage",
    "NewSchedule",
    "NoLongerSending",
    "NotTakenBack",
    "ParkedCalls",
    "Parking",
    "PerhapsSent",
    "PerhapsStored",
    "Postponement",
    "Priority",
    "Reaped",
    "Reaper",
    "RecallSettlement",
    "RecallStatus",
    "Recalls",
    "Refusal",
    "Rejected",
    "RejectedRequest",
    "Retry",
    "Schedule",
    "ScheduleExists",
    "SenderExists",
    "Senders",
    "SentCard",
    "SentLately",
    "Settled",
    "Settlement",
    "Standing",
    "StandingAside",
    "State",
    "StoredFile",
    "StoredMessage",
    "Transaction",
    "Unconfirmed",
    "UnconfirmedMessage",
    "UnknownCampaign",
    "UnknownSchedule",
    "UnknownSender",
    "Uploads",
    "Usage",
    "WorkerProcess",
    "Workers",
    "after_commit",
    "array_of",
    "begin_campaign",
    "borrowed",
    "claim_schedule",
    "counted",
    "fault_in_one_line",
    "find_card",
    "find_key",
    "find_stored",
    "finish_campaign",
    "hold_key",
    "insert_messages",
    "insert_schedule",
    "is_passing",
    "keep_files",
    "migrate",
    "moment_of",
    "move_schedule_on",
    "open_engine",
    "pause_schedule",
    "request_card_update",
    "require_migrated",
    "standing",
    "storable",
    "transact",
    "unreachable",
]
