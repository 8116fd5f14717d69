"""Figures of an engine for what is danced and heard; see ``language.py``.

Real dances are rare in the stores at hand, so to keep the beats of music is measured on motions of any kind with music
made to them, and only what sentences say of dances on real dances, those of the validation split among them.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from motionloom.conditions.beats import beats
from motionloom.data.loader import is_whole
from motionloom.data.sound.features import is_dance
from motionloom.data.sound.music import Accompaniment, accompany
from motionloom.data.store import Clip, Store
from motionloom.engines.base import Engine
from motionloom.engines.request import Request, Segment
from motionloom.engines.text_motion import TextMotionScorer
from motionloom.errors import DataError
from motionloom.evaluation.comparison import FPS, Makers, Rows, aligned, covered, kinetic, piece_of, shifted
from motionloom.metrics.dance import dance_scores
from motionloom.metrics.language import caption_scores
from motionloom.metrics.seams import seam_jerk
from motionloom.motion.motion import Motion

_SHORTEST = 3.0
"""Shortest motion with music [s]."""
_SENTENCES = 5
"""Sentences of a dance, and pieces of music, that are tried."""
_HEARD = 5.0
"""Longest music that is put into words [s]: the crops of M3GPT's paper."""
_CANDIDATES = 4
"""Pieces of music that are written, of which the one that fits best is kept."""
_LONG = (12.0, 30.0)
"""How long a long dance is [s]."""
_HELD_OUT = ("val", "test")


