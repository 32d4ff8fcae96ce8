# Recognition on a host with an NVIDIA GPU, from a bundle made elsewhere, without torch and NeMo; driver 535 or later.
# No Docker was at hand where this was written: tests/setup/test_docker.py runs its make commands dry, and no image was built yet.
#   docker build -t streaming-conformer .
#   docker run --gpus all -v $PWD/build/bundles:/app/build/bundles streaming-conformer engines --bundle build/bundles/NAME-80ms
#   docker run --gpus all -v $PWD/build/bundles:/app/build/bundles streaming-conformer runtime --bundle build/bundles/NAME-80ms data/sample/clips/16.mp3
FROM nvidia/cuda:12.9.1-base-ubuntu24.04

# CUDA's libraries come with the Python packages, so that any driver which runs CUDA 12 will do; the base image asks for that of its own.
ENV NVIDIA_REQUIRE_CUDA="driver>=535"

RUN apt-get update \
    && apt-get install -y --no-install-recommends make python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /app
# What set-up reads, apart from the rest: a change of the code installs nothing again.
COPY Makefile ./
COPY requirements requirements
COPY setup setup
RUN PIP_NO_CACHE_DIR=1 make setup FOR=runtime HARDWARE=cuda12
COPY . .

# One of this project's modules with its options, as in the comment above.
ENTRYPOINT ["build/python", "-m"]
CMD ["runtime", "--help"]
