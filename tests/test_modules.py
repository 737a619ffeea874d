"""Networks of one's own: known by their code, made anew for each replicate, refused in one line."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from plugin_suite import ROOT, Suite, environment
from torch import nn

from harness.errors import DepthClaimsError, ModuleError, SettingError, UnknownNameError
from harness.measurements.measure import measure
from harness.plan.cells import Inversion
from harness.plan.decoders import Adam, Descent
from harness.plan.identity import identity
from harness.plan.images import Images
from harness.plan.networks import ModuleFactory, module
from harness.plan.seeds import ReplicateSeeds
from harness.subjects.factory import build_module, factory_encoder

pytest_plugins = ("pytester",)

NET = """
import random
import re

import numpy as np
import torch
from torch import nn

torch.manual_seed(3)  # which must not decide what a replicate draws


def make(width=4, *, kernel=3):
    net = nn.Sequential(nn.Conv2d(3, width, kernel), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout())
    net.drawn = torch.tensor([torch.rand(()).item(), np.random.rand(), random.random()])
    return net


class Net(nn.Module):
    def __init__(self, pooling):
        super().__init__()
        self.pool = {"average": nn.AvgPool2d, "max": nn.MaxPool2d}[pooling](2)

    def forward(self, images):
        return self.pool(images)

    @classmethod
    def wide(cls):
        return cls("max")


def fails(): raise ValueError("no\\nsuch size")
def exits(): raise SystemExit(3)
def returns_none(): pass
def returns_class(): return nn.ReLU
def decorated(*arguments): return nn.Identity()
decorated = torch.no_grad()(decorated)
ONE = nn.Conv2d(3, 2, 1)
def same(): return ONE
KEEP = []
def kept():
    KEEP.append(nn.Conv2d(3, 2, 1))
    return KEEP[0]
NUMBER = 3
def lazy(): return nn.LazyConv2d(3, 1)
def meta(): return nn.Conv2d(3, 3, 1, device="meta")
def vector(): return nn.Linear(5, 2)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text(NET)
    return tmp_path


def of(folder: Path, name: str = "net.py:make", **options: Any) -> ModuleFactory:
    return module(name, folder=folder, **options)


def cell(network: ModuleFactory) -> Inversion:
    return Inversion(
        seeds=ReplicateSeeds(replicate=0),
        network=network,
        images=Images(pixels=8),
        decoder=Adam(),
        iterations=2,
    )


def name_of(network: ModuleFactory) -> str:
    return identity(cell(network), context={})


def one_line(error: DepthClaimsError, *parts: str) -> None:
    """Assert that an error is one line, with these parts in it."""
    assert "\n" not in str(error)
    for part in parts:
        assert part in str(error)


