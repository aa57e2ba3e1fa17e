"""The three ways in which a stage cannot go on: they are different, and handled differently."""


class StageError(Exception):
    """Base of what a stage raises."""


class PoisonError(StageError):
    """This record can never be processed: it is dead-lettered and its neighbours go on."""


class DependencyError(StageError):
    """Something the stage needs is away for now (model, object store, service): back off and try again."""


class ModelUnavailableError(DependencyError):
    """The weights of a model cannot be had: the stage waits for them, and its backlog with it."""

    def __init__(self, model: str, remedy: str) -> None:
        super().__init__(f"waiting for model {model}: {remedy}")
        self.model = model
        self.remedy = remedy
