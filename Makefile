# Everything that is done with this tree by hand or by CI is a target here. `make` lists them.

SHELL := /bin/bash
GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)
PACKAGES ?= ./...

# Parameters of the targets below.
DURATION ?= 0s
RATE ?= 100000
POINTS_PER_PACKET ?= 10
SERIES ?= 1000
FUZZTIME ?= 30s
FUZZJOBS ?= 1
comma := ,
BENCHTIME ?= 1x
ROUNDS ?= 4
VIEWERS ?= 20
KERNELS ?= 6.1 6.12 6.18
QUEUES ?= 2

export CGO_ENABLED := 0
# simd gives the decoder its vectors (simd/archsimd). Without it, or on other machines, it works in words.
export GOEXPERIMENT ?= simd
# Go fails where it asks git and git refuses, as it does when root builds another user's checkout.
BUILDVCS := $(if $(shell git rev-parse HEAD 2>/dev/null),true,false)
export GOFLAGS := $(strip $(GOFLAGS) -buildvcs=false)

.DEFAULT_GOAL := help

.PHONY: help
help: ## lists the targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## installs the distribution's packages that tests and demo need, or names them
	@scripts/setup test demo

.PHONY: build
build: ## builds the one static binary, bin/culvert
	$(GO) build -trimpath -buildvcs=$(BUILDVCS) -ldflags '$(LDFLAGS)' -o bin/culvert ./cmd/culvert

# Packages carry the last commit's time and nothing of this machine: the same commit gives the same bytes.
PACKAGES_DATE = $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct 2>/dev/null || date +%s))

.PHONY: deb rpm tar packages
deb: ## packages for Debian, amd64 and arm64, into dist
rpm: ## packages for RPM, into dist
tar: ## archives, into dist
deb rpm tar:
	@$(MAKE) --no-print-directory packages FORMATS=$@

packages: web ## all of deb, rpm and tar; FORMATS ARCHES
	@$(GO) -C scripts/packages build -o ../../build/packages .
	@build/packages -version '$(VERSION)' -date '$(PACKAGES_DATE)' -buildvcs=$(BUILDVCS) -out dist \
	  -formats '$(or $(FORMATS),deb$(comma)rpm$(comma)tar)' -arches '$(or $(ARCHES),amd64$(comma)arm64)'

.PHONY: test-packages
test-packages: ## makes packages twice and compares them; installs, upgrades, removes one (as root)
	@scripts/setup packages
	@$(GO) -C scripts/packages vet .
	@$(GO) -C scripts/packages test -count=1 .

.PHONY: web
web: ## bundles the dashboard with its plots, web/dist; without it a build has the plain page
	@scripts/setup web
	@if ! command -v npm >/dev/null; then \
	    echo "web: skipped: npm is missing"; [ -z "$${CI:-}" ]; exit; \
	  fi; \
	  npm --prefix web ci --no-audit --no-fund --ignore-scripts --loglevel=error && \
	  npm --prefix web run -s build

.PHONY: generate
generate: ## compiles the kernel programs and generates what is derived from Go types
	$(GO) generate ./...

.PHONY: generated
generated: ## proves that the committed generated files are what their sources give
	@scripts/generated

.PHONY: fmt
fmt: ## names the Go files that gofmt would change
	@files=$$(git ls-files -co --exclude-standard -- '*.go' | xargs -r gofmt -l); \
	  if [ -n "$$files" ]; then echo "run gofmt -w on:"; echo "$$files"; exit 1; fi

# The tag changes packages below dataplane alone.
.PHONY: vet
vet: ## go vet, with and without the checks of the tag verify, and without SIMD
	$(GO) vet $(PACKAGES)
	$(GO) vet -tags verify ./dataplane/...
	GOEXPERIMENT=nosimd $(GO) vet ./dataplane/lineproto
	GOARCH=arm64 $(GO) vet ./dataplane/lineproto

.PHONY: modules
modules: ## go.mod and go.sum of each module are what its sources ask for
	@for file in $$(git ls-files '*go.mod'); do $(GO) -C "$$(dirname "$$file")" mod tidy -diff || exit; done

.PHONY: tidy
tidy: ## the house rules: imports, unsafe, sizes, names, comments, dependencies
	$(GO) test -count=1 ./scripts/tidy

