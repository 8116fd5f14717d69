"""Laws of the music tokenizer: lengths, streams, training, official names."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from motionloom.errors import CheckpointError, RequestError
from motionloom.models.checkpoint import load_checkpoint, save_checkpoint
from motionloom.models.tokenizers.music import MusicTokenizer, MusicTokenizerConfig
from motionloom.models.tokenizers.music_training import music_from_official, music_loss, spectral_loss

FORMS = ["tiny", "tiny_published"]


def model(form: str = "tiny", seed: int = 0) -> MusicTokenizer:
    torch.manual_seed(seed)
    made = MusicTokenizer.tiny() if form == "tiny" else MusicTokenizer.tiny_published()
    made.quantizer.codebook.normal_()
    return made.eval()


def sound(samples: int, seed: int = 0, clips: int = 1) -> torch.Tensor:
    return 2 * torch.rand(clips, samples, generator=torch.Generator().manual_seed(seed)) - 1


def cut(whole: torch.Tensor, seed: int) -> Iterator[torch.Tensor]:
    """Blocks of random sizes, empty ones among them."""
    stream, place = torch.Generator().manual_seed(seed), 0
    while place < len(whole):
        size = int(torch.randint(0, 2 + len(whole) // 2, (), generator=stream))
        yield whole[place : place + size]
        place += size


@settings(max_examples=10)
@given(samples=st.integers(8, 700), form=st.sampled_from(FORMS))
@torch.no_grad()
def test_a_token_is_whole_samples(samples: int, form: str):
    tokenizer = model(form)
    assert tokenizer.samples_per_token == 8
    ids = tokenizer.encode(sound(samples, clips=2))
    assert ids.shape == (2, samples // 8)
    assert tokenizer.decode(ids).shape == (2, samples // 8 * 8)


@settings(max_examples=10)
@given(samples=st.integers(8, 900), seed=st.integers(0, 99), tokens=st.integers(8, 60), form=st.sampled_from(FORMS))
@torch.no_grad()
def test_a_stream_equals_the_whole(samples: int, seed: int, tokens: int, form: str):
    tokenizer, whole = model(form), sound(samples, seed)
    want = tokenizer.encode(whole)[0]
    parts = list(tokenizer.encode_stream(cut(whole[0], seed), tokens))
    assert torch.equal(torch.cat(parts), want)
    back = torch.cat(list(tokenizer.decode_stream(cut(want, seed + 1), tokens)))
    torch.testing.assert_close(back, tokenizer.decode(want[None])[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_nothing_beyond_the_reach_matters(form: str):
    """By hand: change one sample, and see which latents and which decoded samples change."""
    tokenizer, whole = model(form), sound(1600)
    changed = whole.clone()
    changed[0, 800] += 1
    moved = (tokenizer.latents(whole) != tokenizer.latents(changed)).any(2)[0].nonzero()[:, 0]
    assert 100 - tokenizer.reach <= int(moved.min()) <= 100 <= int(moved.max()) <= 100 + tokenizer.reach
    ids = tokenizer.encode(whole)
    other = ids.clone()
    other[0, 100] = (other[0, 100] + 1) % 16
    moved = (tokenizer.decode(ids) != tokenizer.decode(other))[0].nonzero()[:, 0] // 8
    assert 100 - tokenizer.reach <= int(moved.min()) <= 100 <= int(moved.max()) <= 100 + tokenizer.reach


@torch.no_grad()
def test_a_stream_holds_only_a_window():
    tokenizer = model()
    longest = 0

    def blocks() -> Iterator[torch.Tensor]:
        for seed in range(20):
            yield sound(1000, seed)[0]

    encode = tokenizer.encode

    def watched(samples: torch.Tensor) -> torch.Tensor:
        nonlocal longest
        longest = max(longest, samples.shape[1])
        return encode(samples)

    tokenizer.encode = watched  # type: ignore[method-assign]
    assert sum(len(ids) for ids in tokenizer.encode_stream(blocks(), tokens=50)) == 2500
    assert longest <= (50 + 3 * tokenizer.reach + 2) * 8


def test_training_lowers_the_loss():
    torch.manual_seed(0)
    tokenizer = MusicTokenizer.tiny().train()
    optimizer = torch.optim.AdamW(tokenizer.parameters(), lr=3e-3)
    time = torch.arange(4096) / 22050
    x = torch.stack([0.5 * torch.sin(2 * torch.pi * pitch * time) for pitch in (220.0, 330.0)])
    losses = []
    for _ in range(25):
        loss = music_loss(tokenizer(x), x)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        losses.append(loss.total.item())
    assert losses[-1] < 0.95 * losses[0]


def test_spectral_loss_by_hand():
    x, y = sound(4096), sound(4096, 1)
    assert spectral_loss(x, x) == 0
    assert spectral_loss(y, x) > 0.1
    # Half as loud: convergence 1/2, log magnitude ln 2, at every scale.
    torch.testing.assert_close(spectral_loss(0.5 * x, x), torch.tensor(0.5 + 0.6931), atol=2e-3, rtol=0)
    with pytest.raises(RequestError, match="clips have 100 samples; spectra need 2048"):
        spectral_loss(x[:, :100], x[:, :100])


def test_the_published_size_and_rates():
    with torch.device("meta"):
        top, ours = MusicTokenizer(MusicTokenizerConfig.published()), MusicTokenizer(MusicTokenizerConfig())
    sizes = [sum(p.numel() for p in m.parameters()) for m in (top.encoder, top.decoder, top.out)]
    assert (sizes[0], sizes[1] + sizes[2]) == (168_224, 176_481)
    assert top.quantizer.codebook.shape == (2048, 64)
    assert top.samples_per_token == 128
    assert 5 * 22050 // top.samples_per_token == 861
    assert ours.tokens_per_second <= 50


def official_state(seed: int = 0) -> dict[str, torch.Tensor]:
    """Jukebox's names, by hand: strides of 2, stages of 2 and 1, depth 2, width 8, codes of size 6; level 1 of 2."""
    g, state = torch.Generator().manual_seed(seed), {}

    def conv(name: str, *shape: int, bias: int) -> None:
        state[f"{name}.weight"] = torch.randn(*shape, generator=g) * 0.3
        state[f"{name}.bias"] = torch.randn(bias, generator=g) * 0.3

    def residuals(name: str) -> None:
        for block in range(2):
            conv(f"{name}.model.{block}.model.1", 8, 8, 3, bias=8)
            conv(f"{name}.model.{block}.model.3", 8, 8, 1, bias=8)

    for stage, downs in enumerate((2, 1)):
        down, up = f"encoders.1.level_blocks.{stage}.model", f"decoders.1.level_blocks.{stage}.model"
        for i in range(downs):
            conv(f"{down}.{i}.0", 8, 8 if i else (6 if stage else 1), 4, bias=8)
            residuals(f"{down}.{i}.1")
            residuals(f"{up}.{i + 1}.0")
            wide = 6 if i == downs - 1 else 8
            conv(f"{up}.{i + 1}.1", 8, wide, 4, bias=wide)
        conv(f"{down}.{downs}", 6, 8, 3, bias=6)
        conv(f"{up}.0", 8, 6, 3, bias=8)
    conv("decoders.1.out", 1, 6, 3, bias=1)
    state["bottleneck.level_blocks.1.k"] = torch.randn(16, 6, generator=g)
    state["encoders.0.level_blocks.0.model.0.0.weight"] = torch.randn(8, 1, 4, generator=g)
    return state


