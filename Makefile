# Shortcuts. None is needed: each wraps one command, which it prints.
.DEFAULT_GOAL := help
TOOL := go tool -modfile=tools/go.mod

.PHONY: help build test race e2e lint generate docs tidy demo ci

help: ## list the shortcuts
	@grep -E '^[a-z0-9]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

build: ## build ./spex
	go build -o spex ./cmd/spex

demo: ## run a cluster with a demo in this terminal
	go run ./cmd/spex dev --demo

test: ## run the tests
	go test ./...

race: ## run the tests of packages with goroutines under the race detector
	go test -race ./shard/... ./cluster ./transport/... ./client ./fsm

e2e: ## run the end-to-end tests, about half an hour
	go test -tags e2e -count=1 -timeout 2h ./test/e2e/ -v

lint: ## gofmt, go vet, staticcheck, buf lint
	gofmt -l .
	go vet ./...
	go vet -tags e2e ./test/...
	$(TOOL) staticcheck -tags e2e ./...
	$(TOOL) buf lint

generate: ## make the protobuf code again
	$(TOOL) buf generate

docs: ## write the reference of the commands again
	go run ./cmd/spex docs docs/cli

tidy: ## tidy both modules
	go mod tidy
	go mod tidy -C tools

ci: ## everything that a change has to pass
	.ci/run
