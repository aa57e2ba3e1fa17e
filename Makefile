# Loom: `make up` starts the platform, `make test` proves it. `make` alone lists the targets.
BIN := .venv/bin
# Half of what the tests do is to wait for servers: one worker more than there are cores, each with servers of its own.
WORKERS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$((n < 3 ? n + 1 : 4)))
.DEFAULT_GOAL := help
.PHONY: help up down clean status logs lint test test-models bench soak lock

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

up: ## install what is missing, start everything, wait until it is ready
	@deploy/bootstrap.sh
	@$(BIN)/loom up

down: ## stop everything; the data stays
	@$(BIN)/loom down

clean: ## stop everything and remove the data, after asking
	@$(BIN)/loom clean

status: ## what runs, and where
	@$(BIN)/loom status

logs: ## follow all logs
	@$(BIN)/loom logs -f

lint: ## ruff and mypy
	@deploy/bootstrap.sh dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint ## lint, types and the default suite, on a real Kafka and PostgreSQL of its own
	$(BIN)/pytest -m "not soak" -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=20

test-models: ## the heavy model environments, on tiny weights
	@deploy/bootstrap.sh dev
	@if ls deploy/locks/model-*.txt >/dev/null 2>&1; then $(BIN)/pytest tests/heavy; \
	else echo "no heavy model environment is defined yet"; fi

bench: ## the numbers of docs/architecture.md, as ratios and as JSON in bench-results/
	@deploy/bootstrap.sh dev
	$(BIN)/python -m tests.benchmarks

soak: ## the long tests: twenty minutes of random faults, and more
	@deploy/bootstrap.sh soak
	$(BIN)/pytest -m soak -s

lock: ## resolve deploy/locks anew from pyproject.toml
	deploy/locks/update.sh
