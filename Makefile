# Gantry. The two commands of the README are `make run` and `make test`.

GO      ?= go
PREFIX  ?= /usr/local
DESTDIR ?=
BINDIR  := $(PREFIX)/bin
UNITDIR ?= /lib/systemd/system
BASHDIR := $(PREFIX)/share/bash-completion/completions
ZSHDIR  := $(PREFIX)/share/zsh/site-functions
FISHDIR := $(PREFIX)/share/fish/vendor_completions.d

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT  := $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)
# The commit's time, not the build's: the same tree gives the same binaries.
BUILT   := $(shell git log -1 --format=%cI 2>/dev/null)
VPKG    := github.com/gantry-run/gantry/internal/version
LDFLAGS := -s -w -X $(VPKG).Commit=$(COMMIT) -X $(VPKG).BuildTime=$(BUILT) -X main.commit=$(COMMIT) -X main.built=$(BUILT)

BINARIES := $(notdir $(wildcard cmd/*))

export CGO_ENABLED = 0

.PHONY: build run test test-short test-vm lint bench soak install uninstall clean deps

# The linker writes through a mapping, which leaves a file in single pages. A copy
# lies in large ones: its processes start with a tenth less work.
build:
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o .cache/linked/ ./cmd/...
	@mkdir -p bin
	@for b in $(BINARIES); do cmp -s .cache/linked/$$b bin/$$b || install -m 755 .cache/linked/$$b bin/$$b || exit 1; done

deps:
	scripts/install-deps

# Builds, starts a daemon unless one answers, and runs the first container.
run: deps build
	scripts/start-daemon
	bin/gantry run --rm hello-world

# Everything: formatting, unit tests (some with the race detector), and the
# end-to-end suite with real clients and containers.
test: deps build
	scripts/test

# What needs neither root nor packages.
test-short:
	$(GO) test -short ./...

# The runtime's tests, and some of the engine's, on Debian's kernel with nothing
# but cgroup v2, in a virtual machine.
test-vm: deps build
	$(GO) build -o .cache/bin/testreport ./tools/testreport
	scripts/test-vm | .cache/bin/testreport -skips tools/testreport/skips.txt

lint:
	scripts/lint

bench: build
	scripts/bench

# Starts and removes containers for SOAK (default 10m) and watches for growth.
SOAK ?= 10m
soak: build
	scripts/bench -soak $(SOAK)

install: build
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(UNITDIR) $(DESTDIR)$(BASHDIR) $(DESTDIR)$(ZSHDIR) $(DESTDIR)$(FISHDIR)
	for b in $(BINARIES); do install -m 755 bin/$$b $(DESTDIR)$(BINDIR)/$$b || exit 1; done
	sed 's|@BINDIR@|$(BINDIR)|g' packaging/systemd/gantry.service > $(DESTDIR)$(UNITDIR)/gantry.service
	install -m 644 packaging/systemd/gantry.socket $(DESTDIR)$(UNITDIR)/gantry.socket
	bin/gantry completion bash > $(DESTDIR)$(BASHDIR)/gantry
	bin/gantry completion zsh > $(DESTDIR)$(ZSHDIR)/_gantry
	bin/gantry completion fish > $(DESTDIR)$(FISHDIR)/gantry.fish

uninstall:
	for b in $(BINARIES); do rm -f $(DESTDIR)$(BINDIR)/$$b; done
	rm -f $(DESTDIR)$(UNITDIR)/gantry.service $(DESTDIR)$(UNITDIR)/gantry.socket
	rm -f $(DESTDIR)$(BASHDIR)/gantry $(DESTDIR)$(ZSHDIR)/_gantry $(DESTDIR)$(FISHDIR)/gantry.fish

clean:
	rm -rf bin .cache
