"""Sends every reader who wants it one mail a week: discoveries on the topics they prefer that they have not seen yet.

When: Mondays at 09:00 UTC for the Monday to Sunday before, and when an admin asks.
Reads: users, user_preferences, email_preferences, user_interactions; the discovery service. Writes: the mail ledger
email_deliveries and our digest_candidates; the mail service queues the mails.

Safe to run twice, beside itself and to be killed: a mail is a row of the ledger whose key is week and user, planned
once and claimed by one (job, fence) at a time; what was on its way when a process died is settled before it is touched.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, partial
from typing import Annotated, Any, TypeAlias
from urllib.parse import urlsplit

import orjson
from prefect import get_run_logger, task
from prefect.runtime import task_run
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from flows.clients import database, discovery
from flows.clients.discovery import Discovery
from flows.core import deliveries, shards
from flows.core.deliveries import Claimed
from flows.core.domain import JobResult, JobType
from flows.core.errors import NotFound, PermanentError, RateLimited, SchedulerError, TransientError, Unavailable
from flows.core.job import job, job_id_of_run
from flows.core.lease import report_progress, under_lease
from flows.core.mailing import Compose, Mailing, Skip, result, send_all
from flows.core.redaction import redact
from flows.core.retries import HTTP_READ
from flows.core.settings import settings

FEWEST, MOST = 5, 10  # discoveries in a mail
TRENDING = ""  # the topic that what is trending is kept under
MOST_TOPICS = 80  # with what is trending under the 100 requests a minute that the discovery service takes
TOPICS_AT_ONCE = 8
TOPIC_WAITS_SECONDS = (2.0, 5.0, 15.0)  # before a topic is asked for again
QUIET_SECONDS = 300.0  # how long the discovery service may keep a topic waiting by asking for quiet
FRESH_SECONDS = 6 * 3600  # candidates this old serve a recovery, or another run, too: the longest run time
LONGEST_DESCRIPTION = 300  # characters
USERS_A_TASK = 50_000  # 20 task runs for a million users
USERS_A_PAGE = 5_000
READERS_A_PAGE = 1_000  # of a dry run
READERS_AHEAD = 450  # looked up with the 50 of a claim
PREFERENCES_A_PAGE = 50_000
SAMPLES = 5
OUTCOMES = ("planned", "already", "noAddress", "deleted", "inactive", "optedOut", "unsubscribed")
# Calls of the database alone: the client waits out an outage of 15 minutes itself.
_DATABASE: dict[str, Any] = {"persist_result": False, "timeout_seconds": 3600}

Item: TypeAlias = dict[str, Any]  # what the mail's template shows of a discovery
Stored: TypeAlias = dict[str, list[Item]]  # topic → its items, best first

_LONG_YEARS = "|".join(str(year) for year in range(2020, 2100) if date(year, 12, 28).isocalendar().week == 53)  # noqa: PLR2004
_WEEK = re.compile(rf"^(20[2-9][0-9]-W(0[1-9]|[1-4][0-9]|5[0-2])|({_LONG_YEARS})-W53)$")


def _monday(week: str) -> date:
    return date.fromisocalendar(int(week[:4]), int(week[6:]), 1)


def real_week(week: str) -> str:
    """`week`, if it is an ISO week of a year that has it. Raises ValueError saying what is wrong."""
    if not _WEEK.fullmatch(week):
        raise ValueError(f"{week!r} is no ISO week: write 2026-W48; W53 only in a year that has 53 weeks")
    return week


Week = Annotated[str, Field(pattern=_WEEK.pattern), AfterValidator(real_week)]


class Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid")

    week: Week | None = Field(
        None,
        description="Whose digest, as ISO week (2026-W48); it covers the Monday to Sunday before. Default: this one.",
    )
    active_within_days: int | None = Field(
        None, ge=1, le=3650, description="Only users who have signed in within this many days. Default: all."
    )
    shards: int = Field(1, ge=1, le=16, description="How many runs share the sending.")
    dry_run: bool = Field(False, description="Only tell who would get what: nothing is planned or sent.")


def resolve_week(parameters: Parameters, at: datetime) -> Parameters:
    """The parameters with the week filled in: the ISO week, in UTC, that `at` is in."""
    if parameters.week is not None:
        return parameters
    year, week, _ = at.astimezone(UTC).isocalendar()
    return parameters.model_copy(update={"week": f"{year}-W{week:02}"})


def covers(week: str) -> tuple[date, date]:
    """The Monday and the Sunday that the digest of an ISO week covers: those of the week before."""
    monday = _monday(week)
    return monday - timedelta(days=7), monday - timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A discovery that may be chosen: which blocked domains would hit it, and its JSON, written once for all mails."""

    id: str
    domains: frozenset[str]
    json: orjson.Fragment


