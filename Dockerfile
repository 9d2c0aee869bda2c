FROM python:3.11-slim AS build
WORKDIR /build
COPY requirements.lock .
RUN python -m venv /opt/sluice \
    && /opt/sluice/bin/pip install --no-cache-dir --no-deps --require-hashes -r requirements.lock
COPY . .
RUN /opt/sluice/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.11-slim
RUN useradd --uid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin sluice \
    && install --directory --owner=sluice --group=sluice --mode=0700 /data
COPY --from=build /opt/sluice /opt/sluice
# A container is reached from outside: it starts only with SLUICE_AUTH set, or with
# SLUICE_ALLOW_ANONYMOUS=true. Nothing is written but the SQLite file, when that is the store:
# with a read-only root, mount a volume at /data for it.
ENV PATH=/opt/sluice/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    SLUICE_HOST=0.0.0.0 \
    XDG_DATA_HOME=/data
USER 10001
WORKDIR /data
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as web; web.urlopen(f'http://127.0.0.1:{os.environ.get(\"SLUICE_PORT\") or 8000}/healthz', timeout=2)"]
ENTRYPOINT ["sluice"]
CMD ["serve"]
