"""Ways of computing a convolution, against torch's own convolution and its derivatives."""

from __future__ import annotations

from types import FunctionType

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from harness.encoders.convolutions import onednn
from harness.encoders.convolutions.choose import FORMS, affine_map, ways_on_gpu
from harness.encoders.convolutions.convolution import AffineMap, Convolution, Transpose
from harness.encoders.convolutions.im2col_gpu import GatheredPatches
from harness.encoders.convolutions.onednn import Packed, can_pack, has_onednn
from harness.encoders.convolutions.pixel_shuffle import PixelShuffle
from harness.encoders.convolutions.products import Im2col, PointwiseProduct
from harness.encoders.convolutions.winograd import Winograd, fits_winograd
from harness.encoders.layout import channels_last
from harness.encoders.runtime import precision_of

TOLERANCES = {torch.float64: 1e-12, torch.float32: 2e-5}
ONEDNN = pytest.mark.skipif(not has_onednn(), reason="this torch has no oneDNN operators")


def normal(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator).to(dtype)


def convolution(
    *,
    channels: tuple[int, int] = (3, 5),
    size: tuple[int, int] = (6, 7),
    kernel: tuple[int, int] = (3, 3),
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
    batch: int = 2,
    dtype: torch.dtype = torch.float64,
) -> Convolution:
    """A convolution with random weights for images of a shape."""
    inputs, outputs = channels
    weight = normal(outputs, inputs // groups, *kernel, dtype=dtype)
    return Convolution(
        weight=weight.contiguous(memory_format=torch.channels_last),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        shape=torch.Size((batch, inputs, *size)),
    )


def error(found: Tensor, truth: Tensor) -> float:
    assert found.shape == truth.shape
    return float((found - truth).norm()) / max(float(truth.norm()), 1e-300)


def check(form: AffineMap, of: Convolution) -> None:
    """A way to compute a convolution against torch's, and autograd's derivatives, in float64."""
    dtype, bias = of.weight.dtype, form.bias
    x, tangent = (channels_last(normal(*of.shape, dtype=dtype, seed=seed)) for seed in (10, 11))
    cotangent = channels_last(normal(*of.output_shape, dtype=dtype, seed=12))
    kept = [each.clone() for each in (x, tangent, cotangent)]

    def convolve(images: Tensor) -> Tensor:
        where = of.stride, of.padding, of.dilation, of.groups
        return F.conv2d(images, of.weight.double(), None if bias is None else bias.double(), *where)

    truth, vjp = torch.func.vjp(convolve, x.double())
    _, output_tangent = torch.autograd.functional.jvp(convolve, x.double(), tangent.double())
    for found, expected in (
        (form.linear(x, form.bias), truth),
        (form.linear(tangent, None), output_tangent),
        (form.transpose(cotangent), vjp(cotangent.double())[0]),
    ):
        assert found.dtype == dtype
        assert found.is_contiguous(memory_format=torch.channels_last)
        assert error(found, expected) < TOLERANCES[dtype]
    for now, before in zip((x, tangent, cotangent), kept, strict=True):
        assert torch.equal(now, before)


def with_bias(of: Convolution, bias: bool) -> Tensor | None:
    return normal(len(of.weight), dtype=of.weight.dtype, seed=1) if bias else None


PAIRS = st.tuples(st.integers(1, 4), st.integers(1, 4))
SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))


@st.composite
def regular(draw: st.DrawFn, dtype: torch.dtype, **fixed: object) -> Convolution:
    """A convolution of one group, without dilation, no output of which sees padding alone."""
    kernel, size = draw(PAIRS), draw(SIZES)
    padding = draw(st.tuples(*(st.integers(0, length - 1) for length in kernel)))
    lengths = zip(size, padding, kernel, strict=True)
    assume(all(length + 2 * pad >= taps for length, pad, taps in lengths))
    arguments = {
        "kernel": kernel,
        "size": size,
        "padding": padding,
        "stride": draw(PAIRS),
        "channels": draw(st.tuples(st.integers(1, 20), st.integers(1, 20))),
        "batch": draw(st.integers(1, 5)),
    }
    return convolution(**(arguments | fixed), dtype=dtype)  # type: ignore[arg-type]


