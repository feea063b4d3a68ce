"""What somebody may put into the Authorization header, good and bad, and what they are told for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from api import machine_keys
from tests.api.fakes import KID, ORIGIN, PLAIN, Tokens

MACHINE_KEY, _DIGEST = machine_keys.make()
MACHINE_KEYS = f"nightly-report:{_DIGEST}"
Make: TypeAlias = Callable[[Tokens], str | None]


@dataclass(frozen=True)
class Refusal:
    status: int
    code: str
    sentence: str


MISSING = Refusal(401, "MISSING_AUTHORIZATION", "Missing authorization")
INVALID = Refusal(401, "INVALID_TOKEN", "Invalid or expired token")
FORBIDDEN = Refusal(403, "ADMIN_REQUIRED", "Admin access required")
NOT_FOR_MACHINES = Refusal(
    403,
    "MACHINE_KEY_REFUSED",
    "A machine key may trigger jobs and read; everything else takes an admin's session",
)


def now() -> int:
    return int(time.time())


def bearer(**claims: Any) -> Make:
    """A token that the instance has signed, with these claims other than usual."""
    return lambda tokens: f"Bearer {tokens.sign(**claims)}"


def headed(**headers: Any) -> Make:
    """A token that the instance has signed, with this in its header."""
    return lambda tokens: f"Bearer {tokens.sign(headers=headers)}"


def forged(**headers: Any) -> Make:
    """A token that somebody else has signed."""
    return lambda tokens: f"Bearer {tokens.sign(key=tokens.other_key, headers=headers)}"


REFUSED: dict[str, tuple[Make, Refusal]] = {
    "no header": (lambda _: None, MISSING),
    "an empty header": (lambda _: "", INVALID),
    "another scheme": (lambda _: "Basic dXNlcjpwYXNz", INVALID),
    "a scheme without a token": (lambda _: "Bearer", INVALID),
    "a token without a scheme": (lambda t: t.sign(), INVALID),
    "two tokens in one header": (lambda t: f"Bearer {t.sign()}, Bearer {t.sign()}", INVALID),
    # garbage
    "garbage": (lambda _: "Bearer garbage", INVALID),
    "garbage in three parts": (lambda _: "Bearer a.b.c", INVALID),
    "garbage beyond ASCII": (lambda _: "Bearer ä.ö.ü", INVALID),
    "a header nested deeper than a parser goes": (lambda _: f"Bearer {'W1tb' * 3900}.e30.e30", INVALID),
    "a token as long as a book": (bearer(padding="x" * 20_000), INVALID),
    # times
    "expired": (lambda t: f"Bearer {t.sign(exp=now() - 10)}", INVALID),
    "not valid yet": (lambda t: f"Bearer {t.sign(nbf=now() + 30)}", INVALID),
    "issued in the future": (lambda t: f"Bearer {t.sign(iat=now() + 30)}", INVALID),
    "without exp": (bearer(exp=None), INVALID),
    "without nbf": (bearer(nbf=None), INVALID),
    "exp that is a text": (lambda t: f"Bearer {t.sign(exp=str(now() + 60))}", INVALID),
    "exp that is true": (bearer(exp=True), INVALID),
    "exp that is a list": (bearer(exp=[1]), INVALID),
    "exp beyond every number": (bearer(exp=float("inf")), INVALID),
    "exp that is no number": (bearer(exp=float("nan")), INVALID),
    "nbf that is a text": (lambda t: f"Bearer {t.sign(nbf=str(now() - 1))}", INVALID),
    "iat that is an object": (bearer(iat={"at": 1}), INVALID),
    # who it is for and from
    "without sub": (bearer(sub=None), INVALID),
    "sub that is a number": (lambda t: f"Bearer {t.with_payload(t.claims(sub=7))}", INVALID),
    "a sub that is a path": (bearer(sub="../v1/users/user_admin"), INVALID),
    "a sub that is another host": (bearer(sub="@evil.test"), INVALID),
    "a sub like a script's": (bearer(sub="service:nightly-report"), INVALID),
    "without iss": (bearer(iss=None), INVALID),
    "wrong issuer": (bearer(iss="https://evil.test"), INVALID),
    "issuer with a slash more": (bearer(iss="https://clerk.test/"), INVALID),
    "issuer in a list": (lambda t: f"Bearer {t.with_payload(t.claims(iss=['https://clerk.test']))}", INVALID),
    "wrong azp": (bearer(azp="https://evil.test"), INVALID),
    "azp that begins like ours": (bearer(azp=f"{ORIGIN}.evil.test"), INVALID),
    "azp that is a list": (bearer(azp=[ORIGIN]), INVALID),
    "an empty azp": (bearer(azp=""), INVALID),
    "azp null": (lambda t: f"Bearer {t.with_payload({**t.claims(), 'azp': None})}", INVALID),
    "pending session": (bearer(sts="pending"), INVALID),
    "claims that are a list": (lambda t: f"Bearer {t.with_payload([1])}", INVALID),
    # who has signed it, and how
    "HS256 with the public key": (
        lambda t: f"Bearer {t.by_hand({'alg': 'HS256', 'kid': KID}, t.public_pem())}",
        INVALID,
    ),
    "alg none": (lambda t: f"Bearer {t.by_hand({'alg': 'none', 'kid': KID}, None)}", INVALID),
    "alg None": (lambda t: f"Bearer {t.by_hand({'alg': 'None', 'kid': KID}, None)}", INVALID),
    "alg in a list": (lambda t: f"Bearer {t.by_hand({'alg': ['RS256'], 'kid': KID}, None)}", INVALID),
    "without a signature": (lambda t: f"Bearer {t.by_hand({'alg': 'RS256', 'kid': KID}, None)}", INVALID),
    "RS512 by the right key": (lambda t: f"Bearer {t.sign(algorithm='RS512')}", INVALID),
    "PS256 by the right key": (lambda t: f"Bearer {t.sign(algorithm='PS256')}", INVALID),
    "signed by another key": (forged(), INVALID),
    "unknown kid": (headed(kid="ins_9"), INVALID),
    "without kid": (lambda t: f"Bearer {t.by_hand({'alg': 'RS256'}, None)}", INVALID),
    "kid that is no text": (lambda t: f"Bearer {t.by_hand({'alg': 'RS256', 'kid': 7}, None)}", INVALID),
    "embedded jwk": (lambda t: f"Bearer {t.sign(key=t.other_key, headers={'jwk': t.jwk(t.other_key)})}", INVALID),
    "jku": (forged(jku="https://evil.test/jwks.json"), INVALID),
    "x5u": (forged(x5u="https://evil.test/cert.pem"), INVALID),
    "crit": (headed(crit=["exp"]), INVALID),
    "an OAuth application's token": (headed(typ="at+jwt"), INVALID),
    # who may
    "plain user": (bearer(sub=PLAIN), FORBIDDEN),
    "somebody Clerk does not have": (bearer(sub="user_gone"), FORBIDDEN),
    "role in the wrong case": (bearer(metadata={"role": "Admin"}), FORBIDDEN),
    "role with a space": (bearer(metadata={"role": "admin "}), FORBIDDEN),
    "role in a list": (bearer(metadata={"role": ["admin"]}), FORBIDDEN),
    "role true": (bearer(metadata={"role": True}), FORBIDDEN),
    "role of the organisation": (bearer(metadata={}, org_role="admin", role="admin"), FORBIDDEN),
    "metadata that is a text": (bearer(metadata="admin"), FORBIDDEN),
    "metadata that is a list": (bearer(metadata=["admin"]), FORBIDDEN),
    # scripts
    "a key that nobody has": (lambda _: f"Bearer {machine_keys.make()[0]}", INVALID),
    "a script's key with a letter more": (lambda _: f"Bearer {MACHINE_KEY}a", INVALID),
    "a script's key cut off": (lambda _: f"Bearer {MACHINE_KEY[:-1]}", INVALID),
    "the digest of a key": (lambda _: f"Bearer sched_{_DIGEST}", INVALID),
    "a script's name": (lambda _: "Bearer service:nightly-report", INVALID),
}

LET_IN: dict[str, Make] = {
    "the role comes from Clerk's API": bearer(),
    "the role comes with the token": bearer(metadata={"role": "admin"}),
    "azp that is ours": bearer(azp=ORIGIN),
    "expired within the skew": lambda t: f"Bearer {t.sign(exp=now() - 3)}",
    "issued by a clock ahead": lambda t: f"Bearer {t.sign(iat=now() + 3, nbf=now() + 3)}",
    "times that are fractions": lambda t: f"Bearer {t.sign(exp=now() + 30.5)}",
    "active session": bearer(sts="active"),
    "aud, about which nothing is promised": bearer(aud="something"),
    "a scheme in small letters": lambda t: f"bearer {t.sign()}",
}
