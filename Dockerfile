# Three images: `serve-cpu` (the default) and `serve-gpu` answer requests, `train` learns and exports.
#
#   docker build -t latent-codes:serve-cpu .
#   docker build -t latent-codes:serve-gpu --target serve-gpu .
#   docker build -t latent-codes:train --target train .
#
# Whatever is installed is in requirements/, with its hash; `make lock` writes those files. BuildKit is needed.

ARG PYTHON_IMAGE=python:3.11-slim-bookworm


# ---- What every image starts from: Python, a user without rights, the folders that volumes cover.

FROM ${PYTHON_IMAGE} AS runtime
# A volume takes its owner from the folder that it covers when it is first used. That is why both sides know /models
# under the same user: what `train` publishes there, the service can read.
RUN groupadd --gid 10001 latent \
    && useradd --uid 10001 --gid latent --no-create-home --home-dir /tmp --shell /usr/sbin/nologin latent \
    && install -d -o latent -g latent /models
# Bytecode is compiled into the image, whose file system is read-only when it runs.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /app


# ---- Where things are installed. No final image is based on these stages; they hand over /opt/venv and /app.

FROM runtime AS installer
# pip's own variables, for a package index of your own. Nothing of them is left in an image.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_COMPILE=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# The environment gets no pip: `pip --python` installs from outside.
RUN python -m venv --without-pip /opt/venv

FROM installer AS application
RUN python -m venv /build/backend
COPY requirements/build.txt requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    /build/backend/bin/pip install --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md ./
COPY models models
COPY service service
COPY training training
RUN /build/backend/bin/pip install --no-deps --no-build-isolation --target /app . \
    && mkdir -p /app/models/shipped

FROM application AS service-application
RUN rm -r /app/training

FROM installer AS serve-cpu-files
COPY requirements/serve-cpu.txt requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/venv/bin/python install --require-hashes -r requirements/serve-cpu.txt
COPY --from=service-application /app /app
COPY docker/check_serving_image.py docker/
# A tenth of what was installed are the tests of numpy.
RUN find /opt/venv/lib -type d -name tests -prune -exec rm -r {} + \
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib /app \
    && python docker/check_serving_image.py CPUExecutionProvider
# The bill of materials, from what is really installed and not from what was asked for.
RUN --mount=type=bind,from=application,source=/build/backend,target=/build/backend \
    /build/backend/bin/cyclonedx-py environment --output-reproducible --output-format JSON --output-file /app/sbom.cdx.json /opt/venv/bin/python

FROM installer AS serve-gpu-files
COPY requirements/serve-gpu.txt requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/venv/bin/python install --require-hashes -r requirements/serve-gpu.txt
COPY --from=service-application /app /app
COPY docker/check_serving_image.py docker/
# A tenth of what was installed are the tests of numpy.
RUN find /opt/venv/lib -type d -name tests -prune -exec rm -r {} + \
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib /app \
    && python docker/check_serving_image.py CUDAExecutionProvider
# The bill of materials, from what is really installed and not from what was asked for.
RUN --mount=type=bind,from=application,source=/build/backend,target=/build/backend \
    /build/backend/bin/cyclonedx-py environment --output-reproducible --output-format JSON --output-file /app/sbom.cdx.json /opt/venv/bin/python

FROM installer AS train-files
COPY requirements/train.txt requirements/train-without-torch.txt requirements/
# The lock has PyTorch for CUDA, which also runs on a CPU, at several gigabytes. A requirement given here, such as
# "torch==2.13.0+cpu" where PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS has one, takes its place.
ARG TORCH=
RUN --mount=type=cache,target=/root/.cache/pip \
    if [ -z "$TORCH" ]; then \
      pip --python /opt/venv/bin/python install --require-hashes -r requirements/train.txt; \
    else \
      pip --python /opt/venv/bin/python install --require-hashes -r requirements/train-without-torch.txt \
      && pip --python /opt/venv/bin/python install "$TORCH"; \
    fi
COPY --from=application /app /app
# PyTorch carries a file or two for later Pythons only, which this one cannot compile and does not need.
RUN rm -r /app/service \
    && { python -m compileall -qq -j 0 --invalidation-mode unchecked-hash /opt/venv/lib /app || true; } \
    && python -m training --help >/dev/null


# ---- The images.

FROM runtime AS labelled
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=unknown
ARG PYTHON_IMAGE
LABEL org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.revision=$REVISION \
      org.opencontainers.image.created=$CREATED \
      org.opencontainers.image.base.name=$PYTHON_IMAGE

FROM labelled AS train
# Runs and downloaded data are kept in volumes too. `export` writes to ./model_repository if not told otherwise.
RUN install -d -o latent -g latent /app/runs /app/data \
    && ln -s /models /app/model_repository
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=train-files /opt/venv /opt/venv
COPY --from=train-files /app /app
USER 10001:10001
ENTRYPOINT ["python", "-m", "training"]
CMD ["--help"]
LABEL org.opencontainers.image.title="latent-codes train" \
      org.opencontainers.image.description="Learns discrete latent codes and exports them to a model repository"

FROM labelled AS serve
ENV LATENT_CODES_HOST=0.0.0.0 \
    LATENT_CODES_PORT=8000 \
    LATENT_CODES_MODEL_REPOSITORIES=/models:/app/models/shipped
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=3s --start-period=120s --retries=3 CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['LATENT_CODES_PORT']), timeout=2); c.request('GET', '/v2/health/ready'); sys.exit(c.getresponse().status != 200)"]
CMD ["python", "-m", "service"]
LABEL org.opencontainers.image.title="latent-codes" \
      org.opencontainers.image.description="Serves discrete latent codes over HTTP"

FROM serve AS serve-gpu
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=serve-gpu-files /opt/venv /opt/venv
COPY --from=serve-gpu-files /app /app

FROM serve AS serve-cpu
COPY --from=serve-cpu-files /opt/venv /opt/venv
COPY --from=serve-cpu-files /app /app