@dataclass(frozen=True)
class Candidates:
    """What there is to choose from, each list best first."""

    by_topic: Mapping[str, Sequence[Candidate]]
    trending: Sequence[Candidate]

    @cached_property
    def ids(self) -> list[str]:
        """Each candidate's id once."""
        every = (*self.by_topic.values(), self.trending)
        return list(dict.fromkeys(candidate.id for candidates in every for candidate in candidates))


@dataclass(frozen=True)
class Reader:
    """What the choice for one user needs to know."""

    topics: Sequence[str] = ()
    blocked_domains: Sequence[str] = ()
    seen: Sequence[str] = ()


def choose(reader: Reader, candidates: Candidates) -> list[Candidate]:
    """The discoveries for one reader: 5 to 10, or none. The same for the same reader and candidates.

    The topics take turns in the reader's order, each giving its best that is left, so that none crowds out another;
    what they cannot fill is taken from what is trending. Never twice the same, nothing the reader has had to do with,
    nothing of a blocked domain or below it. Who is left with less than 5 gets none: a mail of one or two links looks
    broken, and next week there is more.
    """
    blocked = {domain for text in reader.blocked_domains if (domain := domain_of(text))}
    passed = set(reader.seen)
    chosen: list[Candidate] = []

    def take_next(stream: Iterator[Candidate]) -> bool:
        for candidate in stream:
            if candidate.id not in passed and blocked.isdisjoint(candidate.domains):
                passed.add(candidate.id)
                chosen.append(candidate)
                return True
        return False

    turns = deque(iter(candidates.by_topic.get(topic, ())) for topic in dict.fromkeys(reader.topics))
    while turns and len(chosen) < MOST:
        stream = turns.popleft()
        if take_next(stream):
            turns.append(stream)
    trending = iter(candidates.trending)
    while len(chosen) < MOST and take_next(trending):
        pass
    return chosen if len(chosen) >= FEWEST else []


def domain_of(text: str) -> str:
    """The bare domain in what a person or a page calls one: lower case, without scheme, `www.`, port and path."""
    host = text.strip().lower().rpartition("://")[2].partition("/")[0].partition(":")[0]
    return host.strip("*.").removeprefix("www.")


def _parents(domain: str) -> set[str]:
    """The domain and every one above it."""
    parts = domain.split(".")
    return {".".join(parts[place:]) for place in range(len(parts))} - {""}


def item_of(found: Discovery) -> Item | None:
    """What the mail's template shows of a discovery; None for one that cannot be shown."""
    try:
        parts = urlsplit(found.url)
        host = parts.hostname if parts.scheme in ("http", "https") else None
    except ValueError:
        host = None
    title = (found.title or "").strip()
    if not host or not title:
        return None
    description = " ".join((found.description or "").split())
    if len(description) > LONGEST_DESCRIPTION:
        description = description[: LONGEST_DESCRIPTION - 1].rstrip() + "…"
    counts = found.metrics
    item: Item = {
        "id": str(found.id),
        "url": found.url,
        "title": title,
        "domain": found.domain or host,
        "description": description or None,
        "image_url": found.image or None,
        "topics": found.topics or None,
        "like_count": counts.likes_count if counts else None,
        "save_count": counts.saves_count if counts else None,
        "share_count": counts.shares_count if counts else None,
    }
    return {name: value for name, value in item.items() if value is not None}


def items_of(found: Sequence[Discovery]) -> list[Item]:
    """The items of a topic's discoveries, best first: by trending score, then as the service ordered them."""
    ranked = sorted(found, key=lambda one: one.trending_score or 0.0, reverse=True)
    return [item for one in ranked if (item := item_of(one)) is not None]


