# The service as an image. BASE has Python 3.11 or newer with its venv module, ca-certificates and libstdc++: any Debian
# or Ubuntu with these packages will do too.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ARG UV_VERSION=0.13.9
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt UV_LINK_MODE=copy UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never
WORKDIR /app
RUN ["python3", "-m", "venv", "/uv"]
RUN ["/bin/sh", "-c", "/uv/bin/python -m pip install --quiet --no-cache-dir uv==${UV_VERSION}"]
COPY pyproject.toml uv.lock ./
RUN ["/uv/bin/uv", "sync", "--frozen", "--quiet", "--no-dev"]
COPY backend backend
# Nothing can be written where it runs, so what Python would keep there is made now.
RUN ["/app/.venv/bin/python", "-m", "compileall", "-q", "-j", "0", "backend", ".venv/lib"]

FROM ${BASE}
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="Task API" \
      org.opencontainers.image.description="The multi-user task backend behind a Next.js frontend" \
      org.opencontainers.image.version="${VERSION}"
WORKDIR /app
COPY --from=build /app/.venv .venv
COPY --from=build /app/backend backend
ENV PATH=/app/.venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOST=0.0.0.0 PORT=8000 LOG_FORMAT=json
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-c", \
    "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/health', timeout=4)"]
ENTRYPOINT ["python", "-m", "backend"]
CMD ["serve"]