@pytest.mark.parametrize("bias", [False, True])
class TestForms:
    """In float64 by what rounds in float64, by oneDNN in float32."""

    @settings(max_examples=40, deadline=None)
    @given(of=regular(torch.float64))
    def test_im2col(self, of: Convolution, bias: bool) -> None:
        im2col = Im2col.of(of)
        check(AffineMap(im2col, im2col.transpose, with_bias(of, bias)), of)

    @settings(max_examples=40, deadline=None)
    @given(of=regular(torch.float64, kernel=(1, 1), padding=(0, 0)))
    def test_pointwise_product(self, of: Convolution, bias: bool) -> None:
        product = PointwiseProduct.of(of)
        check(AffineMap(product, product.transpose, with_bias(of, bias)), of)

    @settings(max_examples=40, deadline=None)
    @given(of=regular(torch.float64, kernel=(3, 3), padding=(1, 1), stride=(1, 1)))
    def test_winograd(self, of: Convolution, bias: bool) -> None:
        assert fits_winograd(of)
        winograd = Winograd.of(of)
        check(AffineMap(winograd, winograd.transpose, with_bias(of, bias)), of)

    @settings(max_examples=40, deadline=None)
    @given(of=regular(torch.float64))
    def test_gathered_patches(self, of: Convolution, bias: bool) -> None:
        back = GatheredPatches.back(of)
        check(AffineMap(GatheredPatches.forward(of), back, with_bias(of, bias)), of)

    @ONEDNN
    @settings(max_examples=40, deadline=None)
    @given(of=regular(torch.float32))
    def test_onednn(self, of: Convolution, bias: bool) -> None:
        assume(can_pack(of))
        check(AffineMap(Packed.of(of), of.transpose, with_bias(of, bias)), of)

    @settings(max_examples=40, deadline=None)
    @given(of=regular(torch.float64, stride=(1, 1)))
    def test_the_transpose_has_the_flipped_kernel(self, of: Convolution, bias: bool) -> None:
        check(AffineMap(of, of.flipped(), with_bias(of, bias)), of)

    @settings(max_examples=60, deadline=None)
    @given(
        of=st.integers(1, 4).flatmap(
            lambda step: regular(torch.float64, channels=(3, 8), stride=(step, step))
        ),
        times=st.integers(1, 3),
    )
    def test_pixel_shuffle(self, of: Convolution, times: int, bias: bool) -> None:
        back = PixelShuffle.of(of, times * of.stride[0], compute=lambda blocks: blocks)
        check(AffineMap(of, back, with_bias(of, bias)), of)

    @pytest.mark.parametrize("dtype", TOLERANCES)
    @pytest.mark.parametrize(
        "options",
        [
            {"groups": 3, "channels": (6, 9)},
            {"dilation": (2, 3), "size": (9, 9)},
            {"padding": (3, 4)},
            {"groups": 4, "channels": (4, 4), "stride": (2, 2)},
        ],
        ids=str,
    )
    def test_torchs_own(self, dtype: torch.dtype, options: dict[str, object], bias: bool) -> None:
        of = convolution(**options, dtype=dtype)  # type: ignore[arg-type]
        assert not of.regular
        form = affine_map(of, with_bias(of, bias))
        assert form.linear is of
        check(form, of)


POINTWISE = {"kernel": (1, 1), "padding": (0, 0)}
MANY = {"channels": (64, 64), "size": (32, 56)}
STEM = {
    "channels": (3, 64),
    "size": (64, 64),
    "kernel": (7, 7),
    "padding": (3, 3),
    "stride": (2, 2),
}


