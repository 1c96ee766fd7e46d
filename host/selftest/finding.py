"""What the checks of a self-test find."""
from dataclasses import dataclass, field

__all__ = ["Check", "Finding"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that is wrong: `names` of what may be at fault, any one of which explains what was seen; what was seen, what it
    means, and what to try."""

    names: tuple[str, ...] = ()
    seen: str
    means: str
    try_: str

    def record(self) -> dict:
        """As plain values."""
        return {"names": list(self.names), "seen": self.seen, "means": self.means, "try": self.try_}


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check: its name, what it covered, in a line, and its findings; `skipped` says why it was not done, if it was not."""

    name: str
    covered: str = ""
    findings: list[Finding] = field(default_factory=list)
    skipped: str = ""

    @property
    def good(self) -> bool:
        """Nothing was found; a check that was skipped found nothing."""
        return not self.findings

    def record(self) -> dict:
        """As plain values."""
        return {"name": self.name, "covered": self.covered, "skipped": self.skipped,
                "findings": [finding.record() for finding in self.findings]}
