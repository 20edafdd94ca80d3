# avsent as a container: `docker build -t avsent .` for the CPU,
# `docker build --target cuda -t avsent:cuda .` for an NVIDIA GPU. Arguments and usage:
# docs/docker.md.
#
# The last stage of the cpu image installs nothing: it is the base plus one folder.

ARG CPU_BASE=docker.io/library/python:3.11-slim-bookworm
ARG CUDA_BASE=docker.io/nvidia/cuda:13.0.1-base-ubuntu24.04
ARG CUDA_DEVEL=docker.io/nvidia/cuda:13.0.1-cudnn-devel-ubuntu24.04


# Pinned build tools.
FROM ${CPU_BASE} AS tools
# A mirror of PyPI for pip (optional). Repeated in each stage that installs.
ARG PIP_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1
RUN apt-get update \
    && apt-get install --yes --no-install-recommends binutils \
    && rm -rf /var/lib/apt/lists/*
COPY docker/tools.txt /build/
RUN python3 -m venv /build/tools \
    && /build/tools/bin/python -m pip install --no-cache-dir -r /build/tools.txt
WORKDIR /build


# The wheel that users get.
FROM tools AS wheel
COPY pyproject.toml README.md LICENSE ./
COPY models models
COPY avsent avsent
RUN tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist .


# The environment of the cpu image. Steps that rarely change come first, for the layer cache.
FROM tools AS cpu-venv
ARG PIP_INDEX_URL
# PyTorch's index of CPU builds; PyPI's torch includes gigabytes of CUDA. Empty: pip's settings.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# Extras of pyproject.toml, separated by commas: parquet,ray
ARG EXTRAS=
COPY pyproject.toml constraints.txt docker/requirements.py ./
RUN python3 -m venv --without-pip /opt/avsent \
    && tools/bin/pip --python /opt/avsent/bin/python install --no-cache-dir --no-compile --no-deps \
       ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} -c constraints.txt torch
RUN python3 requirements.py pyproject.toml --extras "$EXTRAS" > requirements.txt \
    && tools/bin/pip --python /opt/avsent/bin/python install --no-cache-dir --no-compile \
       -c constraints.txt --build-constraint tools.txt -r requirements.txt
COPY --from=wheel /build/dist dist
RUN tools/bin/pip --python /opt/avsent/bin/python install --no-cache-dir --no-compile --no-deps \
       dist/*.whl \
    && tools/bin/pip --python /opt/avsent/bin/python check
COPY docker/slim.sh docker/warm.py ./
RUN sh slim.sh /opt/avsent \
    && NUMBA_CPU_NAME=generic NUMBA_CACHE_DIR=/opt/avsent/numba \
       PYTHONPYCACHEPREFIX=/opt/avsent/bytecode /opt/avsent/bin/python warm.py
COPY LICENSE docker/LICENCES.md /opt/avsent/share/doc/avsent/


FROM ${CPU_BASE} AS cpu
LABEL org.opencontainers.image.title="avsent" \
      org.opencontainers.image.description="Per-utterance sentiment from voice and face" \
      org.opencontainers.image.licenses="MIT AND CC-BY-NC-SA-4.0" \
      org.opencontainers.image.documentation="/opt/avsent/share/doc/avsent/LICENCES.md" \
      avsent.licence.models="CC BY-NC-SA 4.0: not for commercial use" \
      avsent.licence.landmarks="dlib's 68 landmarks, trained on iBUG 300-W: not for commercial use"
COPY --from=cpu-venv /opt/avsent /opt/avsent
# numba: compile for any CPU of this architecture, so that the cache works on every host.
ENV PATH=/opt/avsent/bin:$PATH \
    HOME=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib \
    NUMBA_CACHE_DIR=/opt/avsent/numba \
    NUMBA_CPU_NAME=generic \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPYCACHEPREFIX=/opt/avsent/bytecode
WORKDIR /data
USER 10001:10001
# As process 1, Python handles SIGINT from the start, but SIGTERM only once avsent's handler is set.
STOPSIGNAL SIGINT
ENTRYPOINT ["avsent"]
CMD ["--help"]


# dlib with CUDA, built from source: the wheel dlib-bin has no CUDA.
FROM ${CUDA_DEVEL} AS cuda-tools
ARG PIP_INDEX_URL
ENV DEBIAN_FRONTEND=noninteractive \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
       binutils ca-certificates cmake g++ make patchelf python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
COPY docker/tools.txt /build/
RUN python3 -m venv /build/tools \
    && /build/tools/bin/python -m pip install --no-cache-dir -r /build/tools.txt
WORKDIR /build


FROM cuda-tools AS cuda-dlib
ARG PIP_INDEX_URL
# Compute capabilities to compile for; CUDA 13 needs at least 7.5 (Turing).
ARG CUDA_ARCHS="75;80;86;89;90;100;120"
ARG DLIB_VERSION=20.0.1
# dlib's setup.py passes every DLIB_* variable to cmake.
RUN CUDAARCHS="$CUDA_ARCHS" DLIB_USE_CUDA=1 DLIB_NO_GUI_SUPPORT=1 \
    tools/bin/pip wheel --verbose --no-cache-dir --no-deps --no-binary dlib \
       --build-constraint tools.txt --wheel-dir dist "dlib==$DLIB_VERSION"


FROM cuda-tools AS cuda-venv
ARG PIP_INDEX_URL
# Empty: pip's settings. PyPI's torch is built for CUDA 13.
ARG TORCH_INDEX=
ARG EXTRAS=
COPY pyproject.toml constraints.txt docker/requirements.py ./
RUN python3 -m venv --without-pip /opt/avsent \
    && tools/bin/pip --python /opt/avsent/bin/python install --no-cache-dir --no-compile \
       ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} -c constraints.txt torch
RUN python3 requirements.py pyproject.toml --extras "$EXTRAS" --without dlib-bin \
       > requirements.txt \
    && tools/bin/pip --python /opt/avsent/bin/python install --no-cache-dir --no-compile \
       -c constraints.txt --build-constraint tools.txt -r requirements.txt
COPY --from=cuda-dlib /build/dist dist
COPY --from=wheel /build/dist dist
# dlib must use torch's CUDA libraries, because two versions of cuDNN in one process conflict. So the
# library path that dlib was linked with is removed.
RUN tools/bin/pip --python /opt/avsent/bin/python install --no-cache-dir --no-compile --no-deps \
       dist/*.whl \
    && patchelf --remove-rpath /opt/avsent/lib/python3*/site-packages/_dlib_pybind11*.so
