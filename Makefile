# make demo: see eir watch a bearing and a conveyor.   make test: everything that is checked.
# Both install what they need; see cross/setup.sh.

CARGO ?= cargo
ARGS ?=
SECONDS ?= 600
SEED ?= 1
PROFILE ?= dev

.PHONY: help demo test torture torture-update build bench bench-api bench-peers bench-guard fmt clean

help:
	@echo "make demo     build, fetch ONNX Runtime, run the demo (ARGS='--seconds 60 --seed 7')"
	@echo "make test     the whole test suite, with a real mosquitto and ONNX Runtime"
	@echo "make torture  ten minutes of kills and outages: nothing acknowledged is lost (SECONDS=…, SEED=…)"
	@echo "make torture-update  releases over the air, killed at random: every device ends on the old or the new, whole"
	@echo "make bench    criterion benches, end to end included"
	@echo "make bench-api the models over HTTP beside FastAPI and MLServer (ARGS=--quick: one short round)"
	@echo "make bench-peers the whole service beside paho-mqtt and Node, each with ONNX Runtime (ARGS=--quick)"
	@echo "make bench-guard what the hot paths cost against benches/guard.toml; 3 % more fails"
	@echo "make build    the release binary alone: target/release/eir"
	@echo "make cross    the static program for aarch64; cross-test proves it under emulation"
	@echo "make packages Debian packages, tarballs and images for arm64, jetson, armhf and amd64"

demo: build
	target/release/eir demo $(ARGS)

build:
	@cross/setup.sh build
	@cross/onnxruntime.sh --optional
	$(CARGO) build --release

test:
	@cross/setup.sh test
	@cross/onnxruntime.sh --optional
	@cross/clients.sh
	@cross/setup.sh browser
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
	    $(CARGO) nextest run $(ARGS); else $(CARGO) test $(ARGS); fi

# Ten minutes of kills, outages, cut networks and failing disks, and nothing acknowledged lost (tests/it/oracle.rs).
torture:
	@cross/setup.sh test
	@cross/onnxruntime.sh --optional
	EIR_TORTURE_SECONDS=$(SECONDS) EIR_TORTURE_SEED=$(SEED) \
	    $(CARGO) test --test it -- --nocapture --exact oracle::nothing_that_was_acknowledged_is_lost_and_nothing_invented

# Twenty devices at one nginx, killed at random, a thousand swaps of a model, eir cut off at each of its calls
# (tests/it/ota/), and each sync left out that is needed (src/update/kill/power.rs).
torture-update:
	@cross/setup.sh test
	@cross/onnxruntime.sh --optional
	EIR_TORTURE_UPDATE=20 $(CARGO) test --lib -- --test-threads 1 update::kill
	EIR_TORTURE_UPDATE=20 $(CARGO) test --test it -- --nocapture --test-threads 1 ota::

bench:
	@cross/setup.sh test
	@cross/setup.sh guard
	@cross/onnxruntime.sh --optional
	$(CARGO) bench $(ARGS)

# eir as it is shipped, which takes long to build, beside FastAPI with uvicorn and ONNX Runtime, and beside MLServer,
# both from PyPI (benches/api.rs).
bench-api:
	@cross/setup.sh build
	@cross/onnxruntime.sh --optional
	@cross/peers.sh api
	$(CARGO) bench --profile dist --bench api -- $(ARGS)

# The same beside paho-mqtt with ONNX Runtime, Node with ONNX Runtime, and a plain loop in Rust (benches/peers.rs).
bench-peers:
	@cross/setup.sh test
	@cross/onnxruntime.sh --optional
	@cross/peers.sh mqtt
	$(CARGO) bench --profile dist --bench peers -- $(ARGS)

# No more instructions and allocations than are written down (benches/guard.rs).
bench-guard:
	@cross/setup.sh guard
	$(CARGO) bench --profile $(PROFILE) --bench guard -- $(ARGS)

fmt:
	$(CARGO) fmt

clean:
	$(CARGO) clean

# What devices get: a static program for aarch64 (or TARGET=…, FLAVOUR=slim or jetson), proved under emulation,
# packed. OPERATORS=DIR leaves out of ONNX Runtime what the models below DIR do not need.
.PHONY: cross cross-test packages

FLAVOUR ?= full
TARGET ?= aarch64-unknown-linux-gnu

packages:
	@cross/release

cross:
	@cross/build --flavour $(FLAVOUR) --target $(TARGET) $(if $(OPERATORS),--operators $(OPERATORS))

cross-test: cross
	@cross/test $(foreach cpu,$(CPU),--cpu $(cpu)) \
	    $$(ls -t target/cross/dist/eir-*-$(TARGET)$(if $(filter-out full,$(FLAVOUR)),-$(FLAVOUR))$(if $(OPERATORS),-reduced) | head -n 1)
