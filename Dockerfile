# A CPU image of wsdet, with the versions that are tested together (constraints.txt).
#   docker build -t wsdet .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD/photos:/photos:ro" -v "$PWD/runs:/runs" wsdet train data=auto data.root=/photos out=/runs/first
# torch from the usual registry brings CUDA along; an index with its CPU builds (see PyTorch's own instructions) makes the image some
# gigabytes smaller: --build-arg PIP_EXTRA_INDEX_URL=...

FROM python:3.12-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY wsdet wsdet
COPY conf conf
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /dist .

FROM python:3.12-slim-bookworm
ARG PIP_EXTRA_INDEX_URL
RUN useradd --create-home --uid 10001 wsdet && install --directory --owner wsdet --mode 777 /runs
COPY constraints.txt /tmp/
COPY --from=build /dist /tmp/dist
RUN python -m pip install --no-cache-dir --constraint /tmp/constraints.txt /tmp/dist/*.whl && rm -r /tmp/dist
# downloaded weights stay with the runs, and whoever the user is can write what libraries cache
ENV TORCH_HOME=/runs/.torch HF_HOME=/runs/.huggingface MPLCONFIGDIR=/tmp/matplotlib
USER 10001
WORKDIR /runs
ENTRYPOINT ["wsdet"]
CMD ["--help"]
