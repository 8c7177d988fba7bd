# `make demo` and `make test` need only Debian 12, Rust (rustup), Go, JDK 17, Maven, Python with pip, gcc, make and git;
# the cluster targets also need root. Everything else is installed or built below ~/.cache/rocketmq-connector
# (ROCKETMQ_CONNECTOR_CACHE), never in the tree.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
CLUSTER := tests/cluster

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Install and build everything that the other targets need
	cargo fetch --locked
	$(CLUSTER)/rocketmq/install.sh
	$(CLUSTER)/databases/install.sh
	tests/dapr_sdk/install.sh
	tests/mq_http_sdk/install.sh
	$(CLUSTER)/kubernetes/install.sh
	$(CLUSTER)/kubernetes/image-build.sh base

.PHONY: demo
demo: ## Start a broker, publish through a binding and see the messages come back; no cluster needed
	cargo run --release --locked -- dev --demo

.PHONY: test
test: ## Run every check: lints, unit tests, API server, brokers, cluster
	hack/test.sh

.PHONY: lint
lint: ## Check formatting and run clippy, warnings are errors
	hack/test.sh lint

.PHONY: unit
unit: ## Run the tests that need no server
	hack/test.sh unit

.PHONY: apiserver
apiserver: ## Test CRDs and reconcilers against a real API server
	hack/test.sh apiserver

.PHONY: conformance
conformance: ## Test against RocketMQ 4.9 and 5.x: plain, acl, tls
	hack/test.sh conformance

.PHONY: e2e
e2e: ## Test image and chart in a cluster (USE_EXISTING_CLUSTER=true: the current kubeconfig)
	hack/test.sh e2e

.PHONY: bench
bench: ## Run every benchmark; writes docs/benchmarks.md
	for script in hack/bench-*.sh; do "$$script"; done

.PHONY: bench-binding
bench-binding: ## Compare the binding worker with Dapr's sidecar on one broker (builds daprd once)
	hack/bench-binding.sh

.PHONY: bench-source
bench-source: ## Compare change capture from PostgreSQL with Debezium Server and pg_recvlogical
	hack/bench-source.sh

.PHONY: bench-connection
bench-connection: ## Measure connections: 10,000 topics of one worker, 500 connections of one operator
	hack/bench-connection.sh

.PHONY: bench-operator
bench-operator: ## Measure the operator with 100 bindings on the test control plane
	hack/bench-operator.sh

.PHONY: bench-sync
bench-sync: ## Compare a sync with a Java pipeline on one broker; writes docs/benchmarks.md
	hack/bench-sync.sh

.PHONY: faults
faults: ## Count what syncs lose and repeat under faults (an hour; FAULTS="pipeline=HTTP fault=cut": a part); writes docs/faults.md
	hack/faults.sh $(FAULTS)

.PHONY: bench-client
bench-client: ## Compare the RocketMQ layer with the Java, Rust and Go clients on one broker; writes docs/benchmarks.md
	hack/bench-client.sh

.PHONY: dapr-compatibility
dapr-compatibility: ## Ask daprd and a worker for the same things (builds daprd once); writes docs/dapr-compatibility.md
	$(CLUSTER)/rocketmq/matrix.sh up conformance
	tests/dapr_sdk/install.sh
	DAPRD=$$($(CLUSTER)/dapr/install.sh) UPDATE=1 \
	ROCKETMQ_TEST_RUN=$${ROCKETMQ_TEST_RUN:-$$HOME/.cache/rocketmq-connector/run/rocketmq} \
	cargo test --locked --features apiserver-tests,broker-tests,e2e-tests --test dapr_compatibility

.PHONY: fuzz
fuzz: ## Fuzz the decoders, a minute each (needs a nightly toolchain)
	hack/fuzz.sh

.PHONY: crds
crds: ## Generate crds/ from the types in src/api
	cargo run --quiet --locked -- crds --output crds

.PHONY: image
image: ## Build the image without a Docker engine and load it into the test cluster
	$(CLUSTER)/kubernetes/install.sh image-tools
	$(CLUSTER)/kubernetes/image-build.sh

.PHONY: cluster
cluster: ## Start the one-node test cluster and leave it running; prints the kubeconfig
	$(CLUSTER)/kubernetes/install.sh
	$(CLUSTER)/kubernetes/up.sh

.PHONY: brokers
brokers: ## Start the broker matrix and leave it running
	$(CLUSTER)/rocketmq/matrix.sh up

.PHONY: databases
databases: ## Start PostgreSQL and MariaDB for tests and leave them running
	$(CLUSTER)/databases/up.sh

.PHONY: clean-cluster
clean-cluster: ## Stop the test cluster, all test brokers and databases, and wipe the cluster's state
	$(CLUSTER)/rocketmq/down.sh
	$(CLUSTER)/databases/down.sh
	$(CLUSTER)/kubernetes/down.sh
