"""What the service consists of: a field for each part that `create_app` makes."""

from __future__ import annotations

from dataclasses import dataclass, field

from learndrop.answers.kept import Answers
from learndrop.answers.late_labels import LateLabels
from learndrop.disk.registry import Registry
from learndrop.server.board import ServiceBoard
from learndrop.settings import Settings
from learndrop.stream.contract import Publisher
from learndrop.upkeep.audit import AuditTrail
from learndrop.upkeep.dead_letters import DeadLetters
from learndrop.upkeep.deleting import Deleting
from learndrop.upkeep.repeats import Repeats
from service.answering.serving import Serving
from service.auth import Gate
from service.backlog import Backlog
from service.durability import Durability
from service.intake import Intake
from service.key_rates import KeyRates
from service.key_watch import KeyWatch
from service.metrics import ServiceMetrics
from service.pace import Pace
from service.retention import Retention


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that `create_app` wires."""

    settings: Settings
    publisher: Publisher
    backlog: Backlog
    durability: Durability
    board: ServiceBoard
    answers: Answers
    labels: LateLabels
    dead_letters: DeadLetters
    deleting: Deleting
    retention: Retention
    registry: Registry
    serving: Serving
    intake: Intake
    metrics: ServiceMetrics
    gate: Gate
    rates: KeyRates
    audit: AuditTrail
    key_watch: KeyWatch
    repeats: Repeats
    pace: Pace = field(default_factory=Pace)
