"""The two-parameter rooflines of `device_profiles/`, fitted anew: `python benchmarks/measuring/roofline.py`.

Latencies are ncnn's own (Tencent/ncnn, commit a4d2ea1, benchmark/README.md): `benchncnn`, 224 x 224, batch 1, the least of its loops, ms. Multiply-accumulates,
parameters and activations (what the convolutions write) are those that the networks' papers and model zoos state, in millions. The fit
is least squares in the logarithm, by a grid that is refined; the error is the root mean square of what is left, as a factor.

ncnn has figures of an AGX Orin and a Snapdragon 8 Gen 2, too. They are left out: the first fit gives twice the arithmetic that its cores can do (951 of 422 GMAC/s
in fp16), the second no bandwidth in int8, so neither would foretell another network.

Below stand latencies of another runtime (google/XNNPACK, README, float with all cores) that no fit has seen, over what the fit expects.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

MILLIONS = {
    "mobilenet": (569.0, 4.2, 5.0),
    "mobilenet_v2": (301.0, 3.5, 6.7),
    "mobilenet_v3": (217.0, 5.5, 4.4),
    "resnet18": (1814.0, 11.7, 2.5),
    "resnet50": (4089.0, 25.6, 11.1),
    "efficientnet_b0": (390.0, 5.3, 6.7),
}
FLOATS = ("mobilenet", "mobilenet_v2", "mobilenet_v3", "resnet18", "resnet50", "efficientnet_b0")
INTEGERS = ("mobilenet", "resnet18", "resnet50")
BYTES = {"fp32": 4.0, "fp16": 2.0, "int8": 1.0}


class Series(NamedTuple):
    """Measured ms of `FLOATS`, or of `INTEGERS` for int8."""

    profile: str
    dtype: str
    threads: int
    ms: tuple[float, ...]


MEASURED = (
    Series("pi-zero-2w", "fp32", 4, (163, 146, 114, 351, 777, 202)),
    Series("pi-zero-2w", "fp32", 1, (394, 274, 234, 654, 1801, 518)),
    Series("pi-zero-2w", "int8", 4, (91, 195, 497)),
    Series("pi-zero-2w", "int8", 1, (287, 479, 1312)),
    Series("pi3", "fp32", 4, (108, 111, 86, 271, 584, 135)),
    Series("pi3", "int8", 4, (67, 160, 384)),
    Series("pi4", "fp32", 4, (61, 62, 47, 122, 262, 74)),
    Series("pi4", "fp32", 1, (124, 93, 72, 191, 533, 129)),
    Series("pi4", "int8", 4, (34, 82, 196)),
    Series("pi4", "int8", 1, (85, 158, 424)),
    Series("pi5", "fp16", 4, (9.0, 10.5, 7.3, 19.8, 45.9, 12.3)),
    Series("pi5", "fp16", 1, (20.2, 16.2, 11.6, 29.5, 89, 24.1)),
    Series("pi5", "int8", 4, (8.7, 16.7, 40.2)),
    Series("pi5", "int8", 1, (14.4, 36.3, 80)),
    Series("jetson-nano", "fp32", 4, (42, 34, 31, 83, 203, 68)),
    Series("jetson-nano", "int8", 4, (31, 59, 158)),
    Series("jetson-orin-nano", "fp16", 6, (7.0, 5.9, 5.6, 12.3, 38.7, 10.1)),
    Series("jetson-orin-nano", "int8", 6, (5.9, 13.0, 28.7)),
)


UNSEEN = {
    "pi3": {"mobilenet": 115.0, "mobilenet_v2": 79.0, "mobilenet_v3": 67.0},
    "pi4": {"mobilenet": 75.0, "mobilenet_v2": 44.0, "mobilenet_v3": 41.0},
}


def predict_ms(gmac_per_s: float, gb_per_s: float, size: tuple[float, float, float], width: float) -> float:
    """`MAC / P + (parameters + 2 activations) bytes / BW`, in ms."""
    macs, parameters, activations = size
    return macs / gmac_per_s + (parameters + 2 * activations) * width / gb_per_s


def error(rates: tuple[float, float], series: Series) -> float:
    """Root mean square of the logarithms of predicted over measured."""
    names = INTEGERS if series.dtype == "int8" else FLOATS
    left = [
        math.log(predict_ms(*rates, MILLIONS[name], BYTES[series.dtype]) / ms)
        for name, ms in zip(names, series.ms, strict=True)
    ]
    return math.sqrt(sum(value * value for value in left) / len(left))


def fit(series: Series) -> tuple[float, float]:
    """Return (GMAC/s, GB/s) with the least error, in 0.1 to 1000 and 0.05 to 200."""
    low, high = (math.log(0.1), math.log(0.05)), (math.log(1000.0), math.log(200.0))
    best = (1.0, 1.0)
    for _ in range(6):
        best = min(_grid(low, high), key=lambda rates: error(rates, series))
        span = ((high[0] - low[0]) / 8, (high[1] - low[1]) / 8)
        low = (math.log(best[0]) - span[0], math.log(best[1]) - span[1])
        high = (math.log(best[0]) + span[0], math.log(best[1]) + span[1])
    return best


def _grid(low: tuple[float, float], high: tuple[float, float], steps: int = 40) -> Iterator[tuple[float, float]]:
    for one in range(steps + 1):
        for two in range(steps + 1):
            yield (
                math.exp(low[0] + (high[0] - low[0]) * one / steps),
                math.exp(low[1] + (high[1] - low[1]) * two / steps),
            )


def main() -> None:
    """Print one line for each series, as the profiles have them."""
    for series in MEASURED:
        rates = fit(series)
        factor = math.exp(error(rates, series))
        print(
            f"{series.profile:18} {{ dtype = {series.dtype!r}, threads = {series.threads}, gmac_per_s = {rates[0]:.3g}, gb_per_s = {rates[1]:.2g}, error_factor = {factor:.2f} }}"
        )
    for profile, measured in UNSEEN.items():
        series = next(found for found in MEASURED if found[:3] == (profile, "fp32", 4))
        rates = fit(series)
        factors = (f"{name} {ms / predict_ms(*rates, MILLIONS[name], 4.0):.2f}" for name, ms in measured.items())
        print(f"{profile:18} measured by XNNPACK over expected: {', '.join(factors)}")


if __name__ == "__main__":
    main()
