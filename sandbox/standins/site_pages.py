"""The pages of the small site to crawl, and what the crawler must make of each."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class SeedPage:
    """A page that the sandbox seeds: what its row says after the crawl. `crawl_error` is how the error begins."""

    path: str
    crawl_status: Literal["completed", "failed"]
    title: str | None = None
    crawl_error: str | None = None


@dataclass(frozen=True)
class Article:
    slug: str
    title: str
    description: str
    topics: tuple[str, ...]

    @property
    def path(self) -> str:
        return f"/articles/{self.slug}"


ARTICLES = (
    Article(
        "tide-clocks",
        "How Tide Clocks Keep Time With the Moon",
        "A tide clock has one hand and no interest in your lunch hour. The arithmetic of its 12 hours 25 minutes.",
        ("science", "oceans"),
    ),
    Article(
        "sourdough-log",
        "One Hundred Loaves: A Sourdough Logbook",
        "Flour, water, salt and a spreadsheet: what changed between the first loaf and the hundredth.",
        ("cooking", "diy"),
    ),
    Article(
        "night-trains",
        "The Quiet Return of Europe's Night Trains",
        "Sleeper cars vanished from most timetables in a decade. A map of the lines that have come back.",
        ("travel", "transport"),
    ),
    Article(
        "letterpress",
        "Setting Type by Hand in a Garage in Ghent",
        "Two tonnes of lead, one proofing press and a neighbour who does not mind the noise.",
        ("design", "art"),
    ),
    Article(
        "moss-garden",
        "A Moss Garden Needs Shade, Patience & Very Little Else",
        "Why moss thrives where lawns give up, and how to start with a handful from your own roof.",
        ("gardening", "nature"),
    ),
    Article(
        "analog-synths",
        "What an Oscillator Hears: Notes on Analog Synthesis",
        "From a single sawtooth wave to something that sounds like rain on a tin roof, with recordings at each step.",
        ("music", "electronics"),
    ),
    Article(
        "chess-endgames",
        "Seven Endgames Every Club Player Draws by Accident",
        "Rook and pawn against rook, the wrong bishop, and five more positions that are won until you touch them.",
        ("games",),
    ),
    Article(
        "lighthouse-keepers",
        "The Last Lighthouse Keepers and Their Weather Diaries",
        "Hand-written logs from nine stations now help to calibrate models of storms a century old.",
        ("history", "weather"),
    ),
    Article(
        "zero-knowledge",
        "Zero-Knowledge Proofs, Explained With a Cave and Two Doors",
        "How to convince somebody that you know a secret without giving any of it away.",
        ("mathematics", "computing"),
    ),
    Article(
        "bird-maps",
        "Mapping a City by Its Birdsong",
        "Forty microphones, one spring, and a map on which the busiest road turns out to be the quietest place.",
        ("nature", "maps"),
    ),
    Article(
        "bicycle-frames",
        "Brazing a Steel Bicycle Frame in Twelve Evenings",
        "Mitred tubes, a borrowed jig and the one joint that has to be right the first time.",
        ("diy", "cycling"),
    ),
    Article(
        "deep-sky",
        "Photographing Galaxies From a Balcony",
        "Light pollution is a subtraction problem. Stacking 900 short exposures from the fourth floor.",
        ("astronomy", "photography"),
    ),
    Article(
        "paper-automata",
        "Paper Automata: Machines You Can Post in an Envelope",
        "Cams, cranks and a flapping albatross, with templates to print and cut.",
        ("art", "diy"),
    ),
    Article(
        "slow-radio",
        "In Praise of Slow Radio",
        "A station that broadcasts a single river, all day. Its listeners, its engineer and its one outage.",
        ("music", "nature"),
    ),
    Article(
        "fermented-hot-sauce",
        "Fermented Hot Sauce for People Who Forget Things",
        "Three weeks on a shelf do most of the work. Safe salt levels in one table.",
        ("cooking",),
    ),
    Article(
        "typewriter-repair",
        "Reviving a 1936 Portable Typewriter",
        "Degreasing, a new drawband and the satisfaction of a carriage that reaches the bell.",
        ("history", "diy"),
    ),
    Article(
        "glacier-sounds",
        "What a Glacier Sounds Like When Nobody Is There",
        "A season of recordings from beneath the ice, and what the cracks say about speed.",
        ("science", "weather"),
    ),
    Article(
        "small-databases",
        "The Unreasonable Usefulness of Small Databases",
        "Most data fits in memory. What becomes simple once you admit it, and the three cases where you should not.",
        ("computing",),
    ),
    Article(
        "map-projections",
        "Every Map Lies: A Field Guide to Projections",
        "Mercator, Robinson, Dymaxion and the one that looks like an orange peel: what each of them gives up.",
        ("maps", "mathematics"),
    ),
    Article(
        "community-orchards",
        "How Twelve Neighbours Planted an Orchard on a Car Park",
        "Permits, root barriers, forty-one apple trees and the first harvest.",
        ("gardening", "cities"),
    ),
)

CYRILLIC_TITLE = "Прогулки по старому городу: дворы и крыши"
SHIFT_JIS_TITLE = "京都の小さな喫茶店めぐり"
MALFORMED_TITLE = "Unclosed Tags & Other Habits of Old Web Pages"
HUGE_TITLE = "A Page That Does Not Know When to Stop"
SLOW_TITLE = "Good Things Take Three Seconds"

SEED_PAGES = (
    *(SeedPage(article.path, "completed", article.title) for article in ARTICLES),
    SeedPage("/slow", "completed", SLOW_TITLE),
    SeedPage("/malformed", "completed", MALFORMED_TITLE),
    SeedPage("/huge", "completed", HUGE_TITLE),
    SeedPage("/windows-1251", "completed", CYRILLIC_TITLE),
    SeedPage("/shift-jis", "completed", SHIFT_JIS_TITLE),
    SeedPage("/untitled", "completed", None),
    SeedPage("/gone", "failed", crawl_error="HTTP 404"),
    SeedPage("/too-slow", "failed", crawl_error="Timeout"),
    SeedPage("/drip", "failed", crawl_error="Timeout"),
    SeedPage("/loop", "failed", crawl_error="Too many redirects"),
    SeedPage("/report.pdf", "failed", crawl_error="Not an HTML page"),
)
