# syntax=docker/dockerfile:1

# The image of Limen's own processes, `limen control` and `limen processor`: Node and nothing else, no shell.
# Envoy, Postgres, Redis and ClickHouse are images of their own; docker-compose.yml puts them together.

# The first is the version in .nvmrc. Distroless images have no version tags: for a build that can be repeated, give
# a digest, --build-arg RUNTIME_IMAGE=gcr.io/distroless/nodejs24-debian12@sha256:…
ARG NODE_IMAGE=node:24.21.0-bookworm-slim
ARG RUNTIME_IMAGE=gcr.io/distroless/nodejs24-debian12:nonroot

FROM ${NODE_IMAGE} AS packages
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# The optional packages are the embedded Postgres and ClickHouse engines, which containers do not need.
RUN npm ci --omit=dev --omit=optional --ignore-scripts
# A new volume takes over the owner of the folder that it is mounted on; there is no shell later on to change it.
RUN mkdir -p /data/run && chmod 0700 /data /data/run

FROM ${RUNTIME_IMAGE}
WORKDIR /app
ENV NODE_ENV=production LIMEN_DATA=/var/lib/limen
COPY --from=packages /app/node_modules ./node_modules
COPY package.json ./
COPY proto ./proto
COPY src ./src
COPY --from=packages --chown=65532:65532 /data /var/lib/limen
# By number, so that Kubernetes' runAsNonRoot can tell.
USER 65532:65532
ENTRYPOINT ["/nodejs/bin/node", "/app/src/main.ts"]
CMD ["--help"]
