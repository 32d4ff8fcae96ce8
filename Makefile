# `make` lists the verbs. Each sets up what it needs first, in build/; a second run redoes no work.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# Knobs, as in `make bench LOOKAHEAD=480 PACE=fast`; one that is blank here leaves the choice to the stage.
PYTHON ?= python3
# cpu, cuda12 (drivers 535 to 579) or cuda13 (580 and later): whose environment recognises; by default this machine's.
HARDWARE ?=
# runtime: recognise, and build plans, from a bundle made elsewhere, without torch and NeMo.
FOR ?=
# A .nemo file, a published checkpoint's name, or large-random or multilingual-random.
MODEL ?= data/checkpoint/streaming_fastconformer_ctc_en_small.nemo
# Milliseconds of audio to come that the encoder sees.
LOOKAHEAD ?= 80
# fp32, fp16 or int8; by default fp16, but to recognise on a CPU the bundle's widest.
PRECISION ?=
# In plans, products of one or two rows as matrix products or as sums: matrix or sum; by default what was faster where it was measured.
PRODUCTS ?=
# 1: the step over many streams too, in the bundle and as a plan; `triton` serves that one, except with RNN-T.
BATCH ?= $(if $(filter triton,$(MAKECMDGOALS)),$(if $(filter rnnt,$(DECODER)),,1))
# ctc or rnnt; by default the checkpoint's best, for `triton` ctc where there is a choice.
DECODER ?=
# Milliseconds of audio in one push, 20 to 40.
FRAME_MS ?= 20
# A KenLM file with its word list beside it, or none: what `export` gives the bundle, which keeps it, and `bench` decodes with; by default
# the bundle's, in a new one that beside MODEL.
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
# LANGUAGE is what is spoken, as in manifest_de.jsonl: en unless told otherwise, but that an export without it leaves the choice to the
# checkpoint. Both only from the command line: desktops and WSL export variables of these names.
LANGUAGE = en
NAME =
PORT =

# A variable that no verb knows is a typing error, never ignored.
KNOBS := PYTHON HARDWARE FOR MODEL LOOKAHEAD PRECISION PRODUCTS BATCH DECODER FRAME_MS LM PACE LIMIT SLO EVAL CALIB METHOD KEEP METHODS ABLATED \
	RESULT COMMON_VOICE LANGUAGE NAME PORT
UNKNOWN := $(firstword $(foreach name,$(.VARIABLES),$(if $(findstring command,$(origin $(name))),$(filter-out $(KNOBS),$(name)))))
NEAREST = $(shell $(PYTHON) -c 'import difflib, sys; print(*difflib.get_close_matches(*sys.argv[1:2], sys.argv[2:], 1, 0))' $(UNKNOWN) $(KNOBS))
$(if $(UNKNOWN),$(error Expected variables out of $(KNOBS), found $(UNKNOWN): did you mean $(NEAREST)?))

# Nor is a misspelt value found out after half a minute: $(call one_of,NAME,its values).
comma := ,
space := $() $()
one_of = $(foreach word,$(filter-out $(2),$(subst $(comma), ,$($(1)))),$(error Expected $(or $(3),$(subst $(space),$(comma) ,$(2))) as $(1), found $(word)))
METHOD_NAMES := entropy max percentile_99.9 percentile_99.99 percentile_99.999 mse
$(call one_of,HARDWARE,cpu cuda12 cuda13)
$(call one_of,FOR,runtime)
$(call one_of,PRECISION,fp32 fp16$(if $(filter triton,$(MAKECMDGOALS)),,$(space)int8))
$(call one_of,PRODUCTS,matrix sum)
$(call one_of,BATCH,1)
$(call one_of,DECODER,ctc rnnt)
$(call one_of,PACE,auto realtime fast)
$(call one_of,METHOD,$(METHOD_NAMES))
$(call one_of,METHODS,$(METHOD_NAMES))
$(call one_of,KEEP,none search)
$(call one_of,FRAME_MS,$(shell seq 20 40),20 to 40)