def candidates_from(stored: Stored) -> Candidates:
    """The candidates of what is stored as {topic: items}; an item that stands under several topics is made once."""
    made: dict[str, Candidate] = {}

    def candidate_of(item: Item) -> Candidate:
        known = made.get(item["id"])
        if known is None:
            domains = _parents(domain_of(item["domain"])) | _parents(domain_of(urlsplit(item["url"]).hostname or ""))
            known = made[item["id"]] = Candidate(item["id"], frozenset(domains), orjson.Fragment(orjson.dumps(item)))
        return known

    by_topic = {topic: [candidate_of(item) for item in items] for topic, items in stored.items()}
    trending = by_topic.pop(TRENDING, [])
    return Candidates(by_topic, trending)


def template_data(week: str, first_name: str | None, chosen: Sequence[Candidate]) -> dict[str, Any]:
    """What the mail's template is filled with."""
    first, last = covers(week)
    data: dict[str, Any] = {"firstName": first_name} if first_name else {}
    discoveries = [candidate.json for candidate in chosen]
    return data | {"weekStart": first.isoformat(), "weekEnd": last.isoformat(), "discoveries": discoveries}


def reader_of(row: dict[str, Any]) -> Reader:
    """A row of digest_readers."""
    return Reader(topics=row["topics"], blocked_domains=row["blockedDomains"], seen=row["seen"])


def composer(week: str, candidates: Candidates) -> Compose:
    """What fills the template for a batch of claimed mails.

    Readers are looked up some batches ahead, in the ledger's order: a call for every claim would cost more than the
    choice. What one of them has seen within that second or two may come again.
    """
    ahead: dict[str, Reader] = {}

    async def compose(batch: list[Claimed]) -> list[dict[str, Any] | Skip]:
        users = [str(claimed.user_id) for claimed in batch]
        unknown = [user for user in users if user not in ahead]
        if unknown:
            # What is left here was another shard's to send.
            for user in ahead.keys() - set(users):
                del ahead[user]
            last = max(claimed.id for claimed in batch)
            rows = await database.patient_rpc(
                "digest_readers", period=week, user_ids=unknown, after=last, ahead=READERS_AHEAD
            )
            ahead.update((row["userId"], reader_of(row)) for row in rows)
        chosen = [choose(ahead.pop(user), candidates) for user in users]
        return [
            template_data(week, claimed.first_name, found) if found else Skip("nothing to recommend")
            for claimed, found in zip(batch, chosen, strict=True)
        ]

    return compose


@dataclass(frozen=True)
class _Missed:
    """A topic that could not be had; `of_topic` when the service does not take it, whoever asks."""

    error: SchedulerError
    of_topic: bool


async def _patiently(
    ask: Callable[[], Awaitable[list[Discovery]]], waits: Sequence[float] = ()
) -> list[Item] | _Missed:
    """The items, after as much quiet as the service asks for and another try after each of `waits` seconds."""
    quiet, delays = 0.0, iter(waits)
    while True:
        try:
            return items_of(await ask())
        except RateLimited as error:
            delay: float | None = error.retry_after_seconds
            quiet += error.retry_after_seconds
            missed = _Missed(error, of_topic=False)
        except TransientError as error:
            delay = next(delays, None)
            missed = _Missed(error, of_topic=False)
        except PermanentError as error:
            return _Missed(error, of_topic=isinstance(error, NotFound) or getattr(error, "for_its_content", False))
        if delay is None or quiet > QUIET_SECONDS:
            return missed
        await asyncio.sleep(delay * random.uniform(1.0, 1.5))  # noqa: S311  # jitter, not a secret


@task(**{**HTTP_READ, "timeout_seconds": 600})
async def fetch_trending() -> list[Item]:
    """What is trending, as items. Raises what the service has failed with."""
    found = await _patiently(discovery.trending)
    if isinstance(found, _Missed):
        raise found.error
    return found


@task(
    persist_result=False,
    timeout_seconds=600,
    task_run_name=lambda: f"explore {len(task_run.parameters['topics'])} topics",
)
async def fetch_topics(topics: list[str]) -> tuple[Stored, dict[str, str]]:
    """Each topic's items, and why a topic has none. Raises what the service has failed with where it gave none of them.

    One topic that fails is asked for again after 2, 5 and 15 s; the others have not to be asked for twice with it.
    """
    answers = await asyncio.gather(
        *(_patiently(partial(discovery.explore, topic), waits=TOPIC_WAITS_SECONDS) for topic in topics)
    )
    found: Stored = {}
    missed: dict[str, _Missed] = {}
    for topic, answer in zip(topics, answers, strict=True):
        if isinstance(answer, _Missed):
            missed[topic] = answer
        else:
            found[topic] = answer
    blamed = [one.error for one in missed.values() if not one.of_topic]
    if len(blamed) == len(topics) > 1:
        raise blamed[0]
    return found, {topic: str(one.error) for topic, one in missed.items()}


