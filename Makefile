# Everything a person or the CI does here. `make help` lists it.
#
# Go alone is enough for `go build ./...` and `go test ./...`; make adds what needs more:
# the race detector a C compiler, images Docker, linting and generating the tools that
# tools/go.mod and tools/lint/go.mod pin (built on first use).

GO      ?= go
BUF     := $(GO) tool -modfile=tools/go.mod buf
LINT    := $(GO) tool -modfile=tools/lint/go.mod golangci-lint
IMAGE   ?= weir:dev
FUZZTIME ?= 10s
FUZZTOTAL ?=
PKG     ?= ./...

# The race detector needs cgo, and cgo a C compiler.
CC_FOUND := $(shell command -v $${CC:-cc} || command -v gcc || command -v clang)
RACE     := $(if $(CC_FOUND),-race)

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z][a-z-]*:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | while IFS="$$(printf '\t')" read -r t d; do printf '  make %-14s %s\n' "$$t" "$$d"; done

.PHONY: build
build: ## build the binary: bin/weir
	$(GO) build -o bin/weir ./cmd/weir

.PHONY: demo
demo: ## three nodes on loopback, real traffic, and the count against the exact answer
	$(GO) run ./cmd/weir demo

.PHONY: run
run: build ## run one node with sample policies, and say what to try next
	@echo 'one node with sample policies; in another terminal try:'
	@echo
	@echo '    bin/weir check demo user=alice path=/login'
	@echo
	bin/weir serve

.PHONY: test
test: ## all tests, with the race detector where a C compiler is found
ifeq ($(CC_FOUND),)
	@echo 'no C compiler found, which the race detector needs (cgo): testing without it'
endif
	$(GO) test $(RACE) $(PKG)

.PHONY: race
race: ## all tests with the race detector, an error where there is no C compiler
	CGO_ENABLED=1 $(GO) test -race $(PKG)

.PHONY: cover
cover: ## test coverage by function, and coverage.out for `go tool cover -html`
	$(GO) test -coverprofile=coverage.out -coverpkg=./... $(PKG)
	$(GO) tool cover -func=coverage.out

.PHONY: bench
bench: ## all benchmarks, with allocations (PKG=./bucket/ for one room)
	$(GO) test -run='^$$' -bench=. -benchmem $(PKG)

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (10s) each; with FUZZTOTAL=90 none begun after 90 s, rooms at random
	@set -e; start=$$(date +%s); left=; \
	for dir in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -r -n1 dirname | sort -u $(if $(FUZZTOTAL),-R)); do \
	  for target in $$(grep -hoE '^func Fuzz[A-Za-z0-9_]*' $$dir/*_test.go | sed 's/^func //' | sort -u); do \
	    if [ -n "$(FUZZTOTAL)" ] && [ $$(($$(date +%s) - start)) -ge "$(FUZZTOTAL)" ]; then left="$$left $$dir:$$target"; continue; fi; \
	    echo "== $$dir $$target"; $(GO) test -run='^$$' -fuzz="^$$target\$$" -fuzztime=$(FUZZTIME) $$dir; \
	  done; \
	done; \
	if [ -n "$$left" ]; then echo "out of time, not run:$$left"; fi

.PHONY: generate
generate: ## generate the Go code of proto/
	$(BUF) generate

.PHONY: fmt
fmt: ## format Go code and protos
	gofmt -w $$(git ls-files -co --exclude-standard '*.go')
	$(BUF) format -w

.PHONY: lint
lint: ## golangci-lint and buf lint (the first run builds both, some minutes)
	$(LINT) run
	$(BUF) lint
	$(BUF) format --diff --exit-code

.PHONY: tidy
tidy: ## tidy all module files
	$(GO) mod tidy
	cd tools && $(GO) mod tidy
	cd tools/lint && $(GO) mod tidy

.PHONY: check
check: ## what CI runs: build, vet, format, lint, race tests, generated files, tidy
	.ci/run

.PHONY: image
image: ## the container image weir:dev, from scratch around a static binary
	mkdir -p dist/image/data
	cp LICENSE dist/image/
	CGO_ENABLED=0 $(GO) build -trimpath -tags timetzdata -ldflags '-s -w' -o dist/image/weir ./cmd/weir
	docker build -t $(IMAGE) -f Dockerfile dist/image

.PHONY: compose-test
compose-test: ## three containers: check through each, kill one, check again; needs a Docker engine
	WEIR_IMAGE=$(IMAGE) deploy/compose/test.sh

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist coverage.out
