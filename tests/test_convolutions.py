"""Forms of a convolution: each does what torch's own does, output, JVP and VJP."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from graphs import OnGPU
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from harness.encoders.convolutions import choose as forms
from harness.encoders.convolutions import onednn as packed
from harness.encoders.convolutions.choose import fastest, on_gpu
from harness.encoders.convolutions.im2col_cpu import Columns
from harness.encoders.convolutions.im2col_gpu import Gathered, GatheredBack
from harness.encoders.convolutions.maps import (
    Map,
    PlainConvolution,
    Product,
    Sampled,
    Turned,
    TwoWay,
    Unfolded,
)
from harness.encoders.convolutions.onednn import Packed, PackedConvolution
from harness.encoders.convolutions.pixel_shuffle import Blocks, best_block
from harness.encoders.convolutions.winograd import Filter, Winograd, best_tile
from harness.encoders.layout import channels_last
from harness.encoders.runtime import precision_of

TOLERANCES = {torch.float64: 1e-12, torch.float32: 2e-5}
ONEDNN = pytest.mark.skipif(not packed.has_onednn(), reason="this torch has no oneDNN operators")


def normal(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator).to(dtype)


def plain(
    *,
    channels: tuple[int, int] = (3, 5),
    size: tuple[int, int] = (6, 7),
    kernel: tuple[int, int] = (3, 3),
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
    bias: bool = True,
    batch: int = 2,
    dtype: torch.dtype = torch.float64,
) -> PlainConvolution:
    """A convolution of random weights for images of a shape."""
    layer = nn.Conv2d(
        *channels, kernel, stride, padding, dilation=dilation, groups=groups, bias=bias
    ).to(dtype)
    for seed, parameter in enumerate(layer.parameters()):
        parameter.data = normal(*parameter.shape, dtype=dtype, seed=seed)
    return PlainConvolution.of(layer, torch.Size((batch, channels[0], *size)))


def error(found: Tensor, *terms: Tensor) -> float:
    """Of a sum over the sizes of its terms, which may cancel each other."""
    assert all(found.shape == term.shape for term in terms)
    size = sum(float(term.norm()) for term in terms)
    return float((found - sum(terms)).norm()) / max(size, 1e-300)


def check(form: Map, of: PlainConvolution) -> None:
    """A form against torch's convolution and its derivatives by autograd, in float64."""
    dtype = of.weight.dtype
    tolerance = TOLERANCES[dtype]
    x = channels_last(normal(*of.shape, dtype=dtype, seed=10))

    def convolve(images: Tensor) -> Tensor:
        bias = None if of.bias is None else of.bias.double()
        where = of.stride, of.padding, of.dilation, of.groups
        return F.conv2d(images, of.weight.double(), bias, *where)

    truth, transpose = torch.func.vjp(convolve, x.double())
    tangent = channels_last(normal(*of.shape, dtype=dtype, seed=11))
    added, cotangent = (
        channels_last(normal(*truth.shape, dtype=dtype, seed=seed)) for seed in (12, 13)
    )
    _, output_tangent = torch.autograd.functional.jvp(convolve, x.double(), tangent.double())
    (input_cotangent,) = transpose(cotangent.double())
    kept = [each.clone() for each in (x, tangent, added, cotangent)]

    assert error(form.forward(x), truth) < tolerance
    assert error(form.forward(x, added=added), truth, added) < tolerance
    assert error(form.apply_jvp(tangent), output_tangent) < tolerance
    assert error(form.apply_jvp(tangent, added=added), output_tangent, added) < tolerance
    assert error(form.apply_vjp(cotangent), input_cotangent) < tolerance
    onto = normal(*of.shape, dtype=dtype, seed=14)
    assert (
        error(form.apply_vjp(cotangent, onto=channels_last(onto.clone())), input_cotangent, onto)
        < tolerance
    )
    for now, before in zip((x, tangent, added, cotangent), kept, strict=True):
        assert torch.equal(now, before)
    for image in (form.forward(x), form.apply_jvp(tangent), form.apply_vjp(cotangent)):
        assert image.dtype == dtype


PAIRS = st.tuples(st.integers(1, 4), st.integers(1, 4))
SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))


