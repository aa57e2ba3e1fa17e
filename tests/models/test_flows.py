from loom_contracts.topics.registry import DERIVED, LANDED, TOPICS
from loom_models.flows import FLOWS, LANDING_STAGES, STAGES


def test_every_source_and_sink_is_a_topic_with_a_table() -> None:
    for stage in STAGES:
        for topic in (stage.source, *stage.sinks):
            assert topic in TOPICS
            assert topic in (*LANDED, *DERIVED)


def test_every_landed_topic_has_one_landing_stage_and_every_derived_topic_one_stage() -> None:
    assert [s.source for s in LANDING_STAGES] == sorted(LANDED, key=[s.source for s in LANDING_STAGES].index)
    assert len(LANDING_STAGES) == len(LANDED)
    filled = [sink for s in STAGES if not s.landing for sink in s.sinks]
    assert sorted(t.name for t in filled) == sorted(t.name for t in DERIVED)


def test_names_are_unique_and_the_topics_know_them() -> None:
    assert len({s.name for s in STAGES}) == len(STAGES)
    assert len({f.name for f in FLOWS}) == len(FLOWS)
    for stage in STAGES:
        assert stage.name in stage.source.consumers
        if not stage.landing:
            assert all(stage.name in sink.producers for sink in stage.sinks)


def test_a_source_is_landed_before_it_is_enriched() -> None:
    order = [s.name for s in STAGES]
    landing = {s.source: s.name for s in LANDING_STAGES}
    for stage in STAGES:
        if not stage.landing and stage.source in landing:
            assert order.index(landing[stage.source]) < order.index(stage.name)