class TestIdentity:
    def test_the_code_and_the_arguments_matter_and_their_place_does_not(
        self, folder: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        other = tmp_path_factory.mktemp("other")
        (other / "renamed.py").write_text(NET)
        torch.save({}, folder / "w.pt")
        one = name_of(of(folder))
        assert name_of(of(other, "renamed.py:make")) == one
        assert name_of(of(folder, arguments={})) == one
        (other / "renamed.py").write_text(NET + "\n")
        changed = [
            of(other, "renamed.py:make"),
            of(folder, "net.py:Net", arguments={"pooling": "max"}),
            of(folder, layer="0"),
            of(folder, arguments={"width": 5}),
            of(folder, arguments={"width": True}),
            of(folder, arguments={"width": 1}),
            of(folder, arguments={"width": 1.0}),
            of(folder, weights="w.pt"),
        ]
        assert len({one, *map(name_of, changed)}) == len(changed) + 1

    @pytest.mark.parametrize(
        ("statement", "edited"),
        [
            ("import parts", "parts.py"),
            ("from parts import width", "parts.py"),
            ("from kit.deep import width", "kit/deep.py"),
            ("from kit.deep import width", "kit/__init__.py"),
            ("from kit import deep", "kit/deep.py"),
            ("import kit", "kit/inner.py"),  # which kit/__init__.py imports relatively
            ("def f():\n    import parts", "parts.py"),
        ],
    )
    def test_what_it_imports_from_beside_it_matters(
        self, folder: Path, statement: str, edited: str
    ) -> None:
        (folder / "kit").mkdir()
        (folder / "kit" / "__init__.py").write_text("from . import inner\n")
        for name in ("parts.py", "kit/deep.py", "kit/inner.py", "apart.py"):
            (folder / name).write_text("width = 3\n")
        (folder / "net.py").write_text(f"{statement}\ndef make(): pass\n")
        before = name_of(of(folder))
        (folder / "apart.py").write_text("width = 44\n")
        assert name_of(of(folder)) == before
        with (folder / edited).open("a") as file:
            file.write("depth = 1\n")
        assert name_of(of(folder)) != before

    def test_a_module_of_a_package_is_found_without_importing_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        package = tmp_path / "own_package_of_nets"
        (package / "deep").mkdir(parents=True)
        (package / "__init__.py").write_text("raise RuntimeError('imported')")
        (package / "deep" / "__init__.py").write_text("from .. import sizes\ndef make(): pass\n")
        (package / "sizes.py").write_text("")
        monkeypatch.syspath_prepend(tmp_path)
        network = module("own_package_of_nets.deep:make")
        assert network.source.path == package / "deep" / "__init__.py"
        for edited in (network.source.path, package / "sizes.py"):
            before = name_of(network)
            with edited.open("a") as file:
                file.write("depth = 1\n")
            network = module("own_package_of_nets.deep:make")
            assert name_of(network) != before

    def test_an_installed_package_is_known_by_its_file_and_version(self) -> None:
        network = module("torchvision.models.resnet:resnet18")
        assert network.source.path.name == "resnet.py"
        assert name_of(network) == name_of(module("torchvision.models.resnet:resnet18"))

    def test_stating_a_cell_imports_no_torch(self, folder: Path) -> None:
        program = (
            "import sys; from pathlib import Path; from harness.plan.networks import module; "
            f"module('net.py:make', folder=Path({str(folder)!r}), arguments={{'width': 3}}); "
            "module('torch.nn.modules.activation:ReLU'); "
            "print(sorted({'torch', 'net'} & set(sys.modules)))"
        )
        ran = subprocess.run(
            [sys.executable, "-c", program],
            env=environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        assert ran.stdout.strip() == "[]"


class TestRefusedWhereTheCellIsMade:
    @pytest.mark.parametrize(
        ("name", "parts"),
        [
            ("none.py:make", ("none.py", "cannot be read")),
            ("broken.py:make", ("broken.py, line 2", "no Python")),
            ("net.py:makes", ("'makes'", "Choose make")),
            ("net.py", ("'net.py'", "my_net.py:make")),
            ("net.py:", ("'net.py:'", "my_net.py:make")),
            (":make", ("':make'", "my_net.py:make")),
            ("net.py:make()", ("'net.py:make()'", "my_net.py:make")),
            ("no_such_package.nets:make", ("no_such_package.nets", "no such Python module")),
            ("json.no_such:loads", ("json.no_such", "no such Python module")),
            ("math:sqrt", ("math", "no such Python module")),
            (nn.Sequential(nn.ReLU(), nn.ReLU()), ("Sequential(", "my_net.py:make")),
            (None, ("None", "my_net.py:make")),
        ],
    )
    def test_a_name(self, folder: Path, name: Any, parts: tuple[str, ...]) -> None:
        (folder / "broken.py").write_text("x = 1\ndef make(:\n")
        with pytest.raises((ModuleError, UnknownNameError)) as caught:
            of(folder, name)
        one_line(caught.value, *parts)

    @pytest.mark.parametrize(
        ("name", "arguments", "part"),
        [
            ("make", {"widht": 3}, "widht"),
            ("Net", {}, "pooling"),
            ("Net", {"pooling": "max", "size": 2}, "size"),
            ("make", {"width": nn.ReLU()}, "ReLU"),
            ("make", {"width": float("nan")}, "width"),
            ("make", {"width": np.int64(3)}, "int64"),
        ],
    )
    def test_arguments(
        self, folder: Path, name: str, arguments: Mapping[str, object], part: str
    ) -> None:
        with pytest.raises(SettingError) as caught:
            of(folder, f"net.py:{name}", arguments=arguments)
        if part != "width":
            one_line(caught.value, part)

    @pytest.mark.parametrize(
        "line",
        [
            "from somewhere import make",
            "import somewhere as make",
            "if True:\n    def make(width): pass",
            "try:\n    import fast\nexcept ImportError:\n    make = None",
            "make: object = None",
            "from somewhere import *",
            "def __getattr__(name): pass",
            "@wrapped\ndef make(): pass",
            "class make(Base): pass",
            "def make(**others): pass",
        ],
    )
    def test_what_only_running_the_code_can_tell_is_left_to_it(
        self, tmp_path: Path, line: str
    ) -> None:
        (tmp_path / "net.py").write_text(line)
        assert of(tmp_path, arguments={"width": 3}).name == "make"


def built(network: ModuleFactory, *, seed: int = 1) -> nn.Module:
    module, _ = build_module(network, seed=seed)
    return module


class TestMaking:
    def test_weights_are_drawn_anew_from_the_seed_and_nothing_else(self, folder: Path) -> None:
        network = of(folder, arguments={"width": 5})
        one, again, other = (built(network, seed=seed) for seed in (1, 1, 2))
        assert one[0].weight.shape == (5, 3, 3, 3)  # type: ignore[index]
        for key, value in one.state_dict().items():
            assert torch.equal(value, again.state_dict()[key])
        assert not torch.equal(one[0].weight, other[0].weight)  # type: ignore[index]
        assert torch.equal(one.drawn, again.drawn)  # type: ignore[arg-type]
        assert bool((one.drawn != other.drawn).all())
        # As torch itself draws them.
        torch.manual_seed(1)
        assert torch.equal(one[0].weight, nn.Conv2d(3, 5, 3).weight)  # type: ignore[index]

    def test_it_is_in_eval_mode_and_takes_no_gradients(self, folder: Path) -> None:
        one = built(of(folder))
        assert not any(part.training for part in one.modules())
        assert not any(weight.requires_grad for weight in one.parameters())

    @pytest.mark.parametrize("name", ["make", "fails"])
    def test_random_states_and_modules_are_left_alone(self, folder: Path, name: str) -> None:
        def states() -> list[object]:
            torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
            return [torch_state.tolist(), str(numpy_state), random.getstate(), [*sys.path]]

        before = states()
        try:
            built(of(folder, f"net.py:{name}"))
        except ModuleError:
            assert name == "fails"
        assert states() == before
        assert "net" not in sys.modules

    def test_weights_of_a_file_are_the_same_in_every_replicate(self, folder: Path) -> None:
        state = built(of(folder), seed=9).state_dict()
        head = {"4.weight": torch.zeros(7, 2), "4.bias": torch.zeros(7)}
        torch.save(
            {"state_dict": {f"module.{key}": value for key, value in state.items()}},
            folder / "w.pt",
        )
        network = of(folder, weights="w.pt")
        for seed in (1, 2):
            for key, value in built(network, seed=seed).state_dict().items():
                assert torch.equal(value, state[key])
        torch.save({**state, **head}, folder / "w.pt")
        with pytest.raises(DepthClaimsError, match="do not fit"):
            built(of(folder, weights="w.pt"))

    @pytest.mark.parametrize("edited", ["net.py", "kinds_of_it.py"])
    def test_an_edit_counts_even_within_a_second(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edited: str
    ) -> None:
        monkeypatch.setattr(sys, "dont_write_bytecode", False)
        kinds = []
        for kind in ("AvgPool2d", "MaxPool2d"):  # as long as each other
            other = "from torch import nn\nKind = nn.Identity\n"
            (tmp_path / "net.py").write_text(
                "from kinds_of_it import Kind\ndef make(): return Kind(2)\n"
            )
            (tmp_path / "kinds_of_it.py").write_text(other)
            (tmp_path / edited).write_text(
                f"from torch import nn\nKind = nn.{kind}\ndef make(): return Kind(2)\n"
            )
            for path in tmp_path.glob("*.py"):
                os.utime(path, (1e9, 1e9))
            kinds.append(type(built(of(tmp_path))).__name__)
        assert kinds == ["AvgPool2d", "MaxPool2d"]

    def test_a_file_that_changed_since_the_cell_was_made_is_refused(self, folder: Path) -> None:
        (folder / "parts.py").write_text("")
        (folder / "net.py").write_text("import parts\nfrom torch import nn\nmake = nn.ReLU\n")
        network = of(folder)
        assert isinstance(built(network), nn.ReLU)
        (folder / "parts.py").write_text("x = 1")
        with pytest.raises(ModuleError, match="changed"):
            built(network)

    def test_what_lies_beside_it_is_its_own_whatever_else_has_that_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "own_sizes_of_it", other := ModuleType("other"))
        widths = []
        for number in (2, 3):
            folder = tmp_path / str(number)
            folder.mkdir()
            (folder / "own_sizes_of_it.py").write_text(f"WIDTH = {number}\n")
            (folder / "net.py").write_text(
                "from torch import nn\n"
                "def make():\n"
                "    from own_sizes_of_it import WIDTH\n"
                "    return nn.Conv2d(3, WIDTH, 1)\n"
            )
            widths.append(built(of(folder)).out_channels)
        assert widths == [2, 3]
        assert sys.modules["own_sizes_of_it"] is other

    def test_a_module_of_a_package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        package = tmp_path / "another_package_of_nets"
        package.mkdir()
        (package / "__init__.py").write_text("")
        (package / "sizes.py").write_text("WIDTH = 6\n")
        (package / "nets.py").write_text(
            "from torch import nn\nfrom .sizes import WIDTH\n"
            "def make(): return nn.Conv2d(3, WIDTH, 1)\n"
        )
        with monkeypatch.context() as patch:
            patch.syspath_prepend(tmp_path)
            network = module("another_package_of_nets.nets:make")
        # As in a worker that was started elsewhere.
        assert built(network).out_channels == 6

    def test_a_method_that_makes_it(self, folder: Path) -> None:
        assert isinstance(built(of(folder, "net.py:Net.wide")).pool, nn.MaxPool2d)

    @pytest.mark.parametrize(
        ("name", "arguments", "parts"),
        [
            ("fails", {}, ("net.py:fails", "ValueError: no")),
            ("exits", {}, ("net.py:exits", "SystemExit")),
            ("returns_none", {}, ("net.py:returns_none", "NoneType")),
            ("returns_class", {}, ("net.py:returns_class", "type")),
            ("decorated", {"size": 3}, ("net.py:decorated", "size")),
            ("ONE", {}, ("net.py:ONE", "Conv2d")),
            ("lazy", {}, ("net.py:lazy", "no weights yet")),
            ("meta", {}, ("net.py:meta", "no weights yet")),
            ("NUMBER", {}, ("net.py:NUMBER", "int")),
            ("Net.narrow", {}, ("'Net.narrow'", "make")),
        ],
    )
    def test_a_function_that_makes_none(
        self, folder: Path, name: str, arguments: Mapping[str, object], parts: tuple[str, ...]
    ) -> None:
        network = of(folder, f"net.py:{name}", arguments=arguments)
        with pytest.raises(DepthClaimsError) as caught:
            built(network)
        one_line(caught.value, *parts)

    @pytest.mark.parametrize(
        ("line", "part"),
        [
            ("import no_such_package", "no_such_package"),
            ("raise RuntimeError('on a\\nwhim')", "RuntimeError: on a"),
            ("raise SystemExit(1)", "SystemExit"),
        ],
    )
    def test_a_file_that_cannot_be_run(self, tmp_path: Path, line: str, part: str) -> None:
        (tmp_path / "net.py").write_text(f"{line}\ndef make(): pass\n")
        network = of(tmp_path)
        with pytest.raises(ModuleError) as caught:
            built(network)
        one_line(caught.value, "net.py", part)

    def test_the_same_module_again_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        package = tmp_path / "a_package_that_keeps"
        package.mkdir()
        (package / "__init__.py").write_text(NET)
        monkeypatch.syspath_prepend(tmp_path)
        network = module("a_package_that_keeps:kept")
        built(network)
        with pytest.raises(ModuleError, match="same module again"):
            built(network)


class TestEncoding:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_it_is_the_network_up_to_the_layer(self, folder: Path, dtype: torch.dtype) -> None:
        images = torch.rand(2, 3, 8, 8, dtype=dtype)
        made = built(of(folder), seed=5).to(dtype)
        for layer, truth in (("0", made[0](images)), (None, made(images))):  # type: ignore[index]
            encoder = factory_encoder(
                of(folder, layer=layer), seed=5, dtype=dtype, device=torch.device("cpu")
            )
            torch.testing.assert_close(encoder.encode(images), truth)

    def test_a_wrong_layer_is_answered_with_the_nearest(self, tmp_path: Path) -> None:
        (tmp_path / "net.py").write_text(
            "from torch import nn\nfrom collections import OrderedDict\n"
            "def make(): return nn.Sequential(OrderedDict(features=nn.ReLU(), head=nn.ReLU()))\n"
        )
        network = of(tmp_path, layer="feature")
        with pytest.raises(UnknownNameError) as caught:
            factory_encoder(network, seed=1, dtype=torch.float32, device=torch.device("cpu"))
        one_line(caught.value, "'feature'", "features")

    def test_what_a_plan_ends_at_is_measured_by_the_module(self, tmp_path: Path) -> None:
        (tmp_path / "net.py").write_text(LATE)
        network = of(tmp_path, "net.py:Late")
        far = Descent(step=200.0, factor=1.0, loss="l2")
        (found,) = measure(
            [dataclasses.replace(cell(network), decoder=far, iterations=1)], device="cpu"
        )
        assert found.images["reconstruction"].max() > 3
        late = built(network)
        outputs = [
            late(torch.from_numpy(found.images[name])) for name in ("reconstruction", "target")
        ]
        truth = float((outputs[0] - outputs[1]).norm())
        assert found.values["m_g"] == pytest.approx(truth, rel=1e-5)


LATE = """
from torch import Tensor, nn

class Late(nn.Module):
    def forward(self, images):
        far = isinstance(images, Tensor) and float(images.detach().amax()) > 3
        return images * 5 if far else images * 1.0
"""

POOLING = """
from torch import nn


def make(pooling):
    pool = {{"average": nn.AvgPool2d, "max": nn.MaxPool2d}}[pooling]
    return nn.Sequential(nn.Conv2d(3, {width}, 3), nn.ReLU(), pool(2), nn.Flatten())


def fails():
    raise ValueError("no such size")


def vector():
    return nn.Linear(5, 2)


class Random(nn.Module):
    def forward(self, images):
        return nn.functional.dropout(images)


class Detached(nn.Module):
    def forward(self, images):
        return images.detach() * 2


class Constant(nn.Module):
    def forward(self, images):
        return images * 0
"""

HEADED = """
from torch import nn


class Net(nn.Module):
    def __init__(self, classes=5):
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, classes)

    def forward(self, images):
        return self.head(self.body(images).mean((2, 3)))
"""

CLAIM = """
import pytest
from harness.claim import Claim, Criterion, event
from harness.plan.cells import Inversion
from harness.plan.decoders import LBFGS
from torch import nn

def claim(name):
    return Claim(
        id=name, statement="Average pooling keeps more.", section="S", method="M.",
        estimands={"gain": event("It is.", Criterion(effect="gain", label="gain", above=0.0))},
    )

def state(lab, name, network, **options):
    def inversion(seeds, pooling):
        return Inversion(
            seeds=seeds, network=network(pooling), images=lab.photographs(pixels=8),
            decoder=LBFGS(), iterations=3,
        )

    lab.judge(
        claim(name),
        cells=lambda seeds: {pooling: inversion(seeds, pooling) for pooling in ("average", "max")},
        effects=lambda seen: {"gain": seen["max"].values["r"] - seen["average"].values["r"]},
        max_replicates=2,
    )

def test_pooling(lab):
    state(lab, "P1", lambda pooling: lab.module(
        "nets/my_net.py:make", layer="3", arguments={"pooling": pooling}
    ))
"""

MISTAKES = """
@pytest.mark.parametrize("name", [
    "nets/none.py:make", "nets/my_net.py:maek", "nets/broken.py:make", "nets/my_net.py:fails",
    "nets/my_net.py:vector", "nets.nothing:make", "nets/my_net.py:Random",
    "nets/my_net.py:Detached", "nets/my_net.py:Constant",
])
def test_name(lab, name):
    state(lab, "P2", lambda pooling: lab.module(name))

def test_layer(lab):
    state(lab, "P3", lambda pooling: lab.module(
        "nets/my_net.py:make", layer="30", arguments={"pooling": pooling}
    ))

def test_arguments(lab):
    state(lab, "P4", lambda pooling: lab.module("nets/my_net.py:make", arguments={"pool": 1}))

@pytest.mark.parametrize("kind", ["module", "function"])
def test_no_settings(lab, kind):
    network = nn.Sequential(nn.ReLU(), nn.ReLU()) if kind == "module" else lambda: nn.ReLU()
    state(lab, "P5", lambda pooling: network)
"""


@pytest.fixture
def suite(pytester: pytest.Pytester) -> Suite:
    suite = Suite(pytester, pytester.path / "store")
    (suite.folder / "nets").mkdir()
    (suite.folder / "nets" / "my_net.py").write_text(POOLING.format(width=4))
    return suite


def measured(suite: Suite) -> int:
    document = json.loads((suite.report / "claims.json").read_text())
    return int(document["run"]["measured"])


class TestClaims:
    def test_a_warm_run_measures_nothing_and_an_edit_measures_anew(self, suite: Suite) -> None:
        suite.write(test_z=CLAIM)
        # Too few replicates for a verdict.
        suite.run().assert_outcomes(skipped=1)
        assert measured(suite) == 4
        suite.run()
        assert measured(suite) == 0
        (suite.folder / "nets" / "my_net.py").write_text(POOLING.format(width=5))
        suite.run()
        assert measured(suite) == 4

    def test_a_head_that_the_weights_lack_is_told_in_the_report(self, suite: Suite) -> None:
        (suite.folder / "nets" / "headed.py").write_text(HEADED)
        seven = of(suite.folder, "nets/headed.py:Net", arguments={"classes": 7})
        torch.save({"model": built(seven).state_dict()}, suite.folder / "w.pt")
        body = """
def test_headed(lab):
    state(lab, "P6", lambda _: lab.module("nets/headed.py:Net", layer="LAYER", weights="w.pt"))
"""
        suite.write(test_z=CLAIM + body.replace("LAYER", "body"))
        suite.run("-k", "headed").assert_outcomes(skipped=1, deselected=1)
        assert "head.weight, head.bias" in (suite.report / "claims.json").read_text()
        suite.write(test_z=CLAIM + body.replace("LAYER", "head"))
        result = suite.run("-k", "headed")
        result.assert_outcomes(failed=1, deselected=1)
        result.stdout.fnmatch_lines(["P6: *w.pt: *do not fit headed.py:Net*"])

    def test_a_mistake_fails_its_own_test_in_one_line(self, suite: Suite) -> None:
        (suite.folder / "nets" / "broken.py").write_text("def make(:\n")
        result = suite.write(test_z=CLAIM + MISTAKES).run()
        result.assert_outcomes(failed=13, skipped=1)
        for parts in (
            ("none.py: ", "cannot be read"),
            ("'maek': ", "Choose make"),
            ("broken.py, line 1: ", "no Python"),
            ("my_net.py:fails: ", "ValueError: no such size"),
            ("images of shape (1, 3, 8, 8): ", "shapes"),
            ("Random: ", "it is random"),
            ("my_net.py:Detached: ", "differentiated"),
            ("my_net.py:Constant: ", "does not depend"),
            ("nets.nothing: ", "no such Python module"),
            ("'30': ", "3"),
            ("my_net.py:make: it takes other arguments", "pooling"),
            ("network=Sequential(... of Inversion: ", "my_net.py:make"),
            ("network=<function ", "my_net.py:make"),
        ):
            said = [line for line in result.outlines if parts[0] in line and line[0] == "P"]
            assert len(said) == 1, parts
            assert parts[1] in said[0]
        assert not any(line.startswith((">", "E  ")) for line in result.outlines)

    @pytest.mark.slow
    def test_workers_load_the_file_themselves(self, suite: Suite) -> None:
        suite.write(test_z=CLAIM)
        process = suite.start("--executor=processes:1")
        output, _ = process.communicate(timeout=600)
        assert "1 skipped" in output
        assert measured(suite) == 4
        suite.run()
        assert measured(suite) == 0

    @pytest.mark.slow
    def test_the_documented_claim(self, suite: Suite) -> None:
        """The example of the page on claims of one's own comes to what the page says."""
        page = (ROOT / "docs" / "own-claims.md").read_text(encoding="utf-8")
        conftest, network, test = re.findall(
            r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL
        )
        (suite.folder / "conftest.py").write_text(conftest)
        (suite.folder / "my_net.py").write_text(network)
        (suite.folder / "test_pooling.py").write_text(test)
        suite.run().assert_outcomes(passed=1)
        assert suite.verdicts() == {"P1": "supported"}
        assert "in 12 of 12 replicates" in suite.conditions()[0][2]
        assert measured(suite) == 24
