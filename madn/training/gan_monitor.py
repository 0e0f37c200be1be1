"""Whether a discriminator has won or collapsed, by the means of its terms in the last rounds, as the log has them."""

from collections.abc import Mapping, Sequence

ROUNDS = 3  # in a row; one alone may be a swing
WON = 0.01  # of the loss of guessing
GUESSING = 1e-3  # relative distance from it: the mean of a round varies by more as long as scores depend on the images
FLAT = 1e-3  # gap of scores; images that differ by 0.002 everywhere could be kept apart by 0.1 in crops of 32 pixels
HELD = 1.0  # gradient penalty (norm - 1)^2: no norm up to 2 gives more
RUNAWAY = 100.0  # gap of scores; twice the distance of images of 256 pixels at 25 dB, which bounds it


def loss_verdict(losses: Sequence[float], guessing: float) -> str | None:
    """Of a loss that is 0 where every score is right and `guessing` where all scores are the same.

    `losses`: one for each round so far. None: nothing to say.
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
    """Of a WGAN-GP discriminator: E[D(sharp)] - E[D(restored)] and E[(||grad D|| - 1)^2], one of each for each round so far.

    A growing gap is what it is trained for, and no victory. None: nothing to say.
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