class DanceMeasures:
    """What is measured with music.

    Args:
        engine: The engine.
        makers: It and others, side by side.
        scorer: Text-motion encoder.
        store: Where dances are from.
        motions: Real motions of the split.
        captions: A sentence for each.
    """

    def __init__(
        self,
        engine: Engine,
        makers: Makers,
        scorer: TextMotionScorer,
        store: Store,
        motions: Sequence[Motion],
        captions: Sequence[str],
    ) -> None:
        self.engine, self.makers, self.scorer, self.store = engine, makers, scorer, store
        self.motions, self.captions = list(motions), list(captions)

    @cached_property
    def pairs(self) -> list[tuple[Motion, Accompaniment, str]]:
        """Motions long enough to dance, with music synthesised to them and their sentence."""
        found = [
            (motion, accompany(motion, self.makers.seed(index)), caption)
            for index, (motion, caption) in enumerate(zip(self.motions, self.captions, strict=True))
            if motion.seconds >= _SHORTEST
        ]
        found = [pair for pair in found if len(pair[1].beats) > 1]
        if len(found) < 3:
            raise DataError(f"the split has {len(found)} motions with music; at least 3 are needed")
        return found

    @cached_property
    def known_dances(self) -> list[Clip]:
        """Dances that are held out."""
        found = [
            clip
            for split in _HELD_OUT
            for clip in self.store.split(split)
            if is_dance(clip) and is_whole(clip) and clip.captions and clip.seconds >= _SHORTEST
        ]
        if len(found) < 2:
            raise DataError(f"{self.store.path} holds out {len(found)} dances; at least 2 are needed")
        return found

    def dances(self) -> tuple[int, Rows]:
        """Whether dances keep the beats of their own music, and how they move."""
        requests = [
            Request((Segment("", motion.seconds, music=music.sound),), FPS, seed=self.makers.seed(index))
            for index, (motion, music, _) in enumerate(self.pairs)
        ]
        real = [motion for motion, _, _ in self.pairs]
        plain = self.makers.run([replace(one, in_time=False) for one in requests], {"music", "unconditioned"})
        still = {
            "real": real,
            **self.makers.run(requests, {"music", "unconditioned"}),
            **{f"{name}, not warped": motions for name, motions in plain.items()},
        }
        music = [pair.beats for _, pair, _ in self.pairs]
        moves = {name: torch.stack([kinetic(motion) for motion in some]) for name, some in still.items()}
        rows: Rows = {}
        for name, some in still.items():
            scores = dance_scores(moves["real"], moves[name])
            rows[name] = {**aligned(some, music), "FIDk": scores.fid, "Divk": scores.diversity}
            rows[f"{name}, shuffled music"] = aligned(some, shifted(music))
        return len(real), rows

    def music(self) -> tuple[int, Rows]:
        """Whether the music made keeps the beats of its dance, and those of the music that was there."""
        motions = [motion for motion, _, _ in self.pairs]
        true = [beats(music.sound.samples, music.sound.rate) for _, music, _ in self.pairs]
        rows = {}
        chosen, first = (self._composed(motions, candidates) for candidates in (_CANDIDATES, 1))
        for name, found in (("real", true), ("engine", chosen), ("engine, first piece", first)):
            rows[name] = {**aligned(motions, found), **covered(true, found, motions)}
            other = shifted(found)
            rows[f"{name}, shuffled pairs"] = {**aligned(motions, other), **covered(true, other, motions)}
            rows[name]["without beats"] = float(np.mean([len(one) == 0 for one in found]))
        return len(motions), rows

    def _composed(self, motions: Sequence[Motion], candidates: int) -> list[Tensor]:
        """Beats of the music that the engine writes."""
        sounds = [
            self.engine.compose(motion, seed=self.makers.seed(index), candidates=candidates)
            for index, motion in enumerate(motions)
        ]
        return [beats(sound.samples, sound.rate) for sound in sounds]

    def told(self) -> tuple[int, Rows]:
        """Whether dances made for a sentence look like dances to the text-motion encoder."""
        clips = self.known_dances
        told = [(text, clip) for clip in clips for text in clip.captions[:_SENTENCES]]
        texts = [text for text, _ in told]
        real = {clip.id: piece_of(self.store.motion(clip), self.makers.longest) for clip in clips}
        requests = [
            Request((Segment(text, real[clip.id].seconds),), FPS, seed=self.makers.seed(index))
            for index, (text, clip) in enumerate(told)
        ]
        made = {"real": [real[clip.id] for _, clip in told], **self.makers.run(requests, {"text"})}
        # Sentences of what is no dance, to be mistaken for.
        others = list(dict.fromkeys(text for text in self.captions if text not in set(texts)))
        words, wrong = self.scorer.texts(texts), self.scorer.texts(others)
        rows = {}
        for name, motions in made.items():
            seen = self.scorer.motions(motions)
            nearest = (seen @ wrong.T).amax(1)
            rows[name] = {
                "MM-Dist": float((seen - words).norm(dim=1).mean()),
                "nearer to its sentence than to any of no dance": float(
                    ((seen * words).sum(1) > nearest).float().mean()
                ),
                "nearest is a dance": float(((seen @ words.T).amax(1) > nearest).float().mean()),
            }
        return len(told), rows

    def heard(self) -> tuple[int, Rows]:
        """Sentences on how one dances to music, against those of the dance that the music was made for."""
        train = [clip for clip in self.store.split("train") if is_dance(clip)]
        frequent = Counter(text for clip in train for text in dict.fromkeys(clip.captions)).most_common(1)
        made, references = [], []
        for place, clip in enumerate(self.known_dances):
            motion = piece_of(self.store.motion(clip), _HEARD)
            for turn in range(_SENTENCES):
                sound = accompany(motion, self.makers.seed(_SENTENCES * place + turn)).sound
                made.append(self.engine.music_to_text(sound, 1)[0].text)
                references.append(list(clip.captions))
        other = [text[0] for text in shifted(references)]
        rivals = {"engine": made, "another dance's caption": other}
        if frequent:
            rivals["most frequent caption of dances"] = [frequent[0][0]] * len(made)
        rows = {}
        for name, texts in rivals.items():
            scores = caption_scores(texts, references)
            rows[name] = {
                "BLEU-1": scores.bleu[0], "BLEU-4": scores.bleu[3], "ROUGE-L": scores.rouge_l, "CIDEr": scores.cider,
                "different": float(len(set(texts))),
            }  # fmt: skip
        return len(made), rows

    def both(self) -> tuple[int, Rows]:
        """Music and a sentence at once, which is not taught: is either followed?"""
        requests = [
            Request((Segment(caption, motion.seconds, music=music.sound),), FPS, seed=self.makers.seed(index))
            for index, (motion, music, caption) in enumerate(self.pairs)
        ]
        found = {"real": [motion for motion, _, _ in self.pairs], **self.makers.run(requests, {"music", "text"})}
        music, words = [pair.beats for _, pair, _ in self.pairs], self.scorer.texts([text for _, _, text in self.pairs])
        rows: Rows = {}
        for name, some in found.items():
            seen = self.scorer.motions(some)
            rows[name] = {**aligned(some, music), "MM-Dist": _apart(seen, words)}
            other = torch.stack(shifted(list(words)))
            rows[f"{name}, shuffled"] = {**aligned(some, shifted(music)), "MM-Dist": _apart(seen, other)}
        return len(self.pairs), rows

    def long(self) -> tuple[int, Rows]:
        """Dances longer than a prompt, piece by piece: are the seams seen, and are beats kept to the end?"""
        least, most = _LONG
        clips = [
            clip for split in _HELD_OUT for clip in self.store.split(split) if clip.seconds >= least and is_whole(clip)
        ]
        if len(clips) < 2:
            raise DataError(f"{self.store.path} holds out {len(clips)} clips of {least:g} s; at least 2 are needed")
        real = [piece_of(self.store.motion(clip), most) for clip in clips]
        music = [accompany(motion, self.makers.seed(index)) for index, motion in enumerate(real)]
        requests = [
            Request((Segment("", motion.seconds, music=each.sound),), FPS, seed=self.makers.seed(index))
            for index, (motion, each) in enumerate(zip(real, music, strict=True))
        ]
        needs, times = {"music", "unconditioned", "segments"}, [each.beats for each in music]
        made = self.makers.run(requests, needs)
        plain = self.makers.run([replace(one, in_time=False) for one in requests], needs)
        meets = [self.engine.seams(request) for request in requests]
        rows: Rows = {}
        for name, some in {"real": real, **made}.items():
            rows[name] = aligned(some, times)
            rows[f"{name}, shuffled music"] = aligned(some, shifted(times))
            # Played faster and slower, seams would lie elsewhere.
            jerks = [
                seam_jerk(motion.positions, motion.fps, [round(time * motion.fps) for time in seams]).ratio
                for motion, seams in zip(plain.get(name, some), meets, strict=True)
                if seams
            ]
            if jerks:
                rows[name]["jerk at the seams / 95th percentile"] = float(np.mean(jerks))
        return len(real), rows


def _apart(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm(dim=1).mean())
