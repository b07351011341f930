# Everything here works on a machine that has Go and nothing else; what needs more
# says in one line what it leaves out.

export CGO_ENABLED ?= 0
GO ?= go
LINT = $(GO) tool -modfile=.ci/tools/go.mod golangci-lint

.PHONY: build run test check lint race fuzz bench generate

build: ## bin/chirograph
	$(GO) build -trimpath -o bin/chirograph ./cmd/chirograph

run: build ## a development node with a simulated carrier, on loopback
	bin/chirograph serve --dev

test: ## every test
	$(GO) test ./...
	@echo "Left out: the race detector (make race; it needs cgo and gcc) and long fuzzing (make fuzz)."

check: lint ## vet, linter, walls, drift of generated code and of go.mod
	$(GO) vet ./...
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "gofmt these:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) test -run 'TestWalls|TestDependencies' .
	$(GO) generate ./api
	@git diff --exit-code -- api/api.gen.go || { echo "api/api.gen.go drifted from api/openapi.yaml: commit what go generate ./api made"; exit 1; }
	$(GO) mod tidy -diff
	$(GO) mod verify >/dev/null

lint:
	$(LINT) run ./...

race: ## packages with goroutines under the race detector
	@if command -v gcc >/dev/null; then \
		CGO_ENABLED=1 $(GO) test -race ./adapters/... ./domain/ledger/... ./api/... ./policies/... ./projections/... ./cmd/...; \
	else echo "Left out: the race detector needs gcc."; fi

# Each target for a few seconds; the seeds run with make test.
FUZZTIME ?= 10s
fuzz:
	@for p in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u); do \
		for f in $$(grep -rhoE '^func Fuzz[A-Za-z0-9]+' $$p/*_test.go | cut -c6-); do \
			echo "$$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$p || exit 1; \
		done; \
	done

bench: build ## the whole path: load, node and message centre in processes of their own
	bin/chirograph bench
