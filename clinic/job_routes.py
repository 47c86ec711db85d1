"""JSON of jobs: how far long work is, and what came of it."""

from __future__ import annotations

from uuid import UUID

from flask import Response

from clinic import db, errors, http, jobs
from clinic.jobs import JobOut

bp = http.Blueprint("jobs", __name__, url_prefix="/v1", description="Long work that goes on after its request")


@bp.get("/jobs/<uuid:job_id>")
@bp.contract(may=http.SIGNED_IN, gives={200: JobOut}, refuses=(errors.NotFound,))
def read_job(job_id: UUID) -> Response:
    """A job

    For the caller who asked for it, whatever his rights are by now, and for administrators. While it is not finished
    the answer has `Retry-After`. A finished job is kept for thirty days."""
    with db.reading() as conn:
        job = jobs.get(conn, job_id, http.actor())
    return http.reply(job.as_json(), headers=None if job.is_finished else {"Retry-After": "1"})
