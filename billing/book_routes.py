"""JSON of the books as a whole: whether they are right."""

from __future__ import annotations

from flask import Response

from billing import checking
from clinic import budgets, http
from clinic.jobs import JobOut

bp = http.Blueprint("books", __name__, url_prefix="/v1", description="Whether the books are right")


@bp.get("/books/check")
@bp.contract(may="audit:read", gives={202: JobOut}, a_minute=budgets.COSTLY)
def check_books() -> Response:
    """Check the books

    Asks every question that must have no answer, of every document of all branches and of the journal, at one moment.
    That takes minutes, so it is a job: its `result` says whether the books are `whole`, how many `documents` and
    `events` were looked at, and names `offenders`, twenty for each question. Asked again before it is finished, the
    same job is answered. A caller that is kept to a branch gets 403."""
    with http.change() as change:
        job = checking.ask(change, lang=http.lang(), request=http.request_id())
    return http.reply(job.as_json(), 202, {"Location": f"/v1/jobs/{job.id}", "Retry-After": "1"})
