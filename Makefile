# Set-up and use with Python 3.11 to 3.13, make and git:
#
#   make train                   train on the built-in sample set
#   make train ARGS="--data ../GOPRO --run runs/gopro"
#   make test                    the tests of every day, a few minutes on two cores, JOBS=2 at a time
#   make test-all                all tests, the slow ones too; TORCH=1 adds those that need PyTorch, and installs it;
#                                JAX=1 those that need JAX
#   make lint                    style and formatting by ruff, types by mypy
#   make notebooks               execute all notebooks into build/notebooks; runs go to notebooks/runs
#   make notebooks SCALE=full DATA=../GOPRO     tiny, hand or full; VGG=FOLDER; REALBLUR=FOLDER; ONE=madn for one of
#                                them
#   make notebooks KEEP=1        execute them in place, and keep what their numbers come from in notebooks/records
#   make check-tf215             the exported network and our instance normalisation under TensorFlow 2.15
#   make check-beam              madn.batch on Apache Beam's direct runner
#   make docs                    the documentation site, in build/docs
#   make gpu-kit DATA="../GOPRO ../REDS" PHOTOS=../photos WEIGHTS=../weights
#                                build/gpu-kit, for a GPU machine without a network: scripts/gpu/README.md
#   make audit                   known weaknesses of all pinned packages, by pip-audit; asks the package index
#   make env                     the environment alone, in .venv
#
# PYTHON=/path/to/python chooses the interpreter that environments are made from.

ARGS ?= --data samples --recipe madn-sample --run runs/sample --resume
PYTHON ?= python3.13 python3.12 python3.11 python3
JOBS ?= 2
ONE ?= *
PIP_INSTALL = -m pip install --quiet --disable-pip-version-check

.PHONY: train test test-all lint notebooks env docs gpu-kit check-tf215 check-beam audit
.DELETE_ON_ERROR:

train: .venv/installed
	.venv/bin/python -m madn.train $(ARGS)

# A file's tests stay in one worker, so that what they share is made once.
test test-all: .venv/installed $(if $(filter 1,$(TORCH)),.venv/torch-installed) $(if $(filter 1,$(JAX)),.venv/jax-installed)
	.venv/bin/python -m pytest -n $(JOBS) --dist=loadfile $(if $(filter test,$@),-m "not slow")

lint: .venv/lint-installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

# A cell that fails ends this with its error; JOBS notebooks are executed at a time.
notebooks: .venv/installed .venv/notebooks-installed
	@mkdir -p build/notebooks
	@$(MAKE) --no-print-directory -j $(JOBS) $(patsubst notebooks/%.ipynb,execute-%,$(wildcard notebooks/$(ONE).ipynb))
	@$(if $(filter 1,$(KEEP)),$(call copy_records,notebooks/runs,notebooks/records,\( -path './*-hand-GOPRO/*' -o -path './start/*' \)))
	@$(if $(filter 1,$(KEEP)),$(call copy_records,runs/compare,notebooks/records/compare,! -path './timing/*'))

# DATA, VGG and REALBLUR may be relative to here; a notebook works in its own folder.
execute-%:
	@echo "executing notebooks/$*.ipynb"
	@$(if $(SCALE),MADN_SCALE=$(SCALE)) $(if $(DATA),MADN_DATA="$(call place,$(DATA))") \
	  $(if $(VGG),MADN_VGG="$(call place,$(VGG))") \
	  $(if $(REALBLUR),MADN_REALBLUR="$(call place,$(REALBLUR))") .venv/bin/jupyter execute --kernel_name=python3 \
	  $(if $(filter 1,$(KEEP)),--inplace,--output=../build/notebooks/{notebook_name}.ipynb) notebooks/$*.ipynb

env: .venv/installed

# The variable keeps Material's note on the future of MkDocs off the screen.
docs: .venv-docs/installed
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/python -m mkdocs build --strict --quiet
	@echo "the documentation is in build/docs; to read it with its search: python3 -m http.server -d build/docs"

# ARGS, where it is given: more options of gpu.build.
gpu-kit: .venv/installed
	PYTHONPATH=scripts .venv/bin/python -m gpu.build $(if $(DATA),--data $(DATA)) $(if $(PHOTOS),--photos $(PHOTOS)) \
	  $(if $(WEIGHTS),--weights $(WEIGHTS)) $(if $(filter command line environment,$(origin ARGS)),$(ARGS))

check-tf215: .venv/installed .venv-tf215/installed
	.venv/bin/python tests/interop/make_reference.py build/interop
	.venv-tf215/bin/python tests/interop/check_tf215.py build/interop

