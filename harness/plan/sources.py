"""Python code of a person's own, named as "my_net.py:make" or "package.module:make".

Code is found, read and parsed here, not run: collecting claims imports neither it nor torch.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import importlib.metadata
import inspect
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path

from harness.errors import ModuleError, SettingError, UnknownNameError
from harness.plan.fields import OUTSIDE_IDENTITY

_OWN = Path(__file__).parents[1].name
"""This package, whose version is part of an identity anyway."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """A file of Python code, identified by its content.

    Parameters
    ----------
    sha256 : str
        Of the file, of those beside it that it imports, however indirectly, and of the versions of
        the packages that these import.
    path : Path
        The file.
    module : str or None
        Its dotted name; None for a file that belongs to no package.
    """

    sha256: str
    path: Path = dataclasses.field(metadata=OUTSIDE_IDENTITY, compare=False)
    module: str | None = dataclasses.field(default=None, metadata=OUTSIDE_IDENTITY, compare=False)

    @classmethod
    def of(cls, path: Path, *, module: str | None = None) -> Source:
        """A file with its digest.

        Raises
        ------
        ModuleError
            Where it cannot be read, or is no Python.
        """
        digest = hashlib.sha256()
        files, packages = _closure(path, module=module)
        for name, file in sorted(files.items()):
            # The name of a file of its own is nobody's concern.
            digest.update(f"{'' if file == path else name} {_read(file).sha256}\n".encode())
        for package in sorted(packages):
            digest.update(f"{package} {_version(package)}\n".encode())
        return cls(sha256=digest.hexdigest(), path=path, module=module)

    @property
    def root(self) -> Path:
        """The folder in which its imports are looked for first."""
        return _root(self.path, module=self.module)

    @property
    def beside(self) -> set[str]:
        """What it imports from there, by the first part of its name."""
        files, _ = _closure(self.path, module=self.module)
        return {name.partition(".")[0] for name in files}


def find(name: str, *, folder: Path) -> tuple[Source, str]:
    """The code that a name stands for, and the attribute that it names there.

    Parameters
    ----------
    name : str
        "my_net.py:make" or "package.module:make".
    folder : Path
        To which the path of a file is relative.

    Raises
    ------
    ModuleError
        Where the name is none, the file is missing or no Python.
    UnknownNameError
        Where the file has no such attribute.
    """
    written: object = name
    place, _, attribute = name.rpartition(":") if isinstance(written, str) else ("", "", "")
    if not (place and all(part.isidentifier() for part in attribute.split("."))):
        raise ModuleError(
            repr(written).partition("\n")[0],
            rule="code is known by its file or module and an attribute of it",
            remedy='Write "my_net.py:make" or "package.module:make"',
        )
    if place.endswith(".py"):
        source = Source.of((folder / place).resolve())
    else:
        source = Source.of(_locate(place), module=place)
    _check_attribute(source, attribute)
    return source, attribute


def check_arguments(source: Source, attribute: str, arguments: Mapping[str, object]) -> None:
    """Refuse arguments that a function or a class does not take, where its code shows that.

    Raises
    ------
    SettingError
        Where it does not.
    """
    signature = _signature(_read(source.path).tree, attribute)
    if signature is not None:
        check_call(signature, arguments, name=f"{source.path.name}:{attribute}")


def check_call(signature: inspect.Signature, arguments: Mapping[str, object], *, name: str) -> None:
    """Refuse arguments that a signature does not take, all given by name.

    Raises
    ------
    SettingError
        Where it does not.
    """
    try:
        signature.bind(**arguments)
    except TypeError as error:
        taken = ", ".join(signature.parameters)
        raise SettingError(
            name,
            rule=f"it takes other arguments ({error})",
            remedy=f"Give those that it takes: {taken}" if taken else "Leave them out: it has none",
        ) from error


@dataclasses.dataclass(frozen=True)
class _Code:
    """A file's content."""

    sha256: str
    tree: ast.Module


def _read(path: Path) -> _Code:
    try:
        about = path.stat()
        return _parsed(path, (about.st_mtime_ns, about.st_ctime_ns, about.st_size))
    except OSError as error:
        raise ModuleError(
            path,
            rule=f"the file cannot be read ({error.strerror or error})",
            remedy="Give the path of a Python file, relative to the test's folder",
        ) from error
    except (SyntaxError, ValueError) as error:
        where = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise ModuleError(
            f"{path}{where}",
            rule=f"it is no Python ({getattr(error, 'msg', error)})",
            remedy="Mend the file",
        ) from error


@functools.lru_cache(maxsize=1024)
def _parsed(path: Path, _version: tuple[int, ...]) -> _Code:
    content = path.read_bytes()
    return _Code(hashlib.sha256(content).hexdigest(), ast.parse(content, filename=str(path)))


def _locate(module: str) -> Path:
    """The source file of a module, found without importing it or a package around it."""
    spec: ModuleSpec | None = None
    parts = module.split(".")
    for number in range(1, len(parts) + 1):
        places = None if spec is None else spec.submodule_search_locations
        if number == 1 or places is not None:
            spec = _spec(".".join(parts[:number]), places)
        if spec is None:
            break
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise ModuleError(
            module,
            rule="there is no such Python module here, or it has no source",
            remedy='Give a file, as "my_net.py:make", or install the package',
        )
    return Path(spec.origin).resolve()


