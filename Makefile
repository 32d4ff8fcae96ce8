# `make` lists the verbs. Each sets up what it needs first, in build/; a second run redoes no work.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# Knobs, as in `make bench LOOKAHEAD=480 PACE=fast`; a blank one leaves the choice to the stage.
PYTHON ?= python3
# A .nemo file, a published checkpoint's name, or large-random.
MODEL ?= data/checkpoint/streaming_fastconformer_ctc_en_small.nemo
# Milliseconds of audio to come that the encoder sees.
LOOKAHEAD ?= 80
# fp32, fp16 or int8; by default fp16, but to recognise on a CPU the bundle's widest.
PRECISION ?=
# In plans, products of one or two rows as matrix products or as sums: matrix or sum; by default what was faster where it was measured.
PRODUCTS ?=
# ctc or rnnt; by default the checkpoint's best.
DECODER ?=
# Milliseconds of audio in one push, 20 to 40.
FRAME_MS ?= 20
# A KenLM file with its word list beside it, which the bundle carries then, or none, to decode without; by default the one beside MODEL.
LM ?=
# realtime or fast.
PACE ?=
# Clips per data set.
LIMIT ?=
# Bounds that the bench fails on, as first_partial_p95=300,final_p95=150,rtf_p95=0.2 (ms, ms, computing over audio time).
SLO ?=
# The folder of the evaluation sets.
EVAL ?= $(firstword $(wildcard data/asr_eval ../shared/data/asr_eval) data/sample)
# The folder of the calibration sets.
CALIB ?= $(firstword $(wildcard data/asr_calib ../shared/data/asr_calib))
# Of INT8's thresholds: entropy, max, percentile_99.9, percentile_99.99, percentile_99.999 or mse.
METHOD ?= mse
# Products that INT8 leaves in FP16: none, or search, for those that a sensitivity search asks for.
KEEP ?= none
# The same for `make ablation`, several with commas between, and its look-aheads in ms.
METHODS ?=
ABLATED ?= 80 480
# A result file, for `make publish`, and for `make report`, whose default is the newest with transcripts.
RESULT ?=
# An unpacked Common Voice release, for `make data`.
COMMON_VOICE ?=
# Only from the command line: desktops and WSL export variables of these names.
LANGUAGE = en
NAME =

# A variable that no verb knows is a typing error, never ignored.
KNOBS := PYTHON MODEL LOOKAHEAD PRECISION PRODUCTS DECODER FRAME_MS LM PACE LIMIT SLO EVAL CALIB METHOD KEEP METHODS ABLATED RESULT \
	COMMON_VOICE LANGUAGE NAME
UNKNOWN := $(firstword $(foreach name,$(.VARIABLES),$(if $(findstring command,$(origin $(name))),$(filter-out $(KNOBS),$(name)))))
NEAREST = $(shell $(PYTHON) -c 'import difflib, sys; print(*difflib.get_close_matches(*sys.argv[1:2], sys.argv[2:], 1, 0))' $(UNKNOWN) $(KNOBS))
$(if $(UNKNOWN),$(error Expected variables out of $(KNOBS), found $(UNKNOWN): did you mean $(NEAREST)?))

HARDWARE := $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
GROUPS := runtime bench export calibration $(HARDWARE)
STAMP := build/venv/.stamp-$(VERSION)-$(HARDWARE)
BUNDLE = $(call bundle,$(LOOKAHEAD))
RUN := build/venv/bin/python -m
# The verb that makes the step of PRECISION.
STEP := $(if $(filter int8,$(PRECISION)),calibrate,export)

# $(call option,--name,value): nothing where the value is blank.
option = $(if $(2),$(1) "$(2)")
# What verbs do at a look-ahead: $(call bundle,80) and so on.
bundle = build/bundles/$(patsubst %.nemo,%,$(notdir $(MODEL)))-$(1)ms
exported = $(RUN) export --model "$(MODEL)" --lookahead $(1) $(if $(filter export,$(MAKECMDGOALS)),$(call option,--lm,$(LM))) --out build/bundles
calibrated = $(RUN) calibration --bundle "$(call bundle,$(1))" $(call option,--data,$(CALIB)) --lang $(LANGUAGE) \
	--eval "$(EVAL)" --method $(METHOD) --keep $(KEEP)
# $(call install,groups,options): pip at the pinned versions, one line a package.
install = $(RUN) pip install --disable-pip-version-check --progress-bar off -c requirements/constraints.txt $(2) \
	$(1:%=-r requirements/%.txt) | sed -u -n -E 's/^Collecting ([^ ]+).*/  \1/p; s/^(Installing collected packages):.*/  \1/p'
supported = $(if $(filter 3.10 3.11 3.12,$(VERSION)),,$(error Python 3.10, 3.11 or 3.12 is needed, $(PYTHON) is \
	$(or $(VERSION),not there): name one, as in `make setup PYTHON=python3.12`))

.PHONY: help setup data export calibrate engines triton inspect bench ablation t4 publish results report test test-quick lint clean

