# One image for everything that runs in the cluster: the shim, migrations, deployments, Prefect's servers, the worker
# and flow runs. It is built on any Debian 12 or later: one without Python gets Debian's own, and what the stages below
# install comes from PyPI, npm and Debian alone.
ARG BASE_IMAGE=docker.io/library/python:3.11.14-slim-bookworm

FROM ${BASE_IMAGE} AS python
# Which versions there are is the base's to say. Bytecode of the standard library is compiled here, because the official
# Python images come without it, and a read-only root would compile it anew at every start.
# hadolint ignore=DL3008
RUN set -eu; \
    if ! command -v python3 || ! test -s /etc/ssl/certs/ca-certificates.crt; then \
        apt-get update; \
        apt-get install --yes --no-install-recommends python3 ca-certificates; \
        rm -rf /var/lib/apt/lists/* /var/cache/apt/*; \
    fi; \
    python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash \
        -x 'site-packages|dist-packages|/(test|idlelib|lib2to3|tkinter|turtledemo)/' \
        "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"

# What only the build needs. pip and npm trust what the base trusts, also where that is more than they bring themselves.
FROM python AS tools
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
# Debian keeps ensurepip apart.
# hadolint ignore=DL3008
RUN set -eu; \
    if ! python3 -c 'import ensurepip'; then \
        apt-get update; \
        apt-get install --yes --no-install-recommends python3-venv; \
        rm -rf /var/lib/apt/lists/* /var/cache/apt/*; \
    fi; \
    python3 -m venv /opt/tools
WORKDIR /build

FROM tools AS dependencies
COPY requirements-image.lock ./
# Wheels only: nothing is compiled, so that no stage needs a compiler. The path file makes the code known to every program
# of the environment, `prefect` as well as `python -m`.
RUN set -eu; \
    python3 -m venv --without-pip /opt/venv; \
    /opt/tools/bin/pip --python /opt/venv/bin/python install --quiet --no-cache-dir --no-compile \
        --no-deps --require-hashes --only-binary :all: --requirement requirements-image.lock; \
    /opt/tools/bin/pip --python /opt/venv/bin/python check; \
    echo /app > "$(/opt/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/app.pth"; \
    /opt/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib

FROM tools AS dashboard
COPY requirements-node.lock ./
RUN /opt/tools/bin/pip install --quiet --no-cache-dir --require-hashes --only-binary :all: \
        --requirement requirements-node.lock
ENV PATH=/opt/tools/bin:$PATH
WORKDIR /build/dashboard
COPY dashboard/package.json dashboard/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY dashboard ./
RUN npm run build

FROM dependencies AS application
WORKDIR /app
COPY prefect.yaml ./
COPY supabase/migrations supabase/migrations
COPY flows flows
COPY deployments deployments
COPY worker worker
COPY api api
# What an installed package tells Prefect: the worker type of the warm pool. Nothing is installed here, only told.
COPY pyproject.toml /build/
RUN /opt/venv/bin/python -B -m deployments.metadata /build/pyproject.toml . && \
    /opt/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash .

FROM python AS runtime
# Nothing can be installed or compiled where this runs.
RUN set -eu; \
    rm -rf /usr/local/bin/pip* /usr/local/bin/idle* /usr/local/bin/pydoc* /usr/local/lib/python3*/ensurepip \
        /usr/local/lib/python3*/site-packages/* /usr/lib/python3*/ensurepip /usr/share/python-wheels; \
    groupadd --gid 10001 scheduler; \
    useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin scheduler
COPY --from=dependencies /opt/venv /opt/venv
COPY --from=application /app /app
COPY --from=dashboard /build/dashboard/dist /app/dashboard/dist
WORKDIR /app
# Whoever it runs as, /tmp is all that can be written: there Prefect's server puts its pages together. Time zones come
# from the tzdata package alone: Prefect lists them all for every schedule it reads.
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    PYTHONTZPATH="" \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DO_NOT_TRACK=1 \
    PREFECT_SERVER_UI_STATIC_DIRECTORY=/tmp/prefect-ui \
    HOST=0.0.0.0 \
    PORT=8080
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["python", "-m", "api.probe"]
CMD ["python", "-m", "api"]
# Last, because it differs from build to build: all above stays in the cache.
ARG RELEASE=development
ENV RELEASE=${RELEASE}
LABEL org.opencontainers.image.title="scheduler-service" \
      org.opencontainers.image.description="Background jobs of Stumbleable: Prefect flows and the HTTP shim in front of them" \
      org.opencontainers.image.vendor="Stumbleable" \
      org.opencontainers.image.revision="${RELEASE}"
