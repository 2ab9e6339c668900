# dpmip: every target installs what it needs (Debian packages, Go modules) and says so.
SHELL := /bin/sh
GO ?= go
BIN := bin
PROGRAMS := dpmip-agent dpmip-mgmt dpmip-router dpmipctl dpmip-lab
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X github.com/dpmip/dpmip/internal/buildinfo.Release=$(VERSION)
export CGO_ENABLED ?= 0

.PHONY: all
all: build

.PHONY: build
build: ## build the five programs for this machine into bin/
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ $(addprefix ./cmd/,$(PROGRAMS))

.PHONY: arm64
arm64: ## build static arm64 programs into bin/arm64/
	GOOS=linux GOARCH=arm64 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/arm64/ $(addprefix ./cmd/,$(PROGRAMS))

.PHONY: demo
demo: ## the main job: a VM moves A -> B -> C -> A with its connections alive
	sh scripts/deps.sh demo
	$(MAKE) --no-print-directory build
	$(BIN)/dpmip-lab run hot-move --moves 3 --family 6 --redirect translated --addresses keep

.PHONY: test
test: ## everything that must hold, in minutes
	sh scripts/deps.sh test
	sh scripts/test.sh

.PHONY: test-long
test-long: test ## the full matrix and the long runs
	sh scripts/test.sh long

.PHONY: bench
bench: ## ratios against what a user would use instead; see docs/benchmarks.md
	sh scripts/deps.sh test
	$(MAKE) --no-print-directory build
	sh scripts/bench.sh

SEEDS ?= 2000
.PHONY: sim
sim: ## any number of simulated schedules: make sim SEEDS=100000
	$(GO) test ./testbed/sim -run TestSchedules -count 1 -timeout 0 -seeds $(SEEDS)

FUZZTIME ?= 2m
.PHONY: fuzz
fuzz: ## longer fuzzing of everything that reads bytes from outside
	sh scripts/fuzz.sh $(FUZZTIME)

.PHONY: firmware
firmware: ## the card's image and its update bundle into out/firmware/, the same bytes each time
	$(GO) run ./cross/build firmware

.PHONY: packages
packages: ## .deb and .rpm for amd64 and arm64 into out/packages/
	$(GO) run ./cross/build packages

SIGNING_KEY ?=
.PHONY: release
release: ## everything that is shipped, with SBOMs and checksums, into out/release/; SIGNING_KEY=FILE signs it
	$(GO) run ./cross/build release $(if $(SIGNING_KEY),-key $(SIGNING_KEY))

.PHONY: firmware-check
firmware-check: ## boot the image on an emulated card and update it: good, forged, old, crashing, hanging, cut
	sh scripts/deps.sh firmware
	sh scripts/kernel-arm64.sh
	$(MAKE) --no-print-directory firmware
	$(GO) run ./cross/build modules
	DPMIP_FIRMWARE=1 $(GO) test ./testbed/qemu -run 'TestUpdates|TestPowerCut' -count 1 -v -timeout 30m

STEPS ?=
.PHONY: testbed-arm64
testbed-arm64: ## the card's programs on arm64: unit tests emulated, then a card that boots, redirects and moves VMs; STEPS=REGEXP runs some
	sh scripts/deps.sh testbed
	sh scripts/kernel-arm64.sh
	sh scripts/tc-arm64.sh
	$(MAKE) --no-print-directory firmware
	sh scripts/testbed-arm64.sh '$(STEPS)'

.PHONY: testbed-netdevsim
testbed-netdevsim: ## moves through a simulated switch whose route table is full, or that refuses routes, on the emulated card
	sh scripts/deps.sh netdevsim
	sh scripts/kernel-arm64.sh
	sh scripts/netdevsim-arm64.sh
	$(MAKE) --no-print-directory firmware
	DPMIP_NETDEVSIM=1 $(GO) test ./testbed/qemu -run TestNetdevsim -count 1 -v -timeout 30m

.PHONY: release-check
release-check: ## make the release twice, compare every byte, and install it
	sh scripts/deps.sh firmware
	DPMIP_RELEASE=1 $(GO) test ./cross/build -run TestRelease -count 1 -v -timeout 30m

.PHONY: generate
generate: ## regenerate eBPF objects and protobuf code; committed, and checked by make test
	sh scripts/deps.sh generate
	sh scripts/generate.sh

.PHONY: lint
lint:
	sh scripts/lint.sh

.PHONY: clean
clean:
	rm -rf $(BIN) out

.PHONY: help
help:
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'
