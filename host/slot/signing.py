"""Keys of those who make bundles, and signatures on the headers of slots: Ed25519 (RFC 8032)."""
from contextlib import suppress
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from arch.slots import Header, Slot
from cli import OutputError, RequestError

__all__ = ["KeyFileError", "make_key", "private_key", "public_key", "sign", "signed_by"]

_PRIVATE = 0o600                # for nobody else


class KeyFileError(RequestError):
    """A file holds no key of the kind that is wanted; the message names it."""


def make_key(path: Path) -> Path:
    """Writes a new private key to a file that only its owner reads, and the public one beside it, with ".pub" behind the name,
    which is returned. Raises OutputError, also where one of them is there already."""
    key, beside = Ed25519PrivateKey.generate(), path.with_name(f"{path.name}.pub")
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    _create(path, secret, _PRIVATE)
    try:
        _create(beside, public, 0o666)
    except OutputError:
        path.unlink()           # a new one, of no use alone
        raise
    return beside


def _create(path: Path, content: bytes, mode: int) -> None:
    """Writes a file that was not there."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise OutputError(f"{path}: is there already: give another name") from None
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}") from None
    with os.fdopen(handle, "wb") as file:
        file.write(content)


def private_key(path: Path) -> Ed25519PrivateKey:
    """Raises KeyFileError."""
    found, data = None, _read(path)
    with suppress(ValueError, TypeError, UnsupportedAlgorithm):
        found = serialization.load_pem_private_key(data, password=None)
    if not isinstance(found, Ed25519PrivateKey):
        raise KeyFileError(f"{path}: holds no private Ed25519 key without a password: host.bundle --make-key makes one")
    return found


def public_key(path: Path) -> Ed25519PublicKey:
    """Raises KeyFileError."""
    found, data = None, _read(path)
    with suppress(ValueError, UnsupportedAlgorithm):
        found = serialization.load_pem_public_key(data)
    if not isinstance(found, Ed25519PublicKey):
        raise KeyFileError(f"{path}: holds no public Ed25519 key: host.bundle --make-key FILE makes FILE and FILE.pub")
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise KeyFileError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def sign(slot: Slot, key: Ed25519PrivateKey) -> Slot:
    """The slot with the key's signature in its header."""
    return slot.with_signature(key.sign(slot.header.signed))


def signed_by(header: Header, key: Ed25519PublicKey) -> bool:
    """Whether the header's signature is the key's."""
    try:
        key.verify(header.signature, header.signed)
    except InvalidSignature:
        return False
    return True