@task(**_DATABASE)
async def wanted_topics() -> list[str]:
    """The topics that readers prefer, those of the most readers first, at most 80."""
    counts: Counter[str] = Counter()
    after: str | None = None
    while True:
        page = await database.patient_rpc("digest_topics", after=after, limit=PREFERENCES_A_PAGE, top=2 * MOST_TOPICS)
        counts.update(page["topics"])
        after = page["next"]
        if after is None:
            return [topic for topic, _ in sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:MOST_TOPICS]]


async def fetch_candidates() -> tuple[Stored, list[str]]:
    """What there is this week, and a line for each topic that was left out.

    Raises Unavailable where the discovery service is down: without candidates there is no digest.
    """
    topics = await wanted_topics()
    stored: Stored = {}
    left_out: dict[str, str] = {}
    try:
        stored[TRENDING] = await fetch_trending()
        for start in range(0, len(topics), TOPICS_AT_ONCE):
            report_progress(0, None, "fetching candidates")
            found, missed = await fetch_topics(topics[start : start + TOPICS_AT_ONCE])
            stored |= found
            left_out |= missed
    except (TransientError, PermanentError) as error:
        raise Unavailable(f"no candidates, so nobody was mailed: {error}", "discovery") from error
    return stored, [f"topic {redact(topic, limit=60)} was left out: {reason}" for topic, reason in left_out.items()]


async def candidates_for(week: str, *, any_age: bool = False, keep: bool = True) -> tuple[Candidates, list[str]]:
    """The week's candidates, and a line for each topic that was left out.

    They are fetched once, and stored for all who send this week's digests; a shard takes them at any age.
    """
    age = None if any_age else FRESH_SECONDS
    stored = await database.patient_rpc("digest_candidates_of", period=week, max_age_seconds=age)
    left_out: list[str] = []
    if stored is None:
        stored, left_out = await fetch_candidates()
        if keep:
            await database.patient_rpc(
                "store_digest_candidates",
                **under_lease(),
                period=week,
                candidates=stored,
                max_age_seconds=FRESH_SECONDS,
            )
            # Another run may have been quicker: all choose from the same.
            stored = await database.patient_rpc("digest_candidates_of", period=week, max_age_seconds=None) or {}
    return candidates_from(stored), left_out


async def page_of_users(parameters: Parameters, after: str | None, now: datetime, limit: int) -> dict[str, Any]:
    """Plans the digest of the next `limit` users, or in a dry run tells whose it would; as plan_weekly_digest does."""
    days = parameters.active_within_days
    page: dict[str, Any] = await database.patient_rpc(
        "plan_weekly_digest",
        **under_lease(),
        period=parameters.week,
        after=after,
        limit=limit,
        active_since=(now - timedelta(days=days)).isoformat() if days else None,
        email_type=settings().weekly_digest_email_type,
        preference=settings().weekly_digest_preference,
        dry_run=parameters.dry_run,
    )
    return page