@st.composite
def simple(draw: st.DrawFn, dtype: torch.dtype, **fixed: object) -> PlainConvolution:
    """A convolution whose channels all meet, and no output of which sees padding alone."""
    kernel, size = draw(PAIRS), draw(SIZES)
    padding = draw(st.tuples(*(st.integers(0, taps - 1) for taps in kernel)))
    lengths = zip(size, padding, kernel, strict=True)
    assume(all(length + 2 * pad >= taps for length, pad, taps in lengths))
    arguments = {
        "kernel": kernel,
        "size": size,
        "padding": padding,
        "stride": draw(PAIRS),
        "channels": draw(st.tuples(st.integers(1, 20), st.integers(1, 20))),
        "bias": draw(st.booleans()),
        "batch": draw(st.integers(1, 5)),
    }
    return plain(**(arguments | fixed), dtype=dtype)  # type: ignore[arg-type]


class TestForms:
    """In float64 by what rounds in float64; oneDNN's in float32."""

    @settings(max_examples=60, deadline=None)
    @given(of=simple(torch.float64))
    def test_one_matrix(self, of: PlainConvolution) -> None:
        check(Product.dense(of), of)

    @settings(max_examples=60, deadline=None)
    @given(of=simple(torch.float64))
    def test_windows(self, of: PlainConvolution) -> None:
        check(Unfolded.of(of), of)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @settings(max_examples=60, deadline=None)
    @given(data=st.data())
    def test_columns(self, dtype: torch.dtype, data: st.DataObject) -> None:
        of = data.draw(simple(dtype, batch=1))
        check(Columns(of), of)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @settings(max_examples=40, deadline=None)
    @given(data=st.data(), tile=st.tuples(*2 * [st.sampled_from([2, 3, 4])]))
    def test_products_at_points(
        self, dtype: torch.dtype, data: st.DataObject, tile: tuple[int, int]
    ) -> None:
        of = data.draw(simple(dtype, kernel=(3, 3), padding=(1, 1), stride=(1, 1)))
        check(Winograd.of(of, tile), of)

    @settings(max_examples=40, deadline=None)
    @given(of=simple(torch.float64, kernel=(1, 1), padding=(0, 0)))
    def test_pixels(self, of: PlainConvolution) -> None:
        check(Sampled(Product.pointwise(of.sampled()), of.stride, of.inside), of)

    @ONEDNN
    @settings(max_examples=80, deadline=None)
    @given(of=simple(torch.float32))
    def test_weights_laid_out_once(self, of: PlainConvolution) -> None:
        # What oneDNN gets wrong is not laid out; the form that is chosen for it is right, too.
        check(PackedConvolution.of(of) if packed.packs(of) else fastest(of), of)

    @ONEDNN
    def test_what_onednn_leaves_unwritten_is_not_laid_out(self) -> None:
        options: dict[str, object] = {
            "batch": 5,
            "channels": (1, 3),
            "size": (4, 5),
            "kernel": (1, 2),
            "padding": (0, 0),
            "stride": (1, 4),
            "dtype": torch.float32,
        }
        of = plain(**options)  # type: ignore[arg-type]
        assert of.simple
        assert not packed.packs(of)
        check(fastest(of), of)
        for other in ({"channels": (2, 3)}, {"stride": (4, 4)}):
            like = plain(**(options | other))  # type: ignore[arg-type]
            assert packed.packs(like)
            check(PackedConvolution.of(like), like)

    @ONEDNN
    @settings(max_examples=60, deadline=None)
    @given(
        of=st.integers(1, 4).flatmap(
            lambda step: simple(torch.float32, channels=(3, 8), stride=(step, step))
        ),
        times=st.integers(1, 3),
    )
    def test_blocks(self, of: PlainConvolution, times: int) -> None:
        back = Blocks.of(of, times * of.stride[0], laid_out_by=Packed.of)
        check(
            PackedConvolution(Packed.of(of.weight, of.stride, of.padding, of.shape), of.bias, back),
            of,
        )

    @settings(max_examples=60, deadline=None)
    @given(of=simple(torch.float64), parted=st.booleans())
    def test_gathered_windows(self, of: PlainConvolution, parted: bool) -> None:
        check(TwoWay(Gathered.of(of), GatheredBack.of(of, parted=parted)), of)

    @pytest.mark.parametrize("bias", [False, True])
    @pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
    def test_pixels_on_a_gpu(self, bias: bool, layout: torch.memory_format) -> None:
        """There products add up what is to be added, whatever its layout."""
        of = plain(kernel=(1, 1), padding=(0, 0), bias=bias)
        form = Product.pointwise(of)
        x, u = (channels_last(normal(2, number, 6, 7, dtype=torch.float64)) for number in (3, 5))
        onto = channels_last(normal(2, 3, 6, 7, dtype=torch.float64, seed=1))
        found = form.forward(x.as_subclass(OnGPU)), form.apply_vjp(u, onto=onto.clone())
        assert error(found[0].as_subclass(Tensor), form.forward(x)) < 1e-14
        other = onto.clone(memory_format=layout)
        there = form.apply_vjp(u.as_subclass(OnGPU), onto=other.as_subclass(OnGPU))
        assert error(there.as_subclass(Tensor), found[1]) < 1e-14

    @settings(max_examples=60, deadline=None)
    @given(of=simple(torch.float64, stride=(1, 1)))
    def test_the_kernel_turned_about(self, of: PlainConvolution) -> None:
        check(Turned.of(of), of)

    @settings(max_examples=60, deadline=None)
    @given(of=simple(torch.float32))
    def test_whatever_is_simple_has_a_form_on_a_gpu(self, of: PlainConvolution) -> None:
        with pytest.MonkeyPatch.context() as patch:
            for bounds in ((0, 0), (2**40, 2**40)):
                patch.setattr(forms, "_WINDOWS", bounds[0])
                patch.setattr(forms, "_FEW_WINDOWS", bounds[1])
                check(on_gpu(of), of)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize(
        "options",
        [
            {"groups": 3, "channels": (6, 9)},
            {"dilation": (2, 3), "size": (9, 9)},
            {"padding": (3, 4)},
            {"kernel": (1, 1), "padding": (0, 0), "stride": (2, 1)},
            {"groups": 4, "channels": (4, 4), "stride": (2, 2)},
        ],
        ids=str,
    )
    def test_torchs_own(self, dtype: torch.dtype, options: dict[str, object]) -> None:
        of = plain(**options, dtype=dtype)  # type: ignore[arg-type]
        check(of, of)

    def test_results_are_laid_out_channels_last(self) -> None:
        for options in (
            {"kernel": (1, 1), "padding": (0, 0), "stride": (2, 2)},
            {"stride": (2, 2)},
        ):
            of = plain(**options)  # type: ignore[arg-type]
            for form in (of, fastest(of), Unfolded.of(of)):
                y = form.forward(channels_last(normal(*of.shape, dtype=torch.float64)))
                assert y.is_contiguous(memory_format=torch.channels_last)
                assert form.apply_vjp(y).is_contiguous(memory_format=torch.channels_last)


