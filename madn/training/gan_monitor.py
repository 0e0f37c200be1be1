"""GAN monitor: whether a discriminator has won or collapsed, judged by the log's means of its last rounds."""

from collections.abc import Mapping, Sequence

ROUNDS = 3  # A verdict takes so many rounds in a row, for one alone may be a swing.
WON = 0.01  # Below this share of the loss of guessing, a discriminator is right about everything.
# So close to the loss of guessing it guesses: a round's mean varies by more while scores depend on the images.
GUESSING = 1e-3
# A gap of scores below this tells nothing apart: crops of 32 pixels that differ by 0.002 could be 0.1 apart.
FLAT = 1e-3
HELD = 1.0  # The gradient penalty (norm - 1)^2 is at most this for every norm up to 2.
# The gap of scores is bounded by the distance of the images; this is twice that of 256 pixels at 25 dB.
RUNAWAY = 100.0


def loss_verdict(losses: Sequence[float], guessing: float) -> str | None:
    """Judge a loss that is 0 where every score is right, and `guessing` where all scores are the same.

    `losses` has one for each round so far. Returns None where there is nothing to say.
    """
    last = losses[-ROUNDS:]
    if len(last) < ROUNDS:
        return None
    if max(last) < WON * guessing:
        return "has won"
    if max(abs(loss / guessing - 1) for loss in last) < GUESSING:
        return "has collapsed"
    return None


def wasserstein_verdict(gaps: Sequence[float], penalties: Sequence[float]) -> str | None:
    """Judge a WGAN-GP discriminator by its gaps and penalties, one of each for each round so far.

    A gap is E[D(sharp)] - E[D(restored)], a penalty E[(||grad D|| - 1)^2]. A growing gap is what it is trained for, and
    no victory. Returns None where there is nothing to say.
    """
    last, before = gaps[-ROUNDS:], gaps[-ROUNDS - 1 : -1]
    if len(last) < ROUNDS:
        return None
    if len(before) == ROUNDS and last[-1] > RUNAWAY and all(b > 2 * a > 0 for a, b in zip(before, last, strict=True)):
        return "runs away"
    if min(penalties[-ROUNDS:]) > 1.1 * HELD:
        return "is not held by its gradient penalty"
    if max(map(abs, last)) < FLAT:
        return "has collapsed"
    return None


MEANING = {
    "has won": "it is right about every crop, and the generator learns little from it: lower --lr-d",
    "has collapsed": "it scores sharp and restored crops alike, and the generator learns nothing from it: see --lr-d",
    "runs away": "the gap between its scores of sharp and restored crops doubles every round: lower --lr-d",
    "is not held by its gradient penalty": "the penalty stays above 1, as with gradients beyond 2: lower --lr-d",
}


def column(rounds: Sequence[Mapping], term: str) -> list[float]:
    """The means of a term in those lines of a log that have it."""
    return [float(row[term]) for row in rounds if row.get(term) not in (None, "")]