check-beam: .venv-beam/installed
	.venv-beam/bin/python -m pytest tests/test_batch.py

# Each file by itself, for pip-audit takes no package in two versions; all of them, whatever one brings to light. With
# --strict a package that the index keeps no records of (a mirror's, often) does not pass as one without weaknesses.
# TensorFlow 2.15's environment is left out: it is an old generation on purpose, and reads nothing but our own files.
audit: .venv-audit/installed
	@failed=0; for file in $(filter-out requirements/tf215.txt,$(wildcard requirements/*.txt)); do \
	  echo "$$file"; \
	  .venv-audit/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off -r "$$file" || failed=1; \
	done; exit $$failed

# The stamps are written last: an install that was interrupted is begun again, a finished one is not repeated.
.venv/installed: requirements/dev.txt setup.py
	@$(call make_venv,$(PYTHON),311 <= v <= 313,3.11 to 3.13,.venv)
	.venv/bin/python $(PIP_INSTALL) -r requirements/dev.txt
	.venv/bin/python $(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

# Where pip finds no CPU build this is gigabytes of CUDA, so only TORCH=1 asks for it.
.venv/torch-installed: requirements/torch.txt .venv/installed
	.venv/bin/python $(PIP_INSTALL) -r requirements/torch.txt
	@touch $@

.venv/jax-installed: requirements/jax.txt .venv/installed
	.venv/bin/python $(PIP_INSTALL) -r requirements/jax.txt
	@touch $@

.venv/lint-installed: requirements/lint.txt .venv/installed
	.venv/bin/python $(PIP_INSTALL) -r requirements/lint.txt
	@touch $@

.venv/notebooks-installed: requirements/notebooks.txt .venv/installed
	.venv/bin/python $(PIP_INSTALL) -r requirements/notebooks.txt
	@touch $@

.venv-tf215/installed: requirements/tf215.txt
	@$(call make_venv,$(if $(filter command line environment,$(origin PYTHON)),$(PYTHON)) python3.11 python3,v == 311,3.11,.venv-tf215)
	.venv-tf215/bin/python $(PIP_INSTALL) -r requirements/tf215.txt
	@touch $@

.venv-docs/installed: requirements/docs.txt
	@$(call make_venv,$(PYTHON),311 <= v <= 313,3.11 to 3.13,.venv-docs)
	.venv-docs/bin/python $(PIP_INSTALL) -r requirements/docs.txt
	@touch $@

.venv-beam/installed: requirements/beam.txt
	@$(call make_venv,$(PYTHON),311 <= v <= 313,3.11 to 3.13,.venv-beam)
	.venv-beam/bin/python $(PIP_INSTALL) -r requirements/beam.txt
	@touch $@

.venv-audit/installed: requirements/audit.txt
	@$(call make_venv,$(PYTHON),311 <= v <= 313,3.11 to 3.13,.venv-audit)
	.venv-audit/bin/python $(PIP_INSTALL) -r requirements/audit.txt
	@touch $@

# $(call place,FOLDER): as seen from the notebooks' folder; "samples" is no folder.
place = $(if $(filter samples /%,$(firstword $(1))),$(1),../$(1))

# $(call copy_records,FROM,TO,WHICH): of runs, the files that numbers are read from.
define copy_records
if [ -d $(1) ]; then \
  rm -rf $(2)/$(if $(filter notebooks/runs,$(1)),*-hand-GOPRO) && mkdir -p $(2) && \
  (cd $(1) && find . \( -name '*.json' ! -name data.json -o -name log.csv \) $(3) | tar -cf - -T -) | tar -xf - -C $(2); fi
endef

# $(call make_venv,INTERPRETERS,TEST OF v,VERSIONS,FOLDER): a fresh environment from the first interpreter that runs,
# passes the test and has the module that makes environments. Being on the PATH is not enough: a pyenv shim may fail.
define make_venv
for python in $(1); do \
  if "$$python" -c 'import ensurepip, sys, venv; v = 100 * sys.version_info[0] + sys.version_info[1]; sys.exit(not ($(2)))' 2>/dev/null; then \
    echo "installing into $(4) (`"$$python" --version`; about 2 GB, a few minutes)"; \
    exec "$$python" -m venv --clear $(4); \
  fi; \
done; \
echo "madn: no working Python $(3) with venv found (tried: $(strip $(1))); name one with PYTHON=/path/to/python" >&2; exit 1
endef