.PHONY: staticcheck
staticcheck: ## staticcheck over all packages
	$(GO) tool staticcheck $(PACKAGES)

.PHONY: test
test: web ## sets up what the tests need and runs all of them, as root the privileged ones too
	@scripts/setup test
	@$(GO) run ./scripts/tally -suite test -- $(PACKAGES)

# What the end-to-end tests start is built without the detector: they would only run once more.
RACE_PACKAGES = $(filter-out %/cmd/culvert/e2e,$(shell $(GO) list $(PACKAGES)))

.PHONY: test-race
test-race: ## the tests under the race detector, which needs a C compiler
	@scripts/setup race
	@if ! command -v gcc >/dev/null; then \
	    echo "test-race: skipped: gcc is missing"; [ -z "$${CI:-}" ]; exit; \
	  fi; \
	  $(GO) run ./scripts/tally -suite race -- $(RACE_PACKAGES)

.PHONY: test-priv
test-priv: web ## the privileged tests alone; a skip is a failure
	@scripts/setup test
	@CULVERT_REQUIRE_PRIV=1 $(GO) run ./scripts/tally -suite priv -- $(PACKAGES)

.PHONY: test-user
test-user: web ## the end-to-end tests with gateways of the unit's user and capabilities (as root)
	@scripts/setup test
	@$(GO) run ./scripts/tally -suite user -- ./cmd/culvert/e2e

# Linux 6.1 does not see that cores of the emulated processor have two threads.
SMT_KERNEL = $(lastword $(filter-out 6.1,$(KERNELS)))

# Older ones have no zero-copy for the card that is emulated.
CARD_KERNEL = $(lastword $(filter-out 6.1 6.12,$(KERNELS)))

.PHONY: test-vm
test-vm: ## the privileged tests on the kernels KERNELS, each in a virtual machine with two NUMA nodes
	@scripts/setup vm
	@scripts/vm/run $(addsuffix +threads,$(SMT_KERNEL)) $(addsuffix +igb,$(CARD_KERNEL)) $(KERNELS)

.PHONY: test-systemd
test-systemd: ## the package under a real systemd: Debian 12 in a virtual machine (as root)
	@scripts/setup vm systemd
	@scripts/vm/systemd

.PHONY: test-vagrant
test-vagrant: ## the Vagrantfile is valid, by Debian's vagrant with its provider for libvirt
	@scripts/setup vagrant
	@export VAGRANT_HOME=$(CURDIR)/build/vagrant; \
	  VAGRANT_DEFAULT_PROVIDER=libvirt vagrant validate && vagrant validate --ignore-provider

.PHONY: fuzz
fuzz: ## every fuzz test for FUZZTIME, FUZZJOBS at a time
	@scripts/fuzz $(FUZZTIME) $(FUZZJOBS)

# The peers come from the module proxy, each by a module of its own; one that cannot be had is a line in the
# report.
.PHONY: bench-build
bench-build: build
	@scripts/setup demo bench
	@$(GO) -C bench build -o ../build/bench .
	@$(GO) -C bench/telegraf build -o ../../build/telegraf . || true
	@$(GO) -C bench/victoria build -o ../../build/ tool || true

BENCH_FLAGS = $(if $(QUICK),-quick) $(if $(ROWS),-rows $(ROWS)) -commit '$(VERSION)'

.PHONY: bench
bench: bench-build ## Culvert against its goals, into bench/results; QUICK=1 takes minutes; ROWS=1,2
	@exec build/bench run $(BENCH_FLAGS)

.PHONY: bench-peers
bench-peers: bench-build ## the same load into what one would take instead, into bench/results; QUICK=1
	@exec build/bench peers $(BENCH_FLAGS)