def _spec(name: str, places: object) -> ModuleSpec | None:
    for finder in sys.meta_path:
        spec = finder.find_spec(name, places)  # type: ignore[arg-type]
        if spec is not None:
            return spec
    return None


def _root(path: Path, *, module: str | None) -> Path:
    depth = 0 if module is None else module.count(".") + (path.name == "__init__.py")
    return path.parents[depth]


def _closure(path: Path, *, module: str | None) -> tuple[dict[str, Path], set[str]]:
    """A file and those of its root that it imports, by dotted name; and the packages beyond."""
    root = _root(path, module=module)
    files: dict[str, Path] = {}
    packages: set[str] = set()
    left = [(module or path.stem, path)]
    installed = any(
        root == Path(place).resolve() for place in map(sysconfig.get_path, ("purelib", "platlib"))
    )
    while left:
        name, file = left.pop()
        if name in files:
            continue
        files[name] = file
        for imported in _imports(_read(file).tree, name=name, package=file.name == "__init__.py"):
            top = imported.partition(".")[0]
            if top == _OWN or top in sys.stdlib_module_names:
                continue
            beside = {} if installed else dict(_found(imported, root))
            left += beside.items()
            if not beside:
                packages.add(top)
    if installed and module is not None:
        packages.add(module.partition(".")[0])
    return files, packages


def _imports(tree: ast.Module, *, name: str, package: bool) -> Iterator[str]:
    """Dotted names that a file may import, as seen from its root."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                around = name.split(".")[: -level if not package else 1 - level or None]
                start = ".".join([*(around if level else []), *([module] if module else [])])
                yield from (f"{start}.{alias.name}" if start else alias.name for alias in names)


def _found(imported: str, root: Path) -> Iterator[tuple[str, Path]]:
    """The files of a dotted name below a folder, those of the packages around it included."""
    place, names = root, imported.split(".")
    for number, part in enumerate(names, start=1):
        place = place / part
        for file in (place / "__init__.py", place.with_suffix(".py")):
            if file.is_file():
                yield ".".join(names[:number]), file
                break


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _check_attribute(source: Source, attribute: str) -> None:
    """Refuse an attribute that a file does not bind at its top level."""
    first = attribute.partition(".")[0]
    bound = dict(_bindings(_read(source.path).tree.body))
    # What "*" brings, or a module's own __getattr__, only running it can tell.
    if first not in bound and not bound.keys() & {"*", "__getattr__"}:
        names = [key for key in bound if not key.startswith("_")]
        raise UnknownNameError.nearest(attribute, names, what=f"name in {source.path.name}")


def _bindings(body: list[ast.stmt]) -> Iterator[tuple[str, ast.stmt]]:
    """The names that statements bind, each with its statement."""
    for statement in body:
        match statement:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, statement
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                for alias in names:
                    yield alias.asname or alias.name.partition(".")[0], statement
            case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
                targets = ast.walk(statement)
                yield from (
                    (node.id, statement)
                    for node in targets
                    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
                )
            case _:
                for field in ("body", "orelse", "handlers", "finalbody"):
                    inner = getattr(statement, field, [])
                    blocks = [handler.body for handler in inner] if field == "handlers" else [inner]
                    for block in blocks:
                        yield from _bindings(block)


def _signature(tree: ast.Module, attribute: str) -> inspect.Signature | None:
    """The signature of a function or class at a file's top level; None where it cannot be told."""
    found = [statement for name, statement in _bindings(tree.body) if name == attribute]
    match found:
        case [ast.FunctionDef(decorator_list=[], args=arguments)]:
            return _of(arguments, skip=0)
        case [ast.ClassDef(decorator_list=[], keywords=[], body=body)]:
            for statement in body:
                match statement:
                    case ast.FunctionDef(name="__init__", decorator_list=[], args=arguments):
                        return _of(arguments, skip=1)
    return None


def _of(arguments: ast.arguments, *, skip: int) -> inspect.Signature:
    kinds = inspect.Parameter
    given = len(arguments.posonlyargs) + len(arguments.args) - len(arguments.defaults)
    parameters = [
        kinds(
            argument.arg,
            kinds.POSITIONAL_ONLY
            if number < len(arguments.posonlyargs)
            else kinds.POSITIONAL_OR_KEYWORD,
            default=kinds.empty if number < given else None,
        )
        for number, argument in enumerate([*arguments.posonlyargs, *arguments.args])
    ][skip:]
    if arguments.vararg:
        parameters.append(kinds(arguments.vararg.arg, kinds.VAR_POSITIONAL))
    parameters += [
        kinds(argument.arg, kinds.KEYWORD_ONLY, default=kinds.empty if default is None else None)
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    if arguments.kwarg:
        parameters.append(kinds(arguments.kwarg.arg, kinds.VAR_KEYWORD))
    return inspect.Signature(parameters)
