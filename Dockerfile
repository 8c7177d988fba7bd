# The one image: operator, workers and tools are subcommands of the same static binary.
# Build:  docker build -t rocketmq-connector .
# Without a Docker engine:  make image

FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock build.rs ./
COPY src ./src
# Static glibc: the final image has neither a libc nor a shell. An explicit --target keeps crt-static away from
# procedural macros, which are shared libraries.
RUN host=$(rustc -vV | sed -n 's/^host: //p') \
 && RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --bin rocketmq-connector --target "$host" \
 && cp "target/$host/release/rocketmq-connector" /rocketmq-connector

FROM scratch
LABEL org.opencontainers.image.title="rocketmq-connector" \
      org.opencontainers.image.description="A Kubernetes operator that moves messages in and out of Apache RocketMQ" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /rocketmq-connector /rocketmq-connector
USER 65532:65532
ENTRYPOINT ["/rocketmq-connector"]
