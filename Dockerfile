# wecom-worker for production: Python, what requirements-production.lock pins, and the wheel of this directory. Tools
# that build or test, and the embedded servers, stay outside. `docker compose up` runs it; see docker-compose.yml.

FROM python:3.13-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /source

# First what seldom changes: an image built anew after a change of our code downloads nothing.
COPY requirements-production.lock requirements-build.lock ./
RUN python -m venv --without-pip /opt/wecom \
    && python -m pip --python /opt/wecom/bin/python install --require-hashes --requirement requirements-production.lock \
    && python -m pip install --require-hashes --requirement requirements-build.lock

COPY pyproject.toml README.md LICENSE celeryconfig.py hatch_build.py ./
COPY migrations migrations
COPY worker worker
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheel . \
    && python -m pip --python /opt/wecom/bin/python install --no-deps --no-index /wheel/*.whl \
    && /opt/wecom/bin/python -m compileall -q /opt/wecom/lib


FROM python:3.13-slim
# A fixed number, so that whoever mounts secret files knows who must be able to read them.
RUN groupadd --gid 10001 wecom \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin wecom
COPY --from=build /opt/wecom /opt/wecom
# Logs appear at once, and nothing is written beside the code: the file system may be read-only.
ENV PATH=/opt/wecom/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /opt/wecom
USER 10001:10001
# Calls to WeCom under way finish, claimed messages go back. Celery gets the signal itself: no shell stands before it.
STOPSIGNAL SIGTERM
CMD ["celery", "-A", "worker", "--quiet", "worker", "--without-mingle", "--without-gossip", "--without-heartbeat"]
