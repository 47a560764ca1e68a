# make is only the way to call CMake and go; `make help` lists what can be made.

PREFIX  ?= /usr/local
BUILD   := build
SHARED  := $(abspath $(or $(TRAINER_SHARED),../shared))
export TRAINER_SHARED := $(SHARED)
GO      := CGO_ENABLED=0 go
TELEMETRY := CGO_ENABLED=1 CGO_CFLAGS="-O2 -Wno-deprecated-declarations"
ARM_CC  ?= aarch64-linux-gnu-gcc
ARM_ROOT ?= /usr/aarch64-linux-gnu
RELEASE := OFF
CMAKE    = cmake -S . -DCMAKE_INSTALL_PREFIX=$(CURDIR)/$(BUILD) -DTRAINER_RELEASE=$(RELEASE)
CUDA    := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/trainer/cuda-13.0

.DEFAULT_GOAL := build
.PHONY: help build release telemetry native cuda-toolchain test demo lint abi-freeze docs backend-reports neon neon-report race sanitize fuzz soak interop install clean tools

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-15s %s\n", $$1, $$2}'

tools: ## check that what a build needs is here
	@for t in go cmake cc; do command -v $$t >/dev/null || { echo "make: $$t is not installed; a build needs Go 1.26, CMake 3.20 and a C11 compiler" >&2; exit 1; }; done

native: tools
	@$(CMAKE) -B $(BUILD)/cmake -DCMAKE_BUILD_TYPE=Release >$(BUILD).log 2>&1 || { cat $(BUILD).log; rm -f $(BUILD).log; exit 1; }; \
	  sed -n 's/^-- \(left out:\)/\1/p' $(BUILD).log; rm -f $(BUILD).log
	@cmake --build $(BUILD)/cmake --parallel
	@cmake --install $(BUILD)/cmake >/dev/null

cuda-toolchain: ## fetch a CUDA compiler with pip, so that the CUDA backend is built too
	@plugins/cuda/toolchain.sh "$(CUDA)"

release: RELEASE := ON
release: build ## as build, for every GPU architecture that releases support

build: native ## the program and every backend this machine can build, under build/ (the default)
	$(GO) build -trimpath -o $(BUILD)/bin/trainer ./cmd/trainer
	@echo "built $(BUILD)/bin/trainer and:"; ls $(BUILD)/lib/trainer/backends | sed 's/^/  /'

telemetry: native ## as build, with power, temperature and clocks of NVIDIA devices: needs cgo
	$(TELEMETRY) go build -trimpath -tags telemetry -o $(BUILD)/bin/trainer ./cmd/trainer

demo: build ## fine-tune the embedded model, in about a minute
	$(BUILD)/bin/trainer demo --output_dir $(BUILD)/demo

test: build ## build, then run every test this machine can run
	@test -d "$(SHARED)" || echo "make: $(SHARED) is absent: tests that need it are skipped and listed below"
	@$(GO) test -timeout 60m -json ./... | go run ./internal/tally

lint: neon ## gofmt, vet, staticcheck, and whether the NEON files and telemetry compile
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo "make: run gofmt -w on these"; exit 1; }
	go vet ./...
	go tool staticcheck ./...
	$(TELEMETRY) go vet -tags telemetry ./core/telemetry

abi-freeze: ## keep the current minor of the border: header, layout, a compiled backend
	go run ./internal/abifreeze

docs: ## write the pages of docs/backend that are made from the code
	go run ./internal/backenddocs

CHECK  = $(BUILD)/bin/trainer backend check $(BUILD)/lib/trainer/backends/trainer-backend
HAS    = $(BUILD)/bin/trainer devices --json 2>/dev/null | grep -q
backend-reports: build ## judge the CPU backend in every instruction set, and CUDA where it is
	$(CHECK)-cpu.so --report docs/backend/reports/cpu.md
	@for isa in scalar neon avx2 avx512 avx512bf16; do export TRAINER_CPU_ISA=$$isa; \
	  ! $(HAS) "\"isa\":\"$$isa\"" || $(CHECK)-cpu.so --report docs/backend/reports/cpu-$$isa.md || exit 1; done
	@if $(HAS) '"name":"cuda","reason":"ok"'; then $(CHECK)-cuda.so --report docs/backend/reports/cuda.md; \
	else echo "make: no CUDA device is here, its report is left as it is"; fi