def way_of(transpose: Transpose) -> type:
    """The kind of what a transpose is, or is a method of."""
    return type(getattr(transpose, "__self__", transpose))


class TestChoice:
    @ONEDNN
    @pytest.mark.parametrize(
        ("linear", "transpose", "options"),
        [
            (Packed, Packed, {"channels": (64, 64), "size": (16, 16)}),
            (Packed, Convolution, {"channels": (64, 64), "stride": (2, 2), "size": (16, 16)}),
            (Packed, PixelShuffle, {"channels": (3, 64), "size": (32, 32), "batch": 1}),
            (Packed, PixelShuffle, {"channels": (3, 64), "size": (64, 64), "stride": (2, 2)}),
            (Convolution, Convolution, {"channels": (64, 64), "size": (8, 8), "batch": 1}),
            (PointwiseProduct, PointwiseProduct, {"kernel": (1, 1), "padding": (0, 0)}),
            (
                PointwiseProduct,
                PointwiseProduct,
                {"kernel": (1, 1), "padding": (0, 0), "stride": (2, 2), "batch": 1},
            ),
            (Im2col, Im2col, {"size": (4, 4), "stride": (2, 2)}),
            (Im2col, Im2col, {"size": (2, 2), "channels": (64, 64)}),
            (Winograd, Winograd, {"size": (4, 4), "channels": (256, 256)}),
            (Packed, Packed, {"size": (8, 8), "channels": (256, 256)}),
            (Convolution, Convolution, {"padding": (3, 3)}),
            (Convolution, Convolution, {"groups": 3, "channels": (3, 6)}),
            (Convolution, Convolution, {"dilation": (2, 2)}),
            (Convolution, Convolution, {"size": (9, 9), "dtype": torch.float64}),
        ],
        ids=str,
    )
    def test_by_shape(self, linear: type, transpose: type, options: dict[str, object]) -> None:
        of = convolution(**({"batch": 8, "dtype": torch.float32} | options))  # type: ignore[arg-type]
        form = affine_map(of, with_bias(of, True))
        assert type(form.linear) is linear
        if transpose is not Packed:  # whose transpose is a function around one
            assert way_of(form.transpose) is transpose
        check(form, of)

    @pytest.mark.parametrize(
        ("linear", "transpose", "precision", "options"),
        [
            (PointwiseProduct, PointwiseProduct, "float32", POINTWISE),
            (PointwiseProduct, PointwiseProduct, "tf32", POINTWISE | {"stride": (2, 2)}),
            # Up to 2**25 elements of patches where products are exact, else up to 2**22.
            (GatheredPatches, None, "float32", MANY | {"batch": 32}),
            (Convolution, Convolution, "float32", MANY | {"batch": 33}),
            (GatheredPatches, None, "tf32", MANY | {"batch": 4}),
            (Convolution, Convolution, "tf32", MANY | {"batch": 5}),
            (GatheredPatches, None, "bf16", MANY | {"batch": 4}),
            (Convolution, Convolution, "bf16", MANY | {"batch": 5}),
            # Back, most of a strided convolution's patches are zeros.
            (GatheredPatches, None, "float32", MANY | {"stride": (2, 2), "batch": 4}),
            (GatheredPatches, Convolution, "float32", MANY | {"stride": (2, 2), "batch": 5}),
            # More outputs than inputs make more of the patches that go back, and the reverse.
            (GatheredPatches, Convolution, "float32", MANY | {"channels": (64, 128), "batch": 32}),
            (Convolution, None, "float32", MANY | {"channels": (128, 64), "batch": 32}),
            # Onto an image's few channels by blocks of pixels, however many patches there are.
            (GatheredPatches, PixelShuffle, "float32", STEM),
            (Convolution, PixelShuffle, "float32", STEM | {"batch": 256}),
            (Convolution, PixelShuffle, "tf32", STEM | {"batch": 64}),
        ],
        ids=str,
    )
    def test_on_a_gpu(
        self, linear: type, transpose: type | None, precision: str, options: dict[str, object]
    ) -> None:
        # A rule of shapes and precision: neither a GPU nor numbers are needed to ask it.
        with precision_of(precision, device=torch.device("cuda")) as rounded, torch.device("meta"):
            of = convolution(**options, dtype=rounded.network)  # type: ignore[arg-type]
            forward, back = ways_on_gpu(of)
        assert type(forward) is linear
        # The transpose of gathered patches is a function around them.
        assert way_of(back) is (transpose or FunctionType)

    def test_on_a_gpu_products_that_round_in_another_way_are_not_taken(self) -> None:
        of = convolution(dtype=torch.float32)
        with precision_of("float32", device=torch.device("cuda")):
            assert ways_on_gpu(of)[0] is not of
            torch.backends.cudnn.conv.fp32_precision = "tf32"
            assert ways_on_gpu(of) == (of, of.transpose)

    @settings(max_examples=60, deadline=None)
    @given(of=regular(torch.float64))
    def test_any_convolution_is_right_on_a_gpu(self, of: Convolution) -> None:
        check(AffineMap(*ways_on_gpu(of), with_bias(of, True)), of)

    @pytest.mark.parametrize("batch", [1, 4])
    @settings(max_examples=60, deadline=None)
    @given(data=st.data())
    def test_any_convolution_is_right(self, batch: int, data: st.DataObject) -> None:
        # What oneDNN gets wrong is left to torch.
        of = data.draw(regular(torch.float32, batch=batch))
        check(affine_map(of, with_bias(of, True)), of)

    def test_without_any_form_torchs_own_is_left(self) -> None:
        of = convolution(kernel=(1, 1), padding=(0, 0), dtype=torch.float32)
        assert affine_map(of, None, without=FORMS).linear is of

    def test_where_torch_lacks_onednns_operators_its_own_are_taken(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
        onednn.has_onednn.cache_clear()
        try:
            of = convolution(channels=(8, 8), size=(16, 16), dtype=torch.float32)
            assert affine_map(of, None).linear is of
        finally:
            onednn.has_onednn.cache_clear()


@pytest.mark.parametrize("size", [2, 4])
def test_winograd_rounds_as_a_sum_does(size: int) -> None:
    # Sums over the kernel, as torch has them, err by some 6e-7 here.
    of = convolution(channels=(256, 256), size=(size, size), batch=8, dtype=torch.float32)
    x = channels_last(normal(*of.shape, dtype=torch.float32, seed=10).relu())
    truth = F.conv2d(x.double(), of.weight.double(), padding=1)
    assert error(Winograd.of(of)(x), truth) < 1e-6


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 5, 7])
def test_a_kernel_without_what_only_meets_padding_computes_the_same(
    stride: int, padding: int, kernel: int
) -> None:
    for size in ((1, 1), (2, 1), (3, 4), (8, 2)):
        if min(size) + 2 * padding < kernel:
            continue
        layer = nn.Conv2d(2, 3, kernel, stride=stride, padding=padding, bias=False).double()
        images = normal(2, 2, *size, dtype=torch.float64)
        found = Convolution.of(layer.weight.detach(), images.shape, stride=stride, padding=padding)
        torch.testing.assert_close(found(images), layer(images), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("size", "stride", "expected"),
    [((1, 1), 1, (1, 1)), ((2, 2), 2, (2, 2)), ((4, 1), 1, (3, 1)), ((8, 8), 1, (3, 3))],
)
def test_what_only_meets_padding_is_dropped(
    size: tuple[int, int], stride: int, expected: tuple[int, int]
) -> None:
    found = Convolution.of(torch.ones(3, 2, 3, 3), (1, 2, *size), stride=stride, padding=1)
    assert found.kernel_size == expected
