# syntax=docker/dockerfile:1
FROM python:3.13-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
COPY requirements.lock ./
RUN python -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-deps --only-binary :all: --require-hashes -r requirements.lock

FROM python:3.13-slim-bookworm
# The user has a name and a group of its own: initdb of the embedded database asks for both.
RUN useradd --system --user-group --uid 10001 --home-dir /var/lib/clinic --create-home --shell /usr/sbin/nologin clinic
COPY --from=build /opt/venv /opt/venv
WORKDIR /opt/clinic
COPY wsgi.py run.py pyproject.toml README.md ./
COPY clinic ./clinic
COPY catalog ./catalog
COPY billing ./billing
COPY migrations ./migrations
# Compiled once here: the user of the container may not write beside the program.
RUN /opt/venv/bin/python -m compileall -q /opt/clinic
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    CLINIC_DATA=/var/lib/clinic/data
USER 10001:10001
# Holds the embedded database; with DATABASE_URL it stays empty.
VOLUME /var/lib/clinic
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ.get(\"CLINIC_PORT\") or 8000}/health/live', timeout=2)"]
ENTRYPOINT ["python", "-m", "wsgi"]
CMD ["serve", "--host", "0.0.0.0"]