neon: ## compile the CPU backend for 64-bit Arm, where a cross compiler is here
	@if command -v $(ARM_CC) >/dev/null; then \
	  $(CMAKE) -B $(BUILD)/neon -DTRAINER_CUDA=OFF -DCMAKE_BUILD_TYPE=Release -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_C_COMPILER=$(ARM_CC) >/dev/null && \
	  cmake --build $(BUILD)/neon --parallel; \
	else echo "make: $(ARM_CC) is not installed: the NEON files of the CPU backend were not compiled" >&2; fi

neon-report: neon ## judge the CPU backend on 64-bit Arm under qemu-user, which must be registered with binfmt_misc
	GOARCH=arm64 $(GO) build -trimpath -o $(BUILD)/neon/trainer ./cmd/trainer
	QEMU_LD_PREFIX=$(ARM_ROOT) $(BUILD)/neon/trainer backend check $(BUILD)/neon/plugins/cpu/trainer-backend-cpu.so --slow 10 \
	  --note "It ran emulated, by qemu-aarch64 on an x86-64 processor: results and the border are judged, neither speed nor a real processor's memory order." \
	  --report docs/backend/reports/cpu-neon.md

ALONE := 'PlannedMemory|AdamWIn8Bits|Recomput|Families|Oracles|Packing|Precisions|Optimizers' # tests whose goroutines others have too, and that take long
race: build ## the tests of what runs in parallel, under the race detector
	go test -race -short -skip $(ALONE) ./core/plugin ./core/session ./training ./training/data ./training/metrics
	go test -race -short -run 'Worker|Signal|Messages|Job|Reader|Native' ./cmd/trainer

sanitize: build ## conformance of the CPU backend under the address and undefined-behaviour sanitizers
	@$(CMAKE) -B $(BUILD)/sanitize -DTRAINER_CUDA=OFF -DCMAKE_BUILD_TYPE=RelWithDebInfo -DTRAINER_SANITIZE=address,undefined >/dev/null
	@cmake --build $(BUILD)/sanitize --parallel
	$(GO) test -c -o $(BUILD)/conformance.test ./core/conformance
	cd core/conformance && LD_PRELOAD=$$(cc -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0 \
	  TRAINER_BACKEND=$$(find $(CURDIR)/$(BUILD)/sanitize -name trainer-backend-cpu.so) $(CURDIR)/$(BUILD)/conformance.test -test.short

interop: build ## PEFT and Transformers read what we write (needs Python with both)
	PYTHON=$(or $(PYTHON),python3) $(GO) test -count=1 -run Interop -v ./cmd/trainer

soak: build ## kill a run 200 times, or KILLS, and see that it always comes back and ends the same
	TRAINER_KILLS=$(or $(KILLS),200) $(GO) test -count=1 -timeout 0 -run TestKilledRunsComeBack -v ./cmd/trainer

install: build ## copy the program, backends, header, packages and documentation to PREFIX
	@mkdir -p $(PREFIX)/bin $(PREFIX)/lib/trainer $(PREFIX)/lib/cmake $(PREFIX)/lib/pkgconfig $(PREFIX)/include $(PREFIX)/share/doc/trainer
	cp $(BUILD)/bin/trainer $(PREFIX)/bin/
	cp -r $(BUILD)/lib/trainer/backends $(PREFIX)/lib/trainer/
	cp -r $(BUILD)/lib/cmake/trainer $(PREFIX)/lib/cmake/
	cp $(BUILD)/lib/pkgconfig/trainer.pc $(PREFIX)/lib/pkgconfig/
	cp -r $(BUILD)/include/trainer $(PREFIX)/include/
	cp -r $(BUILD)/share/doc/trainer/backend $(PREFIX)/share/doc/trainer/

clean: ## remove build/
	rm -rf $(BUILD)
