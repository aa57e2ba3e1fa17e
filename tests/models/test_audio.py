import struct

import numpy as np
import pytest

from loom_models.audio import RATE, decode, to_pcm16, wav
from loom_models.errors import PoisonError
from tests.models.sound import encode, speech, tone

TONE = tone(1.0)


@pytest.mark.parametrize("audio_format", ["wav", "flac", "mp3", "aac"])
@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 1), (48_000, 2)])
def test_every_encoding_gives_the_same_tone(audio_format: str, rate: int, channels: int) -> None:
    sound = decode(encode(TONE, audio_format, rate, channels), audio_format, rate, channels)
    assert sound.dtype == np.float32
    # MP3 and AAC put some silence before and after.
    assert abs(sound.size - RATE) < (20 if audio_format in ("wav", "flac") else 3_500)
    middle = sound[sound.size // 4 : sound.size // 4 + 8_192]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(middle.size)))
    assert abs(spectrum.argmax() * RATE / middle.size - 440) < 3
    assert np.sqrt((middle**2).mean()) == pytest.approx(0.5 / np.sqrt(2), rel=0.1)


def test_sixteen_bits_at_16_khz_are_not_changed() -> None:
    samples = np.arange(-32_768, 32_767, 7, dtype=np.int16)
    assert (to_pcm16(decode(wav(samples), "wav", RATE, 1)) == samples).all()
    assert (to_pcm16(decode(samples.tobytes(), "wav", RATE, 1)) == samples).all()
    assert (to_pcm16(decode(encode(samples, "flac"), "flac", RATE, 1)) == samples).all()


@pytest.mark.parametrize(("rate", "channels"), [(44_100, 2), (8_000, 1), (48_000, 1)])
def test_a_wav_without_a_header_is_raw_pcm(rate: int, channels: int) -> None:
    at = np.arange(rate) / rate
    one = (0.5 * np.sin(2 * np.pi * 440 * at) * 32_767).astype("<i2")
    sound = decode(np.repeat(one, channels).tobytes(), "wav", rate, channels)
    assert abs(sound.size - RATE) < 20
    assert np.sqrt((sound[1_000:9_000] ** 2).mean()) == pytest.approx(0.5 / np.sqrt(2), rel=0.02)


def test_a_wav_that_is_cut_off_gives_what_is_there() -> None:
    body = wav(TONE)
    assert decode(body[: 44 + 8_000], "wav", RATE, 1).size == 4_000
    assert decode(encode(TONE, "mp3")[:-100], "mp3", RATE, 1).size > 12_000


def test_wavs_of_other_kinds_are_decoded_too() -> None:
    data = (TONE.astype(np.float32) / 32_768).astype("<f4").tobytes()
    form = struct.pack("<HHIIHH", 3, 1, RATE, RATE * 4, 4, 32)
    size = struct.pack("<I", len(data))
    body = (
        b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + size + data
    )
    assert (to_pcm16(decode(body, "wav", RATE, 1)) == TONE).all()
    with_a_note = wav(TONE)[:12] + b"LIST" + struct.pack("<I", 3) + b"abc\x00" + wav(TONE)[12:]
    assert (to_pcm16(decode(with_a_note, "wav", RATE, 1)) == TONE).all()


def test_the_body_decides_what_it_is() -> None:
    assert decode(encode(TONE, "flac"), "wav", RATE, 1).size == RATE


@pytest.mark.parametrize("audio_format", ["mp3", "flac", "aac"])
def test_garbage_names_the_format(audio_format: str) -> None:
    with pytest.raises(PoisonError, match=f"called {audio_format}"):
        decode(b"this is not sound at all", audio_format, RATE, 1)


@pytest.mark.parametrize(
    "body",
    [
        b"RIFF\x00\x00\x00\x00WAVE",
        b"fLaC" + bytes(200),
        b"\xff\xf1" + bytes(200),
        b"\xff\xfb" + bytes(200),
        b"ID3" + bytes(200),
        b"\x00\x00\x00\x18ftypM4A " + bytes(200),
    ],
)
def test_a_header_without_sound_is_poison(body: bytes) -> None:
    with pytest.raises(PoisonError, match="wav audio"):
        decode(body, "wav", RATE, 1)


def test_raw_pcm_of_an_odd_size_is_poison() -> None:
    with pytest.raises(PoisonError, match="no RIFF header, and its 5 bytes"):
        decode(b"12345", "wav", RATE, 1)
    with pytest.raises(PoisonError, match="0 bytes"):
        decode(b"", "wav", RATE, 1)


def test_a_small_body_does_not_unpack_to_hours() -> None:
    hour = np.zeros(RATE * 400, np.int16)
    with pytest.raises(PoisonError, match="longer than 300 s"):
        decode(encode(hour, "flac"), "flac", RATE, 1)


def test_a_playlist_is_never_opened() -> None:
    with pytest.raises(PoisonError):
        decode(b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\nfile:///etc/passwd\n", "mp3", RATE, 1)


def test_a_silly_sample_rate_is_poison() -> None:
    body = bytearray(wav(TONE))
    body[24:28] = struct.pack("<I", 1)
    with pytest.raises(PoisonError, match="sample rate of 1 Hz"):
        decode(bytes(body), "wav", RATE, 1)


def test_real_speech_survives_every_encoding() -> None:
    samples = speech("sense_and_sensibility_0880")
    for audio_format in ("flac", "mp3", "aac"):
        sound = decode(encode(samples, audio_format, 44_100, 2), audio_format, 44_100, 2)
        assert sound.std() == pytest.approx(samples.std() / 32_768, rel=0.1)


def test_more_channels_than_the_contract_has_are_poison() -> None:
    body = bytearray(wav(TONE))
    body[22:24], body[32:34] = struct.pack("<H", 10), struct.pack("<H", 20)
    with pytest.raises(PoisonError, match="10 channels"):
        decode(bytes(body), "wav", RATE, 1)
