"""What billing must answer, worked out anew in plain Python: no database, no clock, nothing of the service's own code.

A command either changes the model and returns the document, or changes nothing and returns the refusal.
"""

from __future__ import annotations

from tests.model_approvals import Approvals


class Clinic(Approvals):
    """A clinic of one branch: all that may become of its quotes, invoices and money."""