help:
	@grep -hE '^[a-z0-9-]+:.*## ' Makefile | sed -E 's/^([a-z0-9-]+):.*## (.*)/\1\t\2/' | expand -t 12

setup: $(STAMP) ## the virtual environment build/venv with the pinned packages

data: $(STAMP) ## check the data, or COMMON_VOICE=DIR: make manifests from an unpacked release
	$(RUN) data $(call option,--common-voice,$(COMMON_VOICE))

export: $(STAMP) ## a checkpoint (MODEL, LOOKAHEAD, LM) to a bundle in build/bundles
	$(call exported,$(LOOKAHEAD))

calibrate: export ## calibration speech (CALIB, none of it in EVAL) to the bundle's INT8 thresholds and its INT8 step (METHOD, KEEP)
	$(call calibrated,$(LOOKAHEAD))

engines: $(STEP) ## the bundle's step, and a transducer's evaluation, to TensorRT plans in the bundle (PRECISION, PRODUCTS), where an NVIDIA GPU is
	$(RUN) engines --bundle "$(BUNDLE)" $(call option,--precision,$(PRECISION)) $(call option,--products,$(PRODUCTS))

triton: engines ## the plan and the decoder to a Triton model repository in build/triton (PRECISION)
	$(RUN) serving --bundle "$(BUNDLE)" $(call option,--precision,$(PRECISION)) --out build/triton

inspect: $(STEP) $(if $(filter gpu,$(HARDWARE)),engines) ## nodes of the ONNX, layers of the plan by the precision they run in, kernels by time, GPU memory by owner (PRECISION)
	$(RUN) engines.inspect --bundle "$(BUNDLE)" $(call option,--precision,$(PRECISION))

bench: $(STEP) $(if $(filter gpu,$(HARDWARE)),engines) ## recognise the evaluation speech (EVAL, PRECISION, DECODER, LM, FRAME_MS, PACE, LIMIT) and print the figures; fail on those over SLO
	$(RUN) bench run --bundle "$(BUNDLE)" --eval "$(EVAL)" --lang $(LANGUAGE) $(call option,--precision,$(PRECISION)) \
		--frame-ms $(FRAME_MS) $(call option,--decoder,$(DECODER)) $(call option,--lm,$(LM)) $(call option,--pace,$(PACE)) $(call option,--limit,$(LIMIT)) $(call option,--slo,$(SLO)) $(call option,--name,$(NAME))

ablation: $(STAMP) ## FP32, FP16 and INT8 (METHODS) at look-ahead 80 and 480 ms (ABLATED), CUDA graph on and off: table and plots in build/results
	$(foreach each,$(ABLATED),$(call exported,$(each)) && $(call calibrated,$(each)) && ) \
		$(RUN) bench ablation --bundle $(foreach each,$(ABLATED),"$(call bundle,$(each))") --eval "$(EVAL)" --lang $(LANGUAGE) \
		$(call option,--methods,$(METHODS)) $(call option,--limit,$(LIMIT)) $(call option,--name,$(NAME))

t4: export ## all that RESULTS.md shows, measured on this GPU, in one file of build/results/packs to send (MODEL, LOOKAHEAD, EVAL, NAME)
	$(call calibrated,$(LOOKAHEAD)) || echo "without calibration there will be no INT8"
	$(RUN) bench suite --bundle "$(BUNDLE)" --eval "$(EVAL)" --lang $(LANGUAGE) $(call option,--limit,$(LIMIT)) $(call option,--name,$(NAME))

publish: $(STAMP) ## put a run's result (RESULT) among the published ones, bench/results, and make RESULTS.md anew
	$(RUN) bench publish "$(or $(RESULT),$(error Name the result, as in `make publish RESULT=build/results/NAME.json`))"

results: $(STAMP) ## make RESULTS.md and its plots from bench/results
	$(RUN) bench results

report: $(STAMP) ## one HTML page of a run (RESULT) in build/reports: tables, plots, transcripts with their errors, partials over time
	$(RUN) bench report $(if $(RESULT),"$(RESULT)")

test: $(STAMP)-dev ## the tests
	$(RUN) pytest

test-quick: $(STAMP)-dev ## those that need neither torch nor NeMo
	$(RUN) pytest --quick

lint: $(STAMP)-dev ## ruff and mypy
	$(RUN) ruff check . && $(RUN) ruff format --check . && $(RUN) mypy

clean: ## remove everything that was made: build/
	rm -rf build

$(STAMP): requirements/constraints.txt requirements/vad.txt $(GROUPS:%=requirements/%.txt)
	@$(supported)
	echo "Setting up build/venv (Python $(VERSION), $(HARDWARE)): about 3 minutes and 2 GB, more with a CUDA build of torch"
	$(PYTHON) -m venv build/venv
	$(call install,$(GROUPS))
	$(call install,vad,--no-deps)
	touch $@
	echo "Set up in $$SECONDS s"

$(STAMP)-dev: $(STAMP) requirements/dev.txt requirements/triton.txt
	@echo "Adding what the tests need: about a minute"
	$(call install,$(GROUPS) dev)
	$(call install,triton,--no-deps)
	touch $@
	echo "Added in $$SECONDS s"