@task(**_DATABASE)
async def plan_users(parameters: Parameters, after: str | None, now: datetime) -> tuple[dict[str, int], str | None]:
    """Plans the digest of the next 50,000 users by id: counts by outcome, and the id to go on after."""
    counts: Counter[str] = Counter()
    for _ in range(USERS_A_TASK // USERS_A_PAGE):
        page = await page_of_users(parameters, after, now, USERS_A_PAGE)
        counts.update({outcome: page[outcome] for outcome in ("considered", *OUTCOMES)})
        after = page["next"]
        if after is None:
            break
    return counts, after


async def plan(parameters: Parameters) -> Counter[str]:
    """Writes who is to get this week's digest into the ledger; counts by outcome. Nobody is planned twice."""
    counts: Counter[str] = Counter()
    after, now = None, datetime.now(UTC)
    while True:
        counted, after = await plan_users(parameters, after, now)
        counts.update(counted)
        report_progress(0, None, f"planning: {counts['considered']} users looked at")
        if after is None:
            return counts


async def previewed(
    parameters: Parameters, candidates: Candidates, after: str | None, now: datetime
) -> tuple[dict[str, int], list[dict[str, Any]], str | None]:
    """What plan_users would do and each of its users be sent: counts, a few samples, the id to go on after."""
    counts: Counter[str] = Counter()
    samples: list[dict[str, Any]] = []
    for _ in range(USERS_A_TASK // READERS_A_PAGE):
        page = await page_of_users(parameters, after, now, READERS_A_PAGE)
        counts.update({outcome: page[outcome] for outcome in ("considered", *OUTCOMES)})
        rows = await database.patient_rpc(
            "digest_readers", period=parameters.week, user_ids=page["userIds"], candidates=candidates.ids
        )
        for row in rows:
            chosen = choose(reader_of(row), candidates)
            counts["toSend" if chosen else "nothingToRecommend"] += 1
            if chosen and len(samples) < SAMPLES:
                samples.append({"userId": row["userId"], "discoveries": [candidate.id for candidate in chosen]})
        after = page["next"]
        if after is None:
            break
    return counts, samples, after


async def preview(parameters: Parameters, week: str) -> JobResult:
    """The plan of a digest: counts by outcome, and five samples without address or name. Writes nothing."""
    candidates, left_out = await candidates_for(week, keep=False)
    counts: Counter[str] = Counter()
    samples: list[dict[str, Any]] = []
    after, now = None, datetime.now(UTC)

    # The candidates are no parameter of the task's: Prefect would look through each of them for futures.
    @task(**_DATABASE)
    async def preview_users(after: str | None) -> tuple[dict[str, int], list[dict[str, Any]], str | None]:
        return await previewed(parameters, candidates, after, now)

    while True:
        counted, sampled, after = await preview_users(after)
        counts.update(counted)
        samples = (samples + sampled)[:SAMPLES]
        report_progress(counts["considered"], None, "previewing")
        if after is None:
            break
    plan_of = {name: counts[name] for name in ("toSend", "nothingToRecommend", *OUTCOMES[2:])}
    details = {"dryRun": True, "week": week, **plan_of, "alreadyPlannedOrSent": counts["already"], "samples": samples}
    return JobResult(0, left_out, details)


async def send_planned(week: str, candidates: Candidates, *, expected: int | None = None) -> SchedulerError | None:
    """Sends what is planned of a week; returns what stopped it where the mail service is not to be had."""
    preference = (settings().weekly_digest_preference, True)
    mailing = Mailing(JobType.WEEKLY_DIGEST, week, {settings().weekly_digest_email_type: preference})
    return await send_all(mailing, composer(week, candidates), expected=expected)


async def send_shard(week: str) -> JobResult:
    """Helps the job that has fanned this one out: sends, and neither plans nor fans out."""
    candidates, _ = await candidates_for(week, any_age=True)
    stopped = await send_planned(week, candidates)
    return result(await deliveries.counts(jobs=[job_id_of_run()]), stopped, week=week)


@job(
    JobType.WEEKLY_DIGEST,
    max_run_time=timedelta(hours=6),
    resolve=resolve_week,
    label=lambda parameters: str(parameters.week),
)
async def weekly_digest(parameters: Parameters) -> JobResult:
    """Send Weekly Digest.

    Mails each reader who wants it 5 to 10 discoveries on the topics they prefer, once a week.
    """
    week = str(parameters.week)
    if parameters.dry_run:
        return await preview(parameters, week)
    if shards.is_shard():
        return await send_shard(week)
    await deliveries.follow(JobType.WEEKLY_DIGEST)
    candidates, left_out = await candidates_for(week)
    if not candidates.ids:
        # Everybody would be skipped, and could not get this week's digest any more once there is something in it.
        return JobResult(0, [*left_out, "the discovery service has no discoveries: nobody was planned"], {"week": week})
    audience = await plan(parameters)
    get_run_logger().info("Week %s is planned: %s", week, dict(audience))
    if parameters.shards > 1:
        await shards.fan_out(parameters.shards - 1, parameters.model_copy(update={"shards": 1}).model_dump(mode="json"))
    keys = f"{JobType.WEEKLY_DIGEST.value}:{week}:"
    stopped = await send_planned(week, candidates, expected=(await deliveries.counts(key_prefix=keys)).planned)
    if parameters.shards > 1:
        await shards.wait_for_started()
    sent = result(await deliveries.counts(key_prefix=keys), stopped, week=week, audience=dict(audience))
    return replace(sent, errors=[*left_out, *sent.errors])
