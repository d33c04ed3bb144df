# mlgate as a container image, for Tekton and any other place that runs containers.
#
#   docker build -t mlgate .                          on the CPU
#   docker build -t mlgate:gpu --build-arg EXTRA=gpu .    with CUDA, out of Python packages
#
# BASE is any image with Python 3.11 or later and pip. LOCK names the file with the hashes of every
# dependency; a shorter one makes an image that cannot run every stage. Bytecode is compiled once,
# here: without it Great Expectations compiles 2,500 modules at every start. The libraries' own tests,
# a tenth of all, stay behind.
ARG BASE=python:3.12-slim
FROM ${BASE} AS build
ARG EXTRA=cpu
ARG LOCK=locks/${EXTRA}.txt
ENV PYTHONPATH=/opt/mlgate PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY . .
RUN python3 -m pip install --quiet --require-hashes --target /opt/mlgate --requirement "$LOCK" \
 && python3 -m pip install --quiet --no-deps --no-build-isolation --target /opt/mlgate --upgrade . \
 && find /opt/mlgate -depth -type d -name tests -exec rm -rf {} + \
 && python3 -m compileall -q -j 0 /opt/mlgate

FROM ${BASE}
COPY --from=build /opt/mlgate /opt/mlgate
# For a Python that looks at no variables, too: models are started in one, to measure their start.
RUN python3 -c 'import pathlib, site; folder = pathlib.Path(site.getsitepackages()[0]); \
folder.mkdir(parents=True, exist_ok=True); (folder / "mlgate.pth").write_text("/opt/mlgate\n")'
ENV PYTHONPATH=/opt/mlgate \
    PATH=/opt/mlgate/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUTF8=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp
# Nobody in particular: the number that distroless images and Tekton's own tasks use.
USER 65532:65532
WORKDIR /workspace
CMD ["mlgate", "--help"]