@torch.no_grad()
def test_official_names_lead_to_the_same_sound():
    """The network as Jukebox's paper describes it, run on the official names, against ours after renaming."""
    state = official_state()

    def conv(x, name, **options):
        return F.conv1d(x, state[f"{name}.weight"], state[f"{name}.bias"], **options)

    def residuals(x, name, dilations):
        for block, dilation in enumerate(dilations):
            y = conv(x.relu(), f"{name}.model.{block}.model.1", padding=dilation, dilation=dilation)
            x = x + conv(y.relu(), f"{name}.model.{block}.model.3")
        return x

    config, ours = music_from_official({f"module.{key}": value for key, value in state.items()}, level=1)
    assert (config.strides, config.groups, config.depth, config.code_dim) == ((2, 2, 2), (2, 1), 2, 6)
    tokenizer = MusicTokenizer(config).eval()
    tokenizer.load_state_dict(ours, strict=True)

    x = whole = sound(203)
    x = x[:, None]
    for stage, downs in enumerate((2, 1)):
        name = f"encoders.1.level_blocks.{stage}.model"
        for i in range(downs):
            x = residuals(conv(x, f"{name}.{i}.0", stride=2, padding=1), f"{name}.{i}.1", (1, 3))
        x = conv(x, f"{name}.{downs}", padding=1)
    torch.testing.assert_close(tokenizer.latents(whole).mT, x, atol=1e-4, rtol=1e-4)
    ids = tokenizer.encode(whole)
    assert torch.equal(ids[0], torch.cdist(x[0].T, state["bottleneck.level_blocks.1.k"]).argmin(1))
    y = state["bottleneck.level_blocks.1.k"][ids].mT
    for stage, downs in ((1, 1), (0, 2)):
        name = f"decoders.1.level_blocks.{stage}.model"
        y = conv(y, f"{name}.0", padding=1)
        for i in range(1, downs + 1):
            y = residuals(y, f"{name}.{i}.0", (3, 1))
            y = F.conv_transpose1d(y, state[f"{name}.{i}.1.weight"], state[f"{name}.{i}.1.bias"], stride=2, padding=1)
    y = conv(y, "decoders.1.out", padding=1)[:, 0]
    torch.testing.assert_close(tokenizer.decode(ids), y, atol=1e-4, rtol=1e-4)


