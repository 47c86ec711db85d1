"""Known holes in what the lock installs: status 1 names them. Where the data cannot be had, that is said and no more.

A package index need not offer the data, and a machine without a network offers nothing: neither says that all is well.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).parents[1] / "requirements-dev.lock"


def main() -> int:
    try:
        asked = subprocess.run(
            [sys.executable, "-m", "pip_audit", "-r", str(LOCK), "--disable-pip", "--require-hashes",
             "--format", "json", "--progress-spinner", "off", "--timeout", "10"],
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        print("audit: NOTHING WAS AUDITED, the data did not come in time")
        return 0
    try:
        told = json.loads(asked.stdout)["dependencies"]
    except (ValueError, KeyError):
        reason = (asked.stderr.strip().splitlines() or ["no answer"])[-1]
        print(f"audit: NOTHING WAS AUDITED, the data could not be had: {reason[:200]}")
        return 0
    known = [each for each in told if "skip_reason" not in each]
    holes = [(each, hole) for each in known for hole in each["vulns"]]
    for each, hole in holes:
        print(f"audit: {each['name']} {each['version']}: {hole['id']}, mended in {', '.join(hole['fix_versions'])}")
    if not known:
        print(f"audit: NOTHING WAS AUDITED, the index has no data on any of {len(told)} packages")
    else:
        print(f"audit: {len(known)} of {len(told)} packages audited, {len(holes)} known holes")
    return 1 if holes else 0


if __name__ == "__main__":
    sys.exit(main())
