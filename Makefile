# Every command of the project. `make` prints this list.
UV_VERSION := 0.13.9
# The uv on PATH, or else a pinned one in the checkout.
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
RUN := $(UV) run --frozen --quiet
# A worker for each core; one that has nothing left to do takes over half of what another has.
PARALLEL := --numprocesses=logical --dist=worksteal
# Containers often set it, and then every process compiles anew what it imports, seconds of it for the tests.
unexport PYTHONDONTWRITEBYTECODE

# With PRODUCTION=1 only what serving needs is installed, by whatever target.
ifdef PRODUCTION
export UV_NO_DEV := 1
endif

.DEFAULT_GOAL := help
.PHONY: help run assistant token test quick migrate migration db db-stop chaos bench profile check format setup openapi client image lint example pictures coverage docs

help: ## Print the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: setup .env ## Serve on http://127.0.0.1:8000 (HOST=, PORT=)
	@$(RUN) python -m backend serve

assistant: setup .env ## Serve with a stand-in for the assistant's model, which needs no key
	@$(RUN) python -m tests.assistant.stand_in

token: setup .env ## Print a bearer token for a local user (USER_ID=, EMAIL=)
	@$(RUN) python -m backend token

test: setup ## Run every test (TEST_DATABASE_URL= for a PostgreSQL of your own)
	@$(RUN) pytest $(PARALLEL)

quick: setup ## Run the tests that need neither PostgreSQL nor other processes: two minutes
	@$(RUN) pytest $(PARALLEL) --ignore=tests/test_schemathesis.py -m "not slow and not chaos and not image"

migrate: setup .env ## Bring the database's schema to this version's
	@$(RUN) python -m backend migrate

migration: setup .env ## Write the next migration, as the models are (m="what it does")
	@$(RUN) python -m backend migrate --message "$(m)"

openapi: setup ## Write client/openapi.json, which clients are generated from
	@$(RUN) python -W 'ignore:XDG_RUNTIME_DIR' -m tests.openapi

docs: setup ## Build the documentation as a site, into site/
	@$(RUN) python -m tests.site

docs/architecture.svg: docs/architecture.dot
	@dot -Tsvg $< | sed '/^<!-- Generated/,/-->$$/d' > $@

client: ## Build the TypeScript client and pack it into client/*.tgz
	@cd client && npm ci --silent --ignore-scripts --no-audit --no-fund && npm pack --silent

db: setup ## Start a PostgreSQL in .postgres and print its URL (DB_PORT=)
	@$(RUN) python -W 'ignore:XDG_RUNTIME_DIR' -m tests.postgres start

db-stop: setup ## Stop it
	@$(RUN) python -W 'ignore:XDG_RUNTIME_DIR' -m tests.postgres stop

example: setup ## Serve the example app, the service and a PostgreSQL; a second start takes seconds (APP_PORT=, PORT=)
	@DATABASE_URL=$$($(RUN) python -W 'ignore:XDG_RUNTIME_DIR' -m tests.postgres start) $(RUN) python -m tests.example.app

pictures: setup ## Take the README's pictures of the example in Chromium, into docs/pictures
	@$(RUN) python -W 'ignore:XDG_RUNTIME_DIR' -m tests.example.pictures

chaos: setup ## Run the tests of bad nights: killed connections, restarts, black holes, overload
	@$(RUN) pytest -m chaos

image: setup ## Build the image and run it read-only (needs root, buildah, podman, runc and mmdebstrap)
	@$(RUN) pytest -m image

bench: setup ## Measure the service beside two others (WHAT="compare overload workers start growth memory")
	@$(RUN) python -W 'ignore:XDG_RUNTIME_DIR' -m benchmarks $(WHAT)

profile: setup ## Show where the microseconds of a request go
	@$(RUN) python -W 'ignore:XDG_RUNTIME_DIR' -m benchmarks profile

lint: setup ## Check formatting, lint and types
	@$(RUN) ruff format --check .
	@$(RUN) ruff check .
	@$(RUN) mypy

check: lint ## What CI runs: formatting, lint, types, all tests with more examples each
	@THOROUGH=1 $(RUN) pytest $(PARALLEL)

coverage: setup ## Run every test once more, in twice the time, and fail where too little of the code is run
	@$(RUN) coverage erase
	@$(RUN) coverage run -m pytest $(PARALLEL)
	@$(RUN) coverage combine --quiet
	@$(RUN) coverage report

format: setup ## Format the code and mend what lint can mend
	@$(RUN) ruff format .
	@$(RUN) ruff check --fix .

setup: $(UV)
	@$(UV) sync --frozen --quiet

# uv comes from PyPI into the checkout. A virtual environment brings the pip that python3 may lack, but takes longer.
.uv/bin/uv:
	@echo "installing uv $(UV_VERSION) into .uv" >&2
	@python3 -m pip install --quiet --target .uv uv==$(UV_VERSION) >/dev/null 2>&1 \
		|| { python3 -m venv .uv && .uv/bin/pip install --quiet uv==$(UV_VERSION); } >&2

# With a secret that nobody else has: with another's, or the example's, anybody could sign in as anybody.
.env:
	@secret=$$(python3 -c 'import secrets; print(secrets.token_urlsafe(32))') && awk -v secret="$$secret" \
		'{ print $$0 ($$0 == "BETTER_AUTH_SECRET=" ? secret : "") }' .env.example > .env
	@echo "made .env from .env.example, with a new BETTER_AUTH_SECRET" >&2
