"""What every engine can be asked for, as methods: each makes a ``Request`` and has it served by ``run_many``.

An engine names in ``serves`` which needs of a request it meets (``Request.needs``); the rest it refuses in one line.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib import metadata
from typing import Any, ClassVar

from motionloom.conditions.audio import Sound
from motionloom.conditions.keypoints import Keypoints
from motionloom.errors import RequestError
from motionloom.motion.blend import faster
from motionloom.motion.keep import Keep, frames
from motionloom.motion.motion import Motion, Provenance
from motionloom.tasks.complete import lay_out
from motionloom.tasks.keep_time import heard, keep_time
from motionloom.tasks.request import Request, Segment


class Verbs(ABC):
    """An engine, by what it can be asked for."""

    name: ClassVar[str]

    @property
    @abstractmethod
    def serves(self) -> frozenset[str]:
        """Needs of a request that the engine meets."""

    @abstractmethod
    def run_many(self, requests: list[Request]) -> list[list[Motion]]:
        """Serve several requests; each answer is what it would be alone.

        Raises:
            RequestError: A request needs what this engine does not serve, or lies outside its limits.
        """

    def run(self, request: Request) -> list[Motion]:
        """Serve a request.

        Raises:
            RequestError: The request needs what this engine does not serve, or lies outside its limits.
        """
        return self.run_many([request])[0]

    def generate(
        self,
        text: str = "",
        seconds: float | None = None,
        seed: int = 0,
        count: int = 1,
        fps: float | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        path: Sequence[tuple[float, float]] = (),
        loop: bool = False,
        best_of: int = 1,
        music: Sound | None = None,
        speech: Sound | None = None,
        keypoints: Keypoints | None = None,
        in_time: bool = True,
        **options: Any,
    ) -> list[Motion]:
        """Make motions for a sentence, for sound, for a video, or for several of them at once.

        Args:
            text: What the person does; empty for any motion.
            seconds: Length [s]; left out, it is that of the sound or video, or what such motions usually take.
            seed: Same seed, same motion, on the same machine.
            count: How many; the i-th depends on (seed, i) only.
            fps: Frame rate; the engine's own 20 when left out.
            steps: Passes through the network.
            guidance: How strongly conditions are followed; 1 is plain.
            path: Points x, z [m] that the root goes through, the last one at the end; see ``Request``.
            loop: Whether the end goes on into the beginning.
            best_of: Candidates a motion, of which the one that fits the text best is kept.
            music: What is danced to, from its first sample on; see ``conditions.audio.load_audio``.
            speech: What is said.
            keypoints: What a video shows of the person; see ``conditions.keypoints.load_keypoints``.
            in_time: With music: whether the motion is played up to 1.4 times faster or slower between beats, twice at
                its ends, so that it rests on the music's beats (``tasks/keep_time.py``).
            **options: Those of the engine.

        Raises:
            RequestError: The text is too long, the length beyond what the model makes, the path out of reach, an
                option unknown, or something is asked for that the engine does not serve.
        """
        segments = (Segment(text, seconds, music, speech, keypoints),)
        points = tuple((float(x), float(z)) for x, z in path)
        return self.run(
            Request(segments, fps, count, seed, steps, guidance, options, None, points, loop, best_of, in_time)
        )

    def complete(
        self,
        motion: Motion,
        keep: Keep,
        text: str = "",
        seed: int = 0,
        count: int = 1,
        before: float = 0.0,
        after: float = 0.0,
        fps: float | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        best_of: int = 1,
        music: Sound | None = None,
        speech: Sound | None = None,
        keypoints: Keypoints | None = None,
        **options: Any,
    ) -> list[Motion]:
        """Keep some of a motion and make the rest anew.

        Args:
            motion: Of the canonical body, at any frame rate; what is kept of it comes back to the bit.
            keep: Which spans of time and which parts of the body, for example
                ``ml.frames(0, 1.0) | ml.parts("legs")``.
            text: What the person does; empty for any motion that fits.
            seed: Same seed, same motion, on the same machine.
            count: How many; the i-th depends on (seed, i) only.
            before: Seconds to make before the motion.
            after: Seconds to make after it.
            fps: Frame rate; the motion's own when left out.
            steps: Passes through the network.
            guidance: How strongly conditions are followed; 1 is plain.
            best_of: See ``generate``.
            music: What is danced to; it begins where the answer begins.
            speech: What is said; it begins there too.
            keypoints: What a video shows; it begins there too.
            **options: Those of the engine.

        Raises:
            RequestError: The engine cannot keep body parts, there is nothing to keep or to make, or what is to be
                made is too long.
            MotionError: The motion is of another skeleton, or the choice leaves it.
        """
        known, seconds = lay_out(motion, keep.mask(len(motion), motion.fps), before, after)
        segments = (Segment(text, seconds, music, speech, keypoints),)
        return self.run(Request(segments, fps, count, seed, steps, guidance, options, known, best_of=best_of))

    def predict(self, motion: Motion, seconds: float, text: str = "", **more: Any) -> list[Motion]:
        """Go on where a motion ends.

        Args:
            motion: Comes back as it is, at the beginning of the answer.
            seconds: How much to make after it [s].
            text: What the person does next; empty for whatever fits.
            **more: As for ``complete``.
        """
        if not seconds > 0:
            raise RequestError(f"{seconds} s to predict; give a positive number of seconds")
        return self.complete(motion, frames(), text, after=seconds, **more)

    def story(
        self,
        lines: Sequence[Segment],
        seed: int = 0,
        count: int = 1,
        fps: float | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        best_of: int = 1,
        **options: Any,
    ) -> list[Motion]:
        """One motion for several sentences, with transitions between them; up to ten minutes.

        Args:
            lines: What happens, one after the other, each with its seconds; ``story.read_script`` reads a file.
            seed: Same seed, same motion, on the same machine.
            count: How many; the i-th depends on (seed, i) only.
            fps: Frame rate; the engine's own 20 when left out.
            steps: Passes through the network.
            guidance: How strongly conditions are followed; 1 is plain.
            best_of: See ``generate``.
            **options: Those of the engine.

        Raises:
            RequestError: There is no line, a line has no length or is too short, the story is too long, or the engine
                tells none.
        """
        return self.run(Request(tuple(lines), fps, count, seed, steps, guidance, options, best_of=best_of))

    def refuse_unserved(self, request: Request) -> None:
        """See that the engine serves what a request needs.

        Raises:
            RequestError: It does not.
        """
        lacking = sorted(request.needs - self.serves)
        if lacking:
            raise RequestError(
                f"engine {self.name!r} does not serve {', '.join(lacking)}; it serves {', '.join(sorted(self.serves))}"
            )

    def signed(self, motion: Motion, request: Request, licence: str) -> Motion:
        """The motion at the frame rate asked for, saying how it was made.

        Args:
            motion: What the engine made.
            request: What was asked for.
            licence: Of the model.
        """
        licences, notes = [licence], motion.provenance.notes
        if request.known is not None:
            kept = request.known.motion.provenance
            licences += [kept.licence] if kept.licence and kept.licence not in licences else []
            notes = (*notes, f"kept parts of {kept.source or 'a motion'}")
        if request.in_time and request.follows_music:
            motion, met = keep_time(motion, heard(request))
            if met:
                notes = (*notes, f"played faster and slower so that it rests on {met} beats of the music")
        if request.fps is not None and request.fps > motion.fps:
            notes = (*notes, f"made at {motion.fps:g} fps and read by splines")
        provenance = Provenance(
            source=f"motionloom {self.name}",
            licence="; ".join(licences),
            text="; ".join(segment.text for segment in request.segments if segment.text),
            seed=request.seed,
            engine=f"{self.name} {version()}",
            notes=notes,
        )
        motion = motion.with_(provenance=provenance)
        if request.fps is None or request.fps == motion.fps:
            return motion
        # Straight lines between frames would show as a jerk at every one of the model's own.
        return faster(motion, request.fps) if request.fps > motion.fps else motion.at_fps(request.fps)


def version() -> str:
    """Version of the installed package."""
    return metadata.version("motionloom")