def of_kind(form: Map) -> str:
    """Name of a form, and of how it goes there and back."""
    name = type(form).__name__
    if isinstance(form, TwoWay):
        ways = (getattr(way, "__self__", way) for way in (form.direct, form.back))
        return ", ".join(type(way).__name__ for way in ways)
    return f"{name}, {type(form.back).__name__}" if isinstance(form, PackedConvolution) else name


class TestChoice:
    @ONEDNN
    @pytest.mark.parametrize(
        ("expected", "options"),
        [
            ("PackedConvolution, Packed", {"channels": (64, 64), "size": (16, 16)}),
            (
                "PackedConvolution, Transposed",
                {"channels": (64, 64), "stride": (2, 2), "size": (16, 16)},
            ),
            (
                "PackedConvolution, Blocks",
                {
                    "channels": (3, 64),
                    "stride": (2, 2),
                    "kernel": (7, 7),
                    "padding": (3, 3),
                    "size": (64, 64),
                },
            ),
            ("PackedConvolution, Blocks", {"channels": (3, 64), "size": (32, 32)}),
            ("PackedConvolution, Packed", {"kernel": (1, 1), "padding": (0, 0), "size": (16, 16)}),
            ("Product", {"kernel": (1, 1), "padding": (0, 0), "size": (5, 5)}),
            ("Product", {"size": (2, 2), "stride": (2, 2)}),
            ("Product", {"size": (1, 1)}),
            ("Unfolded", {"size": (4, 4), "stride": (2, 2)}),
            ("Unfolded", {"size": (3, 3), "padding": (1, 0)}),
            ("Winograd", {"size": (2, 2), "channels": (64, 64)}),
            ("Winograd", {"size": (4, 4), "channels": (64, 64)}),
            ("Winograd", {"size": (8, 8), "channels": (128, 128)}),
            ("Winograd", {"size": (2, 2), "channels": (256, 256), "batch": 1}),
            ("Columns", {"size": (2, 2), "channels": (64, 64), "batch": 1}),
            ("Sampled", {"kernel": (1, 1), "padding": (0, 0), "stride": (2, 2)}),
            ("Columns", {"batch": 1, "size": (8, 8), "channels": (16, 32), "stride": (2, 2)}),
            ("PackedConvolution, Packed", {"batch": 1, "size": (8, 8), "channels": (64, 64)}),
            ("Product", {"batch": 1, "size": (1, 1)}),
            ("PlainConvolution", {"padding": (3, 3)}),
            ("PlainConvolution", {"groups": 3, "channels": (3, 6)}),
            ("PlainConvolution", {"dilation": (2, 2)}),
        ],
        ids=str,
    )
    def test_by_shape(self, expected: str, options: dict[str, object]) -> None:
        of = plain(**({"batch": 8} | options), dtype=torch.float32)  # type: ignore[arg-type]
        form = fastest(of)
        assert of_kind(form) == expected
        check(form, of)

    @pytest.mark.parametrize(
        ("exact", "coarse", "options"),
        [
            ("Gathered, GatheredBack", "Gathered, GatheredBack", {"channels": (32, 32)}),
            (
                "Gathered, GatheredBack",
                "PlainConvolution, Turned",
                {"channels": (32, 32), "size": (20, 20)},
            ),
            (
                "Turned, PlainConvolution",
                "PlainConvolution, Turned",
                {"channels": (32, 32), "size": (50, 50)},
            ),
            ("Gathered, Blocks", "PlainConvolution, Blocks", {"size": (70, 70)}),
            (
                "Gathered, GatheredBack, parted",
                "Gathered, PlainConvolution",
                {"channels": (32, 32), "size": (20, 20), "stride": (2, 2)},
            ),
            (
                "PlainConvolution, GatheredBack, parted",
                "PlainConvolution, PlainConvolution",
                {"channels": (32, 32), "size": (90, 90), "stride": (2, 2)},
            ),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("tf32", [False, True])
    def test_on_a_gpu(
        self,
        exact: str,
        coarse: str,
        options: dict[str, object],
        tf32: bool,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        # As on a GPU, on the CPU; with smaller bounds, so that small convolutions cover them.
        monkeypatch.setattr(forms, "_WINDOWS", 2**20)
        monkeypatch.setattr(forms, "_FEW_WINDOWS", 2**17)
        of = plain(**options, dtype=torch.float32)  # type: ignore[arg-type]
        with precision_of("tf32" if tf32 else "float32", device=torch.device("cuda")):
            form = on_gpu(of)
            assert isinstance(form, TwoWay)
            parted = isinstance(form.back, GatheredBack) and form.back.every != (1, 1)
            assert of_kind(form) + ", parted" * parted == (coarse if tf32 else exact)
        check(form, of)

    def test_blocks_beyond_the_image_on_a_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Their convolution sees padding alone at times, and no kernel turned about does."""
        monkeypatch.setattr(forms, "_WINDOWS", 0)
        monkeypatch.setattr(forms, "_FEW_WINDOWS", 0)
        of = plain(channels=(3, 96), kernel=(4, 4), stride=(4, 4), padding=(0, 0), size=(11, 11))
        form = on_gpu(of)
        assert of_kind(form) == "PlainConvolution, Blocks"
        check(form, of)

    def test_without_onednn_convolutions_stay_plain(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(packed, "has_onednn", lambda: False)
        of = plain(channels=(8, 8), size=(16, 16), batch=8, dtype=torch.float32)
        assert fastest(of) is of

    def test_operators_are_looked_for_by_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        packed.has_onednn.cache_clear()
        try:
            monkeypatch.setattr(packed, "_OPERATORS", ("_no_such_operator",))
            assert not packed.has_onednn()
        finally:
            packed.has_onednn.cache_clear()

    def test_blocks_are_for_few_channels(self) -> None:
        def best(channels: int, *, stride: int, taps: int) -> int:
            return best_block(
                plain(channels=(channels, 4), kernel=(taps, taps), stride=(stride, stride)),
                together=16,
            )

        assert best(3, stride=2, taps=7) == 2
        assert best(3, stride=1, taps=3) == 2
        assert best(3, stride=4, taps=11) == 4
        assert best(64, stride=2, taps=3) == 0
        assert best(64, stride=1, taps=3) == 0

    def test_tiles_are_for_small_images_in_batches(self) -> None:
        def best(size: int, *, batch: int, **other: object) -> tuple[int, int] | None:
            fixed = {"channels": (128, 128), "dtype": torch.float32}
            options = {**fixed, "size": (size, size), "batch": batch} | other
            return best_tile(plain(**options))  # type: ignore[arg-type]

        assert best(1, batch=64) is None
        assert best(2, batch=1) == (2, 2)
        assert best(4, batch=1) is None
        assert best(4, batch=4) == (2, 2)
        assert best(4, batch=32) == (4, 4)
        assert best(8, batch=1) is None
        assert best(8, batch=8) == (4, 4)
        assert best(64, batch=8) is None
        assert best(4, batch=32, stride=(2, 2)) is None
        assert best(4, batch=32, padding=(0, 0)) is None
        assert best(4, batch=32, kernel=(5, 5), padding=(2, 2)) is None
        assert best(4, batch=32, dtype=torch.bfloat16) is None


@settings(max_examples=60, deadline=None)
@given(length=st.integers(1, 13), tile=st.sampled_from([2, 3, 4]), seed=st.integers(0, 99))
def test_a_filter_is_numpys(length: int, tile: int, seed: int) -> None:
    taps, values = np.random.default_rng(seed).normal(size=(2, max(length, 3)))
    taps, values = taps[:3], values[:length]
    of = Filter.of(length, tile=tile)
    products = (of.weigh @ taps) * (of.spread @ values)
    found = np.einsum("xta,ta->x", of.gather, products)
    truth = np.correlate(np.pad(values, 1), taps, mode="valid")
    np.testing.assert_allclose(found, truth, atol=1e-13)


@pytest.mark.parametrize(("size", "tile", "bound"), [(8, 4, 5e-6), (4, 2, 1e-6), (2, 2, 1e-6)])
def test_rounding_of_products_at_points(size: int, tile: int, bound: float) -> None:
    # Sums over taps, as torch has them, err by some 6e-7 here.
    of = plain(channels=(128, 128), size=(size, size), batch=8, dtype=torch.float32)
    x = normal(*of.shape, dtype=torch.float32, seed=10).relu()
    truth = F.conv2d(x.double(), of.weight.double(), padding=1)
    found = Winograd.of(of, (tile, tile)).apply_jvp(channels_last(x))
    assert error(found, truth) < bound


@pytest.mark.parametrize(("tile", "products"), [(2, 4), (3, 5), (4, 6)])
def test_a_tile_takes_two_products_more_than_outputs(tile: int, products: int) -> None:
    # Winograd 1980: m + r - 1 for m outputs of r taps, and no fewer.
    assert len(Filter.of(3 * tile, tile=tile).weigh) == products
    assert len(Filter.of(2, tile=2).weigh) == 3  # zeros around two values save one


def taps_of(of: PlainConvolution) -> int:
    """Multiplications of one image and one pair of channels, by counting the taps that meet it."""
    count = 0
    for output in itertools.product(*map(range, of.outside)):
        for tap in itertools.product(*map(range, of.kernel)):
            places = [
                o * s + t - p for o, s, t, p in zip(output, of.stride, tap, of.padding, strict=True)
            ]
            count += all(0 <= place < n for place, n in zip(places, of.inside, strict=True))
    return count


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_small_convolution_is_a_matrix_where_that_takes_no_more(size: int, stride: int) -> None:
    of = plain(size=(size, size), stride=(stride, stride), batch=8)
    inputs, outputs = math.prod(of.inside), math.prod(of.outside)
    if of.small:
        assert inputs * outputs <= math.prod(of.kernel) * outputs
    if inputs * outputs == taps_of(of):  # no entry of the matrix is 0
        assert of.small
