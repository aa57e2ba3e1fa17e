"""The platform: streams, embedded servers, the command line, and (in `orchestration` alone) Dagster."""
