"""Clerk's signing keys in the sandbox, and session tokens signed with them: right ones, and wrong ones for tests.

The keys live in `<state dir>/clerk_signing_keys.json` (mode 0600), made at first use. The last key signs; the ones
before it are still published, unless a rotation withdrew them.
"""

import base64
import hashlib
import hmac
import json
import os
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import jwt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

KEYS_FILE = "clerk_signing_keys.json"
SESSION_SECONDS = 60


@dataclass(frozen=True)
class SigningKey:
    kid: str
    private_key: rsa.RSAPrivateKey


Key: TypeAlias = SigningKey | rsa.RSAPrivateKey | bytes | None
"""What a token is signed with: an RSA key (RS256), a shared secret (HS256) or nothing (alg none)."""


def session_token(
    state_dir: Path, *, issuer: str, clerk_user_id: str, lifetime_seconds: int = SESSION_SECONDS, **claims: Any
) -> str:
    """A session token that the sandbox's Clerk stands behind; more claims as in `session_claims`."""
    wanted = session_claims(issuer=issuer, clerk_user_id=clerk_user_id, lifetime_seconds=lifetime_seconds, **claims)
    return sign(wanted, signing_key(state_dir))


def session_claims(
    *,
    issuer: str,
    clerk_user_id: str,
    lifetime_seconds: int = SESSION_SECONDS,
    now: float | None = None,
    azp: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    sts: str | None = None,
) -> dict[str, Any]:
    """The claims of a Clerk session that begins `now` (epoch seconds; default the present moment).

    A negative lifetime gives an expired token, a `now` in the future one that is not valid yet.
    """
    issued_at = int(time.time() if now is None else now)
    optional = {"azp": azp, "metadata": None if metadata is None else dict(metadata), "sts": sts}
    return {
        "iss": issuer,
        "sub": clerk_user_id,
        "sid": f"sess_{secrets.token_hex(12)}",
        "iat": issued_at,
        "nbf": issued_at,
        "exp": issued_at + lifetime_seconds,
    } | {name: value for name, value in optional.items() if value is not None}


def sign(claims: Mapping[str, Any], key: Key, headers: Mapping[str, Any] | None = None) -> str:
    """A token with exactly these claims, of the algorithm that `key` implies; `headers` override or (None) remove ours.

    Written out by hand because a JWT library refuses to sign most of what a verifier must be shown to refuse.
    """
    wanted: dict[str, Any] = {"alg": _algorithm(key), "typ": "JWT"}
    if isinstance(key, SigningKey):
        wanted["kid"] = key.kid
    wanted = {name: value for name, value in (wanted | dict(headers or {})).items() if value is not None}
    signed = f"{_segment(json.dumps(wanted).encode())}.{_segment(json.dumps(dict(claims)).encode())}"
    return f"{signed}.{_segment(_signature(signed.encode(), key))}"


def verify(token: str, state_dir: Path, issuer: str | None = None) -> dict[str, Any]:
    """The claims of a token that is ours and alive; raises `jwt.InvalidTokenError` otherwise."""
    kid = jwt.get_unverified_header(token).get("kid")
    for public_key in jwks(state_dir)["keys"]:
        if public_key["kid"] == kid:
            key, demanded = jwt.PyJWK(public_key), {"require": ["exp", "sub"]}
            claims: dict[str, Any] = jwt.decode(token, key, algorithms=["RS256"], issuer=issuer, options=demanded)  # type: ignore[arg-type]
            return claims
    raise jwt.InvalidTokenError(f"no key {kid!r}")


def signing_key(state_dir: Path) -> SigningKey:
    newest = _stored_keys(state_dir)[-1]
    private_key = serialization.load_pem_private_key(newest["private_pem"].encode(), password=None)
    if not isinstance(private_key, rsa.RSAPrivateKey):
        raise TypeError(f"{state_dir / KEYS_FILE} holds a key that is not RSA")
    return SigningKey(newest["kid"], private_key)


def jwks(state_dir: Path) -> dict[str, list[dict[str, Any]]]:
    """The public keys as Clerk publishes them."""
    return {"keys": [key["public_jwk"] for key in _stored_keys(state_dir)]}


def rotate(state_dir: Path, *, keep_previous: bool) -> str:
    """The kid of a new signing key; the previous ones stay published or are withdrawn."""
    kept = _stored_keys(state_dir) if keep_previous else []
    new = _new_key()
    replacement = _written_aside(state_dir, [*kept, new])
    replacement.replace(state_dir / KEYS_FILE)
    kid: str = new["kid"]
    return kid


def _stored_keys(state_dir: Path) -> list[dict[str, Any]]:
    path = state_dir / KEYS_FILE
    if not path.exists():
        first = _written_aside(state_dir, [_new_key()])
        # Clerk and a token command may both come first: a link never replaces what the other has written.
        with suppress(FileExistsError):
            path.hardlink_to(first)
        first.unlink()
    keys: list[dict[str, Any]] = json.loads(path.read_text())["keys"]
    return keys


def _written_aside(state_dir: Path, keys: list[dict[str, Any]]) -> Path:
    aside = state_dir / f".{KEYS_FILE}.{secrets.token_hex(4)}"
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump({"keys": keys}, file)
    return aside


def _new_key() -> dict[str, Any]:
    private_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    kid = f"ins_{secrets.token_hex(12)}"
    public_jwk = jwt.algorithms.RSAAlgorithm.to_jwk(private_key.public_key(), as_dict=True)
    pem = private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    published = {"use": "sig", "kty": "RSA", "kid": kid, "alg": "RS256", "n": public_jwk["n"], "e": public_jwk["e"]}
    return {"kid": kid, "private_pem": pem.decode(), "public_jwk": published}


def _algorithm(key: Key) -> str:
    if key is None:
        return "none"
    return "HS256" if isinstance(key, bytes) else "RS256"


def _signature(signed: bytes, key: Key) -> bytes:
    if key is None:
        return b""
    if isinstance(key, bytes):
        return hmac.digest(key, signed, hashlib.sha256)
    private_key = key.private_key if isinstance(key, SigningKey) else key
    return private_key.sign(signed, padding.PKCS1v15(), hashes.SHA256())


def _segment(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
