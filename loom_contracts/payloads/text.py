"""Text found in sound and images."""

from pydantic import AwareDatetime, Field

from loom_contracts.message import DerivedMessage
from loom_contracts.payloads.common import Box, Count, Label, Part, Share, Text


class Word(Part):
    """One spoken word."""

    word: Text = Field(description="The word.")
    start_ms: Count = Field(description="When it begins, milliseconds after the segment does.")
    end_ms: Count = Field(description="When it ends, milliseconds after the segment begins.")
    confidence: Share | None = Field(None, description="The model's confidence.")
    speaker: Label | None = Field(None, description="Who said it, where speakers are told apart.")


class Transcript(DerivedMessage):
    """What was said in one segment of speech; `timestamp` is when the segment begins."""

    segment_end: AwareDatetime = Field(description="When the segment ends, UTC.")
    text: Text = Field(description="The words as one text.")
    words: list[Word] = Field(description="The words, in order; empty when none was understood.")
    language: Label | None = Field(None, description="BCP 47 tag of the language.")
    language_confidence: Share | None = Field(None, description="The model's confidence in that.")
    confidence: Share | None = Field(None, description="Mean confidence over the words.")


class OcrLine(Part):
    """One line of text in an image."""

    text: Text = Field(description="The line.")
    confidence: Share = Field(description="The model's confidence.")
    box: Box = Field(description="Where it is.")


class OcrText(DerivedMessage):
    """The text that was read in an image."""

    text: Text = Field(description="All lines, in reading order.")
    lines: list[OcrLine] = Field(description="The lines; empty when there were none.")
    confidence: Share | None = Field(None, description="Mean confidence over the lines.")
    language: Label | None = Field(None, description="BCP 47 tag of the language.")


class OcrBlock(Part):
    """A block of a page that belongs together."""

    kind: Label = Field(description="heading, paragraph, list, table, code, menu or other.")
    text: Text = Field(description="Its text.")


class CleanedText(DerivedMessage):
    """The text of an image without noise, in blocks."""

    text: Text = Field(description="The cleaned text.")
    blocks: list[OcrBlock] = Field(description="Its blocks, in reading order.")
    removed_line_count: Count = Field(0, description="Lines left out as noise.")
    confidence: Share | None = Field(None, description="Mean confidence over what is left.")
    language: Label | None = Field(None, description="BCP 47 tag of the language.")
