.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
SHELL := /bin/bash

# Leaves out urfave/cli's manual page generator and gRPC's tracing pages: both would come with a template engine.
TAGS := urfave_cli_no_docs,grpcnotrace
export TAGS

##   FUZZTIME=30s  how long fuzz spends on each target (test: 1s)
##   BENCH=.       which benchmarks bench runs
##   RUNTIME=1.6   which containerd demo runs: 1.6, Debian's, or 2.4, built from source
BENCH ?= .

.PHONY: help
help: ## show this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo; sed -n 's/^## //p' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/rtinspect, static
	@CGO_ENABLED=0 go build -trimpath -buildvcs=auto -tags $(TAGS) -ldflags '-s -w' -o bin/rtinspect ./cmd/rtinspect

.PHONY: bin/lab
bin/lab:
	@cd internal/lab && CGO_ENABLED=0 go build -o ../../bin/lab ./cmd/lab

.PHONY: demo
demo: build bin/lab ## show rtinspect on a private containerd (root)
	@hack/demo.sh

.PHONY: test
test: ## run everything that must pass: unit, race, fuzz, the real containerds (root), on three kernels, lint
	@hack/test.sh

.PHONY: unit
unit: ## run the tests that need no root and no containerd
	@go test -tags $(TAGS) ./...

.PHONY: race
race: ## run unit under the race detector
	@go test -race -tags $(TAGS) ./...

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME
	@hack/fuzz.sh $(or $(FUZZTIME),30s)

.PHONY: mutate
mutate: ## switch off each rule of audit, one after the other, and tell which no test misses
	@hack/mutate.sh

.PHONY: lint
lint: ## lint the Go code and the scripts
	@hack/lint.sh

.PHONY: bench
bench: bin/lab ## run the benchmarks, then the comparison with crictl on a private containerd (root)
	@hack/deps.sh bench
	@go test -tags $(TAGS) -run '^$$' -skip '^BenchmarkLab' -bench '$(BENCH)' -benchmem ./...
	@bin/lab run --runtime 2.4 --pods none --scale 10x10 --exec-tools crictl -- \
		go test -tags $(TAGS) -run '^$$' -bench '^BenchmarkLab' ./...

.PHONY: golden
golden: ## rewrite the golden sessions of cmd/rtinspect, docs/snapshot.md, docs/rules.md and docs/standards.md; look at the diff before committing
	@go test -tags $(TAGS) ./cmd/rtinspect -update
	@go test -tags $(TAGS) ./inspect -run '^TestSchema$$' -update
	@go test -tags $(TAGS) ./inspect/audit -run '^Test(Docs|StandardsDocument)$$' -update
	@git --no-pager diff --stat -- cmd/rtinspect docs

.PHONY: clean
clean: ## remove what was built; the caches stay
	@rm -rf bin dist
