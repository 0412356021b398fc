# The service for a cluster's nodes, in two images with the same Python, Ray and torch versions:
#
#   docker build --target cpu -t musicgen-serve:cpu .   head, ingress, pipeline, text encoders, codec decoders
#   docker build --target gpu -t musicgen-serve:gpu .   language models; torch's wheels bring CUDA, the host the driver
#
# No weights are inside: they are downloaded into HF_HOME, or lie in a folder that is mounted.
# BASE is pinned where it is built, so that the same commit makes the same image:
#   --build-arg BASE=ubuntu:22.04@sha256:…   (`docker buildx imagetools inspect ubuntu:22.04` prints the digest)
ARG BASE=ubuntu:22.04

FROM ${BASE} AS runtime
# rsync: how Ray's cluster launcher copies files into a container. wget: what asks for a node's health.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 rsync wget \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --user-group --create-home --shell /bin/bash musicgen \
    && install --directory --owner=musicgen --group=musicgen /models /srv/musicgen/build \
    # Ray's launcher and KubeRay start nodes in login shells, whose profile may set PATH anew.
    && echo "PATH=/opt/venv/bin:\$PATH" > /etc/profile.d/musicgen.sh
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/srv/musicgen \
    PYTHONUNBUFFERED=1 \
    HF_HOME=/models \
    RAY_USAGE_STATS_ENABLED=0 \
    RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=serve_app.proxy.flow_control:middlewares
WORKDIR /srv/musicgen

# What everything depends on; the code comes last, so that a change of it leaves these layers as they are.
FROM runtime AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/venv
COPY LICENSE README.md constraints.txt pyproject.toml ./

FROM build AS build-cpu
# Of torch's builds for CPUs, a tenth as large as those with CUDA. Empty: torch comes from where the rest comes from.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir --constraint constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch \
    && python -c "import torch; assert torch.version.cuda is None, 'torch brought CUDA: see TORCH_INDEX'" \
    && pip install --no-cache-dir --constraint constraints.txt .

FROM build AS build-gpu
RUN pip install --no-cache-dir --constraint constraints.txt .

FROM runtime AS cpu
COPY --from=build-cpu /opt/venv /opt/venv
COPY deployments deployments
COPY serve_app serve_app
USER 1000:1000
# Of the Ray node in this container, whatever started it.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["wget", "-q", "-T", "3", "-O", "/dev/null", "http://127.0.0.1:52365/api/local_raylet_healthz"]
# A service of its own on one machine; a cluster says `ray start …` instead.
CMD ["serve", "run", "serve_app/configs/local.yaml"]

FROM runtime AS gpu
# Triton compiles a small C module at the first start.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev python3-dev \
    && rm -rf /var/lib/apt/lists/*
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=build-gpu /opt/venv /opt/venv
COPY deployments deployments
COPY serve_app serve_app
USER 1000:1000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["wget", "-q", "-T", "3", "-O", "/dev/null", "http://127.0.0.1:52365/api/local_raylet_healthz"]
CMD ["serve", "run", "serve_app/configs/gpu.yaml"]
