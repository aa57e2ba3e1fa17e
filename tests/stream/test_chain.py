"""A stage behind a stage: it reads what the first one produced, and its recompute reads the first one's table."""

import threading

import polars as pl
import psycopg
import pytest

from loom_contracts.ddl import create_table
from loom_contracts.topic import Topic
from loom_models.stage import BatchPolicy, Context, Output, Stage
from loom_platform.stream.api import recompute
from tests.stream.bench import Bench
from tests.stream.stages import ANSWERS, LANDING, NOON, NUMBERS, Answer, answers, number, running_total

pytestmark = pytest.mark.integration

CHAINED = Topic("test.number.chained", Answer, "Answers to answers.", {}, scope=("timestamp", "source_message_id"))


def negative(max_rows: int = 10_000) -> Stage:
    """value = -value of each answer."""

    def transform(batch: pl.DataFrame, context: Context) -> Output:
        return Output({CHAINED: answers(batch.with_columns(-pl.col("value")), context, "negative")})

    return Stage("negative", ANSWERS, (CHAINED,), "1", transform, policy=BatchPolicy(max_rows))


@pytest.fixture
def chain(bench: Bench) -> Bench:
    if not bench.rows("SELECT 1 FROM pg_class WHERE relname = 'test_number_chained'"):
        bench.execute(create_table(CHAINED))
        bench.execute("SELECT loom_grant()")
    bench.prepare(LANDING, running_total(), negative())
    return bench


def values(bench: Bench) -> list[int]:
    query = "SELECT value FROM test_number_chained WHERE superseded_at IS NULL ORDER BY timestamp, value"
    return [value for (value,) in bench.rows(query)]


def test_answers_flow_through_a_chain_of_stages(chain: Bench) -> None:
    chain.send(NUMBERS, *(number(n, 1, note='q"\n') for n in range(20)))
    chain.drain(LANDING, running_total())
    chain.sent[chain.name(ANSWERS)] = len(chain.topic_values(ANSWERS))
    chain.drain(negative())
    assert values(chain) == [-n - 1 for n in range(20)]
    sources = chain.rows("SELECT source_message_id FROM test_number_chained")
    assert sorted(sources) == sorted(chain.rows("SELECT message_id FROM test_number_answered"))


def test_a_recompute_reads_only_the_current_answers_of_the_stage_before(chain: Bench) -> None:
    chain.send(NUMBERS, number(10, 1), number(30, 3))
    chain.drain(LANDING, running_total())
    chain.send(NUMBERS, number(20, 100))
    chain.drain(LANDING, running_total())
    chain.sent[chain.name(ANSWERS)] = len(chain.topic_values(ANSWERS))
    chain.drain(negative())
    day = NOON.date()
    summary = recompute(negative(2), day, day, chain.config, on_report=lambda _: None, stop=threading.Event())
    assert summary.records == 3
    assert values(chain) == [-1, -101, -104]


def test_the_messages_of_an_answer_are_those_of_its_contract(chain: Bench) -> None:
    chain.send(NUMBERS, number(1, 7, trace_id="0af7651916cd43dd8448eb211c80319c"))
    chain.drain(LANDING, running_total())
    ((key, value),) = chain.topic_records(ANSWERS)
    message = Answer.model_validate_json(value)
    assert key == message.device_id == "phone-001"
    with psycopg.connect(chain.config.database_url) as connection:
        row = connection.execute("SELECT message_id, timestamp, value, stage FROM test_number_answered").fetchone()
    assert row == (message.message_id, message.timestamp, message.value, message.stage)