# -S: both need the standard library alone, and start sooner.
VERSION := $(shell $(PYTHON) -S -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
# What needs no GPU does not ask for one.
FITTING := $(if $(and $(VERSION),$(filter-out help export calibrate words test-quick lint clean,$(MAKECMDGOALS))),$(shell $(PYTHON) -S -m setup.machine))
KIND := $(or $(HARDWARE),$(FITTING),cpu)
# Bundles are made in the CPU's environment, which alone has torch and NeMo; all else is done in that of the hardware. Without a GPU they
# are one. A set of packages is there where its stamp is; setup/environments.py calls folders and stamps by the same names.
CPU := build/venv-$(VERSION)-cpu
HERE := build/venv-$(VERSION)-$(KIND)
TRITON := build/venv-$(VERSION)-triton
CLIENTS := build/venv-$(VERSION)-clients
REQUIREMENTS := $(wildcard requirements/*.txt)

# $(call option,--name,value): nothing where the value is blank.
option = $(if $(2),$(1) "$(2)")
SPOKEN := $(if $(filter command,$(origin LANGUAGE)),--language "$(LANGUAGE)")
# What verbs do at a look-ahead: $(call bundle,80) and so on. A name's spaces are | while make takes it apart by words.
bundle = build/bundles/$(subst |, ,$(patsubst %.nemo,%,$(notdir $(subst $(space),|,$(MODEL)))))-$(1)ms
exported = $(CPU)/bin/python -m export --model "$(MODEL)" --lookahead $(1) \
	$(if $(filter export,$(MAKECMDGOALS)),$(call option,--lm,$(LM)) $(SPOKEN)) \
	$(if $(BATCH),--batch) --out build/bundles
calibrated = $(CPU)/bin/python -m calibration --bundle "$(call bundle,$(1))" $(call option,--data,$(CALIB)) --lang "$(LANGUAGE)" \
	--eval "$(EVAL)" --method $(METHOD) --keep $(KEEP)
# Whether to export: where torch and NeMo are, always, as `export` knows what is current; elsewhere a bundle that is there will do.
EXPORTER := $(if $(FOR),,$(wildcard $(CPU)/.export))
exports = $(or $(EXPORTER),$(shell test -f "$(call bundle,$(1))/bundle.json" || echo absent))

there = $(if $(VERSION),,$(error Expected Python 3.10, 3.11 or 3.12, found no $(PYTHON): name one, as in `make setup PYTHON=python3.12`))
doctor = $(there)$(PYTHON) -m setup.doctor $(call option,--hardware,$(HARDWARE)) $(call option,--for,$(FOR))
RUN := $(HERE)/bin/python -m
# Where the CPU is asked for, a GPU is left alone.
BACKEND := $(if $(filter cpu,$(HARDWARE)),--backend onnxruntime-cpu)
BUNDLE := $(call bundle,$(LOOKAHEAD))
BUNDLED := $(if $(call exports,$(LOOKAHEAD)),$(if $(FOR),absent,export),taken)
# The verb that makes the step of PRECISION.
STEP := $(if $(filter int8,$(PRECISION)),calibrate,$(BUNDLED))
PLAN := $(if $(filter-out cpu,$(KIND)),engines)

.NOTPARALLEL:
.PHONY: help doctor verdict setup data export absent taken calibrate words engines triton serve inspect bench ablation t4 publish results report \
	test test-quick lint clean

help:
	@grep -hE '^[a-z0-9-]+:.*## ' Makefile | sed -E 's/^([a-z0-9-]+):.*## (.*)/\1\t\2/' | expand -t 12

doctor: ## what this machine is, what set-up installs on it (HARDWARE, FOR), how large that is, and whether it can
	@$(doctor)

setup: verdict $(HERE)/.runtime $(if $(FOR),,$(CPU)/.export) ## environments in build/ at pinned versions, updated in place; build/python runs this machine's (HARDWARE, FOR)
	@$(PYTHON) -m setup.install $(KIND) runtime --default

verdict:
	@$(doctor) --short

data: $(HERE)/.runtime ## check the data, or COMMON_VOICE=DIR: make manifests from an unpacked release
	$(RUN) data $(if $(COMMON_VOICE),--common-voice "$(COMMON_VOICE)" --lang "$(LANGUAGE)")

export: $(CPU)/.export ## a checkpoint (MODEL, LOOKAHEAD, LANGUAGE, LM, BATCH) to a bundle in build/bundles
	$(call exported,$(LOOKAHEAD))

taken:
	@echo "$(BUNDLE) is taken as it is: no environment here has torch and NeMo, which make bundles"

absent:
	@$(error Expected a bundle in build/bundles for each look-ahead, found $(BUNDLE) or another missing: copy it there, or leave FOR out)

calibrate: $(CPU)/.runtime $(BUNDLED) ## calibration speech (CALIB, none of it in EVAL) to the bundle's INT8 thresholds and its INT8 step (METHOD, KEEP)
	$(call calibrated,$(LOOKAHEAD))

words: $(CPU)/.export $(BUNDLED) ## calibration speech (CALIB, none of it in EVAL) to the times and the confidence of the bundle's words
	$(CPU)/bin/python -m calibration.words --bundle "$(BUNDLE)" $(call option,--data,$(CALIB)) --lang "$(LANGUAGE)" --eval "$(EVAL)"

engines: $(HERE)/.runtime $(STEP) ## the bundle's step, and a transducer's evaluation, to TensorRT plans in the bundle (PRECISION, PRODUCTS, BATCH), where an NVIDIA GPU is
	$(RUN) engines --bundle "$(BUNDLE)" $(call option,--precision,$(PRECISION)) $(call option,--products,$(PRODUCTS)) $(if $(BATCH),--batch)

triton: $(HERE)/.runtime $(BUNDLED) $(PLAN) ## the bundle, and what recognises with it, to a Triton model repository in build/triton (PRECISION, DECODER, HARDWARE)
	$(RUN) serving.triton --bundle "$(BUNDLE)" $(call option,--precision,$(PRECISION)) $(call option,--decoder,$(DECODER)) $(BACKEND)

serve: $(HERE)/.runtime $(STEP) $(PLAN) ## a server for voice chat at http://localhost:8300: a page to talk to, and OpenAI's Realtime transcription by WebSocket (PORT, PRECISION, DECODER, LM, LANGUAGE)
	exec $(RUN) serving.web --bundle "$(BUNDLE)" $(call option,--port,$(PORT)) $(call option,--precision,$(PRECISION)) $(call option,--decoder,$(DECODER)) $(call option,--lm,$(LM)) $(SPOKEN) $(BACKEND)

inspect: $(HERE)/.runtime $(STEP) $(PLAN) ## nodes of the ONNX, layers of the plan by the precision they run in, kernels by time, GPU memory by owner (PRECISION)
	$(RUN) engines.inspect --bundle "$(BUNDLE)" $(call option,--precision,$(PRECISION))

bench: $(HERE)/.runtime $(STEP) $(PLAN) ## recognise the evaluation speech (EVAL, LANGUAGE, PRECISION, DECODER, LM, FRAME_MS, PACE, LIMIT) and print the figures; fail on those over SLO
	$(RUN) bench run --bundle "$(BUNDLE)" --eval "$(EVAL)" --lang "$(LANGUAGE)" $(call option,--precision,$(PRECISION)) \
		--frame-ms $(FRAME_MS) $(call option,--decoder,$(DECODER)) $(call option,--lm,$(LM)) $(call option,--pace,$(PACE)) $(call option,--limit,$(LIMIT)) $(call option,--slo,$(SLO)) $(call option,--name,$(NAME)) $(BACKEND)

ablation: $(HERE)/.runtime $(CPU)/.runtime $(if $(foreach each,$(ABLATED),$(call exports,$(each))),$(if $(FOR),absent,$(CPU)/.export)) ## FP32, FP16 and INT8 (METHODS) at look-ahead 80 and 480 ms (ABLATED), CUDA graph on and off: table and plots in build/results
	$(foreach each,$(ABLATED),$(if $(call exports,$(each)),$(call exported,$(each)) && )) \
		$(foreach each,$(ABLATED),$(call calibrated,$(each)) && ) \
		$(RUN) bench ablation --bundle $(foreach each,$(ABLATED),"$(call bundle,$(each))") --eval "$(EVAL)" --lang "$(LANGUAGE)" \
		$(call option,--methods,$(METHODS)) $(call option,--limit,$(LIMIT)) $(call option,--name,$(NAME)) $(BACKEND)

t4: $(HERE)/.runtime $(CPU)/.runtime $(BUNDLED) ## what RESULTS.md says of one GPU, measured on this one, in one file of build/results/packs to send (MODEL, LOOKAHEAD, EVAL, NAME)
	$(if $(PLAN),,@echo "error: expected an NVIDIA GPU, which t4 measures, found none" >&2; exit 2;)
	$(call calibrated,$(LOOKAHEAD)) || echo "without calibration there will be no INT8"
	$(RUN) bench suite --bundle "$(BUNDLE)" --eval "$(EVAL)" --lang "$(LANGUAGE)" $(call option,--limit,$(LIMIT)) $(call option,--name,$(NAME))

publish: $(HERE)/.runtime ## put a run's result (RESULT) among the published ones, bench/results, and make RESULTS.md anew
	$(RUN) bench publish "$(or $(RESULT),$(error Name the result, as in `make publish RESULT=build/results/NAME.json`))"

results: $(HERE)/.runtime ## make RESULTS.md, the pages of bench/results and their plots from its files
	$(RUN) bench results

report: $(HERE)/.runtime ## one HTML page of a run (RESULT) in build/reports: tables, plots, transcripts with their errors, words and sound (EVAL)
	$(RUN) bench report $(if $(RESULT),"$(RESULT)") $(if $(filter file,$(origin EVAL)),,--eval "$(EVAL)")

# Hundreds of processes that keep no bytecode would each compile all modules anew.
PYTEST = env -u PYTHONDONTWRITEBYTECODE $(CPU)/bin/python -m pytest

test: $(CPU)/.export $(CPU)/.dev $(TRITON)/.server $(CLIENTS)/.clients $(if $(PLAN),$(HERE)/.runtime) ## the tests; those that need a GPU where there is one
	$(PYTEST) --numprocesses auto --maxprocesses 4 --dist loadscope
	$(if $(PLAN),$(RUN) pytest --noconftest tests/*/test_*_gpu.py)

test-quick: $(CPU)/.dev ## those that need neither torch nor NeMo
	$(PYTEST) --quick --numprocesses auto --dist loadscope

lint: $(CPU)/.export $(CPU)/.dev ## ruff and mypy
	$(CPU)/bin/python -m ruff check . && $(CPU)/bin/python -m ruff format --check . && $(CPU)/bin/python -m mypy

clean: ## remove everything that was made: build/
	rm -rf build

$(addsuffix /.runtime,$(sort $(CPU) $(HERE))): build/venv-$(VERSION)-%/.runtime: $(REQUIREMENTS)
	@$(there)$(PYTHON) -m setup.install $* runtime $(if $(filter $(HERE),$(@D)),--default)

$(CPU)/.export $(CPU)/.dev: $(REQUIREMENTS) | $(CPU)/.runtime
	@$(PYTHON) -m setup.install cpu $(@F:.%=%)

# What only tests need; where it cannot be had they say so.
$(TRITON)/.server $(CLIENTS)/.clients: $(REQUIREMENTS)
	@$(PYTHON) -m setup.install $(subst build/venv-$(VERSION)-,,$(@D)) $(@F:.%=%) || echo "without it the tests that need it are skipped"
