"""Restoring a photo, timed in turns with plain convolutions and a matrix product."""

from dataclasses import replace

from madn import recipes
from madn.benchmarks.clock import PeakMemory, in_turns
from madn.benchmarks.machine import convolution_stack, matrix_product, on_gpu
from madn.benchmarks.measurements import RestorationJob
from madn.benchmarks.operations import run_counted
from madn.benchmarks.sample_images import photo
from madn.nn.macs import network_macs
from madn.restoration.inference import Inference
from madn.restoration.loading import Loaded, load_network
from madn.training.precision import dtype_policy


def measure(job: RestorationJob) -> dict:
    """Time a photo's way through `madn.restoration.restorer.Restorer`, as `madn.deblur` takes it, uint8 to uint8.

    The stack and the matrices have their turns between the photos: noise of the machine meets all three. The first
    photo, which compiles, is not timed; it is the one whose memory is taken. Operations of a photo in tiles are those
    of its tiles, once; PyTorch's counter also sees the passes that gather a photo's statistics.
    """
    memory = PeakMemory()
    loaded = load(job.source, job.precision)
    width, height = job.size or ((1280, 720) if on_gpu() else (640, 360))
    restorer = loaded.restorer(job.memory_gb, job.tile)
    plan, pixels = restorer.plan(height, width), photo(height, width)
    with memory:
        macs = run_counted(lambda: restorer(pixels))
    for _ in range(2 if on_gpu() else 0):
        restorer(pixels)
    stack, stack_macs = convolution_stack(plan.height, plan.width, job.precision)
    product, product_macs = matrix_product(job.precision)
    stack(), product()
    times = in_turns({"photo": lambda: restorer(pixels), "stack": stack, "product": product}, job.repeats, job.seconds)
    if macs is None and loaded.model is not None:
        macs = plan.count * network_macs(loaded.model, plan.height, plan.width).total
    return {
        "weights": "random" if job.source in recipes.named() else loaded.description,
        "size": [width, height],
        "tiles": str(plan),
        "tile_size": [plan.width, plan.height],
        "megapixels": width * height / 1e6,
        "seconds": times["photo"],
        "macs": macs,
        "peak_memory_bytes": memory.bytes,
        "stack": {"seconds": times["stack"], "macs": stack_macs},
        "matrix_product": {"seconds": times["product"], "macs": product_macs},
    }


def load(source: str, precision: str) -> Loaded:
    """A recipe by name, with random weights, or whatever `load_network` takes."""
    if source not in recipes.named():
        return load_network(source, precision="bfloat16" if precision == "mixed_bfloat16" else "float32")
    recipe = recipes.get(source)
    if hasattr(recipe, "backbone_weights"):
        recipe = replace(recipe, backbone_weights="none")  # type: ignore[call-arg]
    with dtype_policy(precision):
        generator = recipe.build_generator()
    return Loaded(Inference(generator), f"{source}, random weights", recipe, generator, source)