# Other packages would only be linked.
BENCH_PACKAGES = $(shell for folder in $$($(GO) list -f '{{.Dir}}' $(PACKAGES)); do \
  ! grep -qsE '^func Benchmark' "$$folder"/*_test.go || echo "$$folder"; done)

.PHONY: bench-once
bench-once: ## every Go benchmark once, so that none rots; BENCHTIME=1s measures
	$(GO) test -vet=off -run '^$$' -bench . -benchtime $(BENCHTIME) $(BENCH_PACKAGES)
	$(GO) -C bench/libraries test -run '^$$' -bench . -benchtime $(BENCHTIME) .

# The bench modules are no part of ./..., so that the product needs none of what they need.
.PHONY: bench-golden
bench-golden: ## compares allocations of Go benchmarks with a golden file; vets the benchmark itself
	$(GO) -C bench vet ./...
	@staticcheck=$$($(GO) tool -n staticcheck) && cd bench && "$$staticcheck" ./...
	@$(GO) -C bench build -o ../build/bench .
	@build/bench golden

.PHONY: bench-golden-update
bench-golden-update: ## writes that golden file anew
	@$(GO) -C bench build -o ../build/bench .
	@build/bench golden -update

.PHONY: pgo
pgo: ## makes the profile that builds are optimised by, cmd/culvert/default.pgo, from the lab's load
	@scripts/pgo

.PHONY: bench-probes
bench-probes: ## what the kernel's probes cost: ROUNDS gateways whose probes are switched on and off
	@set -o pipefail; $(GO) test -count=1 -timeout 60m -v -run '^TestPrivProbesCost$$' \
	  ./cmd/culvert/e2e -args -probe-rounds $(ROUNDS) -probe-pairs 5 -probe-time 1s | \
	  grep -E 'probes (off|cost)|runs,|^(ok|---|FAIL|panic)'

.PHONY: bench-viewers
bench-viewers: ## what VIEWERS of the dashboard cost, in ROUNDS of two pairs of steps; RATE PROFILE=FILE
	@set -o pipefail; $(GO) test -count=1 -timeout 60m -v -run '^TestPrivOnlookers$$' ./cmd/culvert/e2e \
	  -args -onlookers $(VIEWERS) -onlooker-pairs $$((2 * $(ROUNDS))) -onlooker-time 3s \
	  -onlooker-rate $(RATE) $(if $(PROFILE),-onlooker-profile $(abspath $(PROFILE))) | \
	  grep -E 'viewers|scrape|^(ok|---|FAIL|panic)'

.PHONY: bench-rules
bench-rules: ## the rules, also against expr-lang/expr and google/cel-go on the same conditions
	$(GO) test -run '^$$' -bench . -benchtime $(BENCHTIME) ./dataplane/rules
	cd dataplane/rules/peers && $(GO) test -run '^$$' -bench . -benchtime $(BENCHTIME) .

.PHONY: lab-up
lab-up: ## two network namespaces joined by a veth pair with QUEUES queues
	@QUEUES=$(QUEUES) scripts/lab.sh up

.PHONY: lab-down
lab-down: ## removes the lab
	@scripts/lab.sh down

# Namespaces and XDP are root's: another user's demo is started by sudo, where there is one.
AS_ROOT = $(if $(filter 0,$(shell id -u)),,$(shell command -v sudo))

.PHONY: demo
demo: ## the whole way of a packet, live, with a real InfluxDB; DURATION RATE POINTS_PER_PACKET SERIES
	@scripts/setup demo
	@[ -e web/dist/index.html ] || ! command -v npm >/dev/null || $(MAKE) --no-print-directory web || \
	  echo "demo: the dashboard has tables in place of plots"
	@$(MAKE) --no-print-directory build
	@$(GO) build -o build/demo ./scripts/demo
	@exec $(AS_ROOT) build/demo -duration $(DURATION) -rate $(RATE) -points-per-packet $(POINTS_PER_PACKET) \
	  -series $(SERIES) -queues $(QUEUES)

# More points would make the picture one of how long a database takes on two cores.
.PHONY: screenshot
screenshot: web ## the README's picture of the dashboard, from a demo in Chromium (as root)
	@scripts/setup test demo
	@$(MAKE) --no-print-directory build
	@$(GO) build -o build/demo ./scripts/demo
	@scripts/screenshot 20000

.PHONY: static
static: fmt vet modules tidy staticcheck ## what is judged without running the product; it takes Go alone

# go list compiles what it is asked for and links nothing.
.PHONY: compile
compile: ## compiles all packages and their tests on all CPUs, so that tests have these for themselves
	@$(GO) list -test -export -f '' $(PACKAGES) >/dev/null
	@$(GO) list -test -export -f '' -tags verify ./dataplane/... >/dev/null

.PHONY: check
check: generated static test ## all that must hold before a commit

.PHONY: clean
clean: ## removes what was built here, the virtual machines' kernels included
	rm -rf bin build dist web/node_modules
	find web/dist -type f ! -name .gitignore -delete
