# What there is to do here: `make` says it.

GO   ?= go
LINT  = $(GO) tool -modfile=.ci/tools/go.mod golangci-lint

# One binary that needs nothing of its machine, and tests that need no C compiler.
export CGO_ENABLED = 0

# Packages that start goroutines.
RACE_PACKAGES = ./adapters/... ./domain/clerk ./domain/control ./domain/dispatch ./domain/exportjobs ./domain/feed ./domain/intake ./domain/ledger ./domain/node/... ./domain/notify ./domain/receipts ./domain/witness ./api/... ./cmd/...
FUZZTIME ?= 10s
SOAK ?= 30m

SERVERS = deploy/servers/servers
PEERS   = deploy/servers/peers

.PHONY: help build run test servers servers-down peers check fmt vet lint walls generated tidy race fuzz bench bench-cluster bench-check soak-cluster soak-smpp test-eventstoredb

help:
	@echo 'make run     build, and start a development node with a simulated carrier'
	@echo 'make test    every test, on real Kafka and PostgreSQL where they can be had'
	@echo 'make test-eventstoredb  its tests, against the real EventStoreDB that CHIROGRAPH_TEST_EVENTSTOREDB names'
	@echo 'make servers Kafka (BROKERS=3: three brokers) and PostgreSQL for tests, without Docker; make servers-down ends them'
	@echo 'make peers   fetch the libraries of others that tests speak SMPP and receive webhooks with (npm, Maven, pip)'
	@echo 'make check   formatting, vet, linter, walls, generated code, go.mod'
	@echo 'make build   bin/chirograph'
	@echo 'make race    the tests of what runs concurrently, under the race detector (needs cgo and gcc)'
	@echo 'make fuzz    every fuzz target for FUZZTIME=10s'
	@echo 'make bench   messages a second, end to end, on this machine; make bench-cluster: over Kafka and PostgreSQL'
	@echo 'make bench-check  what benchmarks of each room allocate, compared with testdata/allocs.txt; UPDATE=1 writes it'
	@echo 'make soak-cluster  nodes, brokers and PostgreSQL killed under load, again and again, for SOAK=30m'
	@echo 'make soak-smpp  a carrier whose binds are cut under load, for SOAK=30m'

build:
	@echo 'building bin/chirograph (a first build takes a few minutes)'
	@$(GO) build -trimpath -o bin/chirograph ./cmd/chirograph

# ARGS go to serve: make run ARGS=--reset
run: build
	@exec bin/chirograph serve --dev $(ARGS)

# On the servers that the environment names, else on those of `make servers`, else on some of its
# own where Java, Maven and PostgreSQL are found; it says what it could not try.
# -count=1 where it matters is the caller's: make test TESTFLAGS=-count=1
test:
	@$(PEERS) --allow-missing
	$(SERVERS) run --allow-missing $(GO) test -timeout 30m $(TESTFLAGS) ./...
	@echo 'Left out: the race detector (make race; it needs cgo and gcc) and fuzzing beyond the seeds (make fuzz).'

# Without it the same tests run against a server of their own that speaks EventStoreDB's
# protocol (make test). The streams that they make, test-…, stay on the real one.
test-eventstoredb:
	@test -n "$$CHIROGRAPH_TEST_EVENTSTOREDB" || { echo 'CHIROGRAPH_TEST_EVENTSTOREDB names no EventStoreDB: set it to a connection string, esdb://USER:PASSWORD@HOST:2113, of one for tests'; exit 1; }
	$(SERVERS) run --allow-missing sh -c 'status=0; $(GO) test -count=1 $(TESTFLAGS) ./adapters/eventstorelog/... || status=1; \
		$(GO) test -count=1 $(TESTFLAGS) -run "EventStoreDB|TestCopy" ./cmd/chirograph || status=1; exit $$status'

# eval "$$(make -s servers)" gives their addresses to a shell; they are in .servers/env too.
servers:
	@$(SERVERS) up

servers-down:
	@$(SERVERS) down

peers:
	@$(PEERS)

check: fmt vet lint walls generated tidy

fmt:
	@bad=$$(gofmt -l .) && test -z "$$bad" || { echo "not formatted (gofmt -w them):"; echo "$$bad"; exit 1; }

vet:
	$(GO) vet ./...

# The first run builds the linter, from modules that are pinned in .ci/tools/go.sum;
# after that neither the build nor the run needs the network.
lint:
	$(LINT) run ./...

walls:
	$(GO) test -count=1 .

# The handlers must be those that openapi.yaml gives, the encoders of the facts those of
# decision.Facts. The new files are left there to see.
generated:
	@set -e; for file in api/v1/api.gen.go policies/facts.gen.go; do \
		was=$$(mktemp); cp $$file $$was; $(GO) generate ./$$(dirname $$file); \
		diff -u $$was $$file || { echo "$$file was not what its source makes (see its first line); it is now"; rm $$was; exit 1; }; \
		rm $$was; done

tidy:
	$(GO) mod tidy -diff

race:
	@if ! command -v $$($(GO) env CC) >/dev/null; then echo 'Left out: the race detector, for want of a C compiler (gcc).'; else \
		echo CGO_ENABLED=1 $(GO) test -race -short -timeout 30m $(TESTFLAGS) $(RACE_PACKAGES); \
		CGO_ENABLED=1 $(GO) test -race -short -timeout 30m $(TESTFLAGS) $(RACE_PACKAGES); fi

# Go fuzzes one target at a time.
fuzz:
	@set -e; for file in $$(grep -rl --include='*_test.go' '^func Fuzz' .); do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' $$file); do \
			echo "$$target in $$(dirname $$file)"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) ./$$(dirname $$file); \
		done; done

# ARGS go to bench: make bench ARGS='--messages=10000'
bench: build
	bin/chirograph bench $(ARGS)

bench-cluster: build
	$(SERVERS) run bin/chirograph bench --cluster $(ARGS)

# Objects and bytes, not times: those are the same on a busy machine.
bench-check:
	@CHIROGRAPH_BENCH_CHECK=1 UPDATE=$(UPDATE) $(GO) test -count=1 -v -timeout 10m -run '^TestAllocations$$' .

# It starts three brokers and PostgreSQL of its own, and stops them.
soak-cluster:
	CHIROGRAPH_SOAK=$(SOAK) CHIROGRAPH_REQUIRE_SERVERS=1 $(GO) test -count=1 -v -timeout 0 -run '^TestClusterSurvives$$' ./cmd/chirograph

# The node is a process of its own, and the centre is in the test's.
soak-smpp:
	CHIROGRAPH_SOAK_SMPP=$(SOAK) $(GO) test -count=1 -v -timeout 0 -run '^TestCarrierSurvives$$' ./cmd/chirograph