def test_official_files_must_be_known():
    with pytest.raises(CheckpointError, match="no official music tokenizer"):
        music_from_official({"a": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"unknown keys in .*: encoders\.1\.level_blocks\.0\.model\.7\.weight"):
        music_from_official(official_state() | {"encoders.1.level_blocks.0.model.7.weight": torch.zeros(1)}, 1)


def test_a_saved_tokenizer_is_the_same(tmp_path):
    tokenizer = model("tiny_published")
    save_checkpoint(tmp_path / "music", tokenizer, {}, [], "test", "a card")
    loaded = load_checkpoint(tmp_path / "music").model
    assert isinstance(loaded, MusicTokenizer)
    assert loaded.config == tokenizer.config
    assert torch.equal(loaded.encode(sound(400)), tokenizer.encode(sound(400)))


def test_errors_say_what_to_do():
    tokenizer = model()
    with pytest.raises(RequestError, match="7 samples; a token needs 8"):
        tokenizer.encode(sound(7))
    with pytest.raises(RequestError, match="NaN or infinite"):
        tokenizer.encode(sound(80) * float("nan"))
    with pytest.raises(RequestError, match="the stream is empty"):
        list(tokenizer.encode_stream([]))
    with pytest.raises(RequestError, match="0 tokens at once"):
        list(tokenizer.decode_stream([torch.zeros(3).long()], tokens=0))
    with pytest.raises(RequestError, match=r"the codebook has 0\.\.15"):
        tokenizer.decode(torch.full((1, 4), 16))
    with pytest.raises(RequestError, match="groups that add up"):
        MusicTokenizerConfig(groups=(2,))
    with pytest.raises(RequestError, match="even strides"):
        MusicTokenizerConfig(strides=(8, 8, 3))
    with pytest.raises(RequestError, match="depth is 0"):
        MusicTokenizerConfig(depth=0)
