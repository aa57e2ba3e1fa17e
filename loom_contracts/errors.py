"""The base error of this package."""


class ContractError(Exception):
    """A declaration or a message breaks the contract."""