COPY docker/slim.sh docker/warm.py ./
RUN sh slim.sh /opt/avsent \
    && LD_LIBRARY_PATH="$(find /opt/avsent/lib -type d -path '*/nvidia/*' -name lib | paste -sd:)" \
       NUMBA_CPU_NAME=generic NUMBA_CACHE_DIR=/opt/avsent/numba \
       PYTHONPYCACHEPREFIX=/opt/avsent/bytecode /opt/avsent/bin/python warm.py
COPY LICENSE docker/LICENCES.md /opt/avsent/share/doc/avsent/


FROM ${CUDA_BASE} AS cuda
LABEL org.opencontainers.image.title="avsent (CUDA)" \
      org.opencontainers.image.description="Per-utterance sentiment from voice and face" \
      org.opencontainers.image.licenses="MIT AND CC-BY-NC-SA-4.0" \
      org.opencontainers.image.documentation="/opt/avsent/share/doc/avsent/LICENCES.md" \
      avsent.licence.models="CC BY-NC-SA 4.0: not for commercial use" \
      avsent.licence.landmarks="dlib's 68 landmarks, trained on iBUG 300-W: not for commercial use"
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
       ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=cuda-venv /opt/avsent /opt/avsent
ENV PATH=/opt/avsent/bin:$PATH \
    HOME=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib \
    NUMBA_CACHE_DIR=/opt/avsent/numba \
    NUMBA_CPU_NAME=generic \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    NVIDIA_VISIBLE_DEVICES=all \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPYCACHEPREFIX=/opt/avsent/bytecode
# Fails if dlib was silently built without CUDA.
RUN find /opt/avsent/lib -type d -path '*/nvidia/*' -name lib > /etc/ld.so.conf.d/000-avsent.conf \
    && ldconfig \
    && python -c "import dlib, torch; assert dlib.DLIB_USE_CUDA and torch.version.cuda"
WORKDIR /data
USER 10001:10001
STOPSIGNAL SIGINT
ENTRYPOINT ["avsent"]
CMD ["--help"]


# The default target.
FROM cpu
