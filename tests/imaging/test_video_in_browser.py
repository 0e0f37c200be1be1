"""A phone's video, restored, in a headless Chromium: it plays, upright, in its colours and with its sound."""

import browser
import numpy as np
import pytest
from imaging.videos import PHONE, UNEVEN, make, stored
from skimage import data

from madn.imaging.video import restore_video

pytestmark = [pytest.mark.slow, pytest.mark.process]
HEIGHT, WIDTH = 240, 320
QUARTER = (0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
PLAY = """
const done = arguments[arguments.length - 1], video = document.createElement("video");
video.src = arguments[0];
document.body.append(video);
video.onerror = () => done({error: video.error.message});
video.onended = () => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    const context = canvas.getContext("2d");
    context.drawImage(video, 0, 0);
    done({
        width: video.videoWidth, height: video.videoHeight, seconds: video.duration,
        frames: video.getVideoPlaybackQuality().totalVideoFrames,
        sound: video.webkitAudioDecodedByteCount,
        pixels: Array.from(context.getImageData(0, 0, canvas.width, canvas.height).data),
    });
};
video.play().catch(error => done({error: String(error)}));
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    driver = browser.start(
        tmp_path_factory.mktemp("browser"),
        "--autoplay-policy=no-user-gesture-required",
        "--allow-file-access-from-files",  # without which what a video shows cannot be looked at
    )
    driver.set_script_timeout(60)
    yield driver
    driver.quit()


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
@pytest.mark.parametrize("times", [np.arange(30) / 30, np.concatenate([UNEVEN, UNEVEN + 0.6])], ids=["even", "uneven"])
def test_chromium_plays_it(tmp_path, driver, suffix, times):
    photo = data.astronaut()[:HEIGHT, :WIDTH].astype(float)
    weights = np.array([[0.2126, 0.7152, 0.0722], [-0.1146, -0.3854, 0.5], [0.5, -0.4542, -0.0458]])
    y, u, v = np.moveaxis(photo @ weights.T, 2, 0)  # BT.709's, as phones have it
    chroma = [(128 + part.reshape(HEIGHT // 2, 2, WIDTH // 2, 2).mean((1, 3)) * 224 / 255) for part in (u, v)]
    planes = [np.rint(part).astype(np.uint8) for part in (16 + y * 219 / 255, *chroma)]
    assert stored("yuv420p", planes).width == WIDTH
    source = make(
        tmp_path / "phone.mp4",
        times=times,
        height=HEIGHT,
        width=WIDTH,
        planes=lambda k: planes,
        sound="libopus" if suffix == ".webm" else "aac",
        metadata=PHONE,
        matrix=QUARTER,
        tags=(1, 1, 1, 1),
    )
    assert restore_video(source, tmp_path / f"out{suffix}", lambda pixels: 255 - pixels).notes == ()
    (tmp_path / "page.html").write_text("<body></body>")
    driver.get((tmp_path / "page.html").as_uri())
    seen = driver.execute_async_script(PLAY, (tmp_path / f"out{suffix}").as_uri())
    assert "error" not in seen, seen
    assert (seen["width"], seen["height"]) == (HEIGHT, WIDTH)  # Upright
    assert seen["seconds"] == pytest.approx(times[-1] + 1 / 25, abs=0.05) and seen["sound"] > 1000
    assert seen["frames"] == pytest.approx(len(times), abs=1)
    shown = np.reshape(seen["pixels"], (WIDTH, HEIGHT, 4))[..., :3]
    assert np.abs(shown - (255 - np.rot90(photo, -1))).mean() < 6
