# pepnet in an image: the programs, their libraries, the scripts and an ssh server (for mpirun
# between pods).
#   docker build -t pepnet .
#   docker run --rm -v "$PWD/data:/opt/pepnet/data" -v "$PWD/runs:/opt/pepnet/runs" pepnet \
#     build/release/pepnet train --pipeline_config_path configs/pepnet_movielens.config
# PIP_ARGS: more arguments for pip install, for example an index with the CPU build of torch
#           (docs/building.md).

FROM debian:12-slim AS build
ARG PIP_ARGS=""
WORKDIR /opt/pepnet
# The set-up first: its layer stays as long as these two files do.
COPY scripts/common.sh scripts/setup.sh scripts/
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 python3-venv \
    && PEPNET_PIP_ARGS="$PIP_ARGS" bash scripts/setup.sh \
    && rm -rf /var/lib/apt/lists/*
COPY . .
RUN bash scripts/build.sh pepnet pepnet_ps

FROM debian:12-slim
# What pepnet links to, mpirun with its ssh, and python3, which the virtual environment refers to.
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
      libabsl20220623 libgoogle-glog0v6 libopenmpi3 libxxhash0 openmpi-bin openssh-client openssh-server python3 zlib1g \
    && rm -rf /var/lib/apt/lists/* \
    && mkdir -p /run/sshd \
    && printf 'StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\n' >/etc/ssh/ssh_config.d/mpi.conf \
    && printf 'StrictModes no\nPermitRootLogin prohibit-password\n' >/etc/ssh/sshd_config.d/mpi.conf
WORKDIR /opt/pepnet
# The programs carry the absolute path of the virtual environment: it stays where it was built.
COPY --from=build /opt/pepnet/.venv .venv
COPY --from=build /opt/pepnet/build/release/pepnet /opt/pepnet/build/release/pepnet_ps build/release/
COPY configs configs
COPY scripts scripts
COPY LICENSE .
# mpirun refuses to run as root without both.
ENV OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
CMD ["build/release/pepnet", "--help"]
