# What people and CI run. Each target makes the environment it needs.

PYTHON ?= python3
VENV ?= .venv
EXTRAS ?= compress,tracing,postgresql,objects,ray,dev$(if $(CI),$(comma)fuzz)
# Where torch comes from, if not from the default index. Without a GPU:
#   make TORCH_INDEX=https://download.pytorch.org/whl/cpu ...
TORCH_INDEX ?=
# CI runs every test; by hand the slow ones are left out: make test TESTS=tests runs them too.
TESTS ?= $(if $(CI),tests,-m "not slow" tests)
# How many processes run them. One thread of arithmetic in each, so that they share two cores.
JOBS ?= 2

bin := $(VENV)/bin
comma := ,
installed := $(VENV)/.installed-$(subst $(comma),-,$(EXTRAS))

.PHONY: install demo serve test check format bench chaos fuzz soak openapi clean

install: $(installed)

$(installed): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(bin)/pip install --quiet -c constraints.txt --index-url $(TORCH_INDEX) torch)
	$(bin)/pip install --quiet -c constraints.txt -e ".[$(EXTRAS)]"
	touch $@

demo: install
	$(bin)/python -m examples.demo

serve: install
	$(bin)/tieshare serve

test: install
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(bin)/pytest -q -n $(JOBS) --dist worksteal $(TESTS)

check: install
	$(bin)/ruff format --check .
	$(bin)/ruff check .
	$(bin)/mypy

format: install
	$(bin)/ruff check --fix .
	$(bin)/ruff format .

bench: install
	$(bin)/python -m benchmarks.prox
	$(bin)/python -m benchmarks.mnist --shift 1
	$(bin)/python -m benchmarks.serving
	$(bin)/python -m benchmarks.memory
	$(bin)/python -m benchmarks.operators
	$(bin)/python -m benchmarks.twin
	$(bin)/python -m benchmarks.cluster
	$(bin)/python -m benchmarks.networks
	$(bin)/python -m benchmarks.stability
	$(bin)/python -m benchmarks.stage1
	$(bin)/python -m benchmarks.peers
	$(bin)/python -m benchmarks.capacity

# A million runs of each: make fuzz RUNS=1000000
RUNS ?= 100000
fuzz:
	$(MAKE) install EXTRAS=$(EXTRAS),fuzz
	for target in model dataset binary json upload; do \
	    $(bin)/python -m tests.fuzz $$target -runs=$(RUNS) || exit 1; \
	done

# With PostgreSQL, an object store and Ray's nodes killed as well: make chaos SERVERS=--servers
SERVERS ?=
chaos: install
	$(bin)/python -m tests.chaos $(SERVERS)

soak: install
	$(bin)/python -m tests.soak

openapi: install
	$(bin)/python -m tieshare_service.openapi

clean:
	rm -rf $(VENV) demo tieshare-data dist
