"""Make what a slot of a board's flash holds: a network compiled for the board, with a self-test, signed; in one file (.flu)."""
import argparse
from dataclasses import replace
from pathlib import Path
import sys

from arch.program import Program
from arch.slots import HEADER_MAGIC, Slot
from cli import OutputError, Parser, RequestError, print_notes, write_bytes, write_json
from compiler.build import compile_network
from compiler.program_file import load
from compiler.target import Target, add_target_arguments, target_from_arguments
from golden.selftest import slot_of
from host.cli import main_of
from host.slot.signing import make_key, private_key, sign
from host.tensors import quantised_input
from nets.labelled import own_images
from nets.network import add_network_arguments, network_from_arguments
from nets.preprocess import InputSpec, check_image, find_images, load_image

__all__ = ["SUFFIX", "bundle_of", "get_parser", "main"]

SUFFIX = ".flu"
_MOST = (1 << 32) - 1


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= _MOST):
        raise argparse.ArgumentTypeError(f"must be a number of 0..{_MOST}, not {text!r}")
    return int(text)


def get_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m host.bundle", description=__doc__)
    parser.add_argument("--make-key", type=Path, metavar="FILE",
                        help="only make a new key: the private one in FILE, the public one in FILE.pub")
    parser.add_argument("--program", type=Path, metavar="FILE", help="a compiled program (.flp) instead of a model")
    add_network_arguments(parser)
    add_target_arguments(parser)
    parser.add_argument("--image", type=Path, metavar="I",
                        help="what the self-test computes: a picture, or a tensor as .npy or .bin (digits has its own)")
    parser.add_argument("--key", type=Path, metavar="FILE", help="private key that signs; without it the bundle is not signed")
    parser.add_argument("--version", type=_number, default=1, metavar="N", help="of the model, for people (%(default)s)")
    parser.add_argument("--security", type=_number, default=0, metavar="N",
                        help="security counter: a board that confirmed a bundle refuses those of a lower one (%(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE", help=f"the bundle (<network>-<board>{SUFFIX})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write what the bundle holds as JSON")
    return parser


def _compiled(args: argparse.Namespace, target: Target) -> tuple[Program, Target]:
    """The program that the arguments name, and for which board. `args.image` is there afterwards."""
    if args.program:
        if not args.image:
            raise RequestError(f"{args.program}: give --image: what the self-test computes")
        program = load(args.program)
        return program, replace(target, geometry=program.geometry)
    network = network_from_arguments(args)
    args.image = args.image or find_images(own_images(network, "--image"))[0]
    target = target.serving(network)
    print_notes(network.notes)
    return compile_network(network, target.geometry, storage_words=target.storage_words).program, target


def bundle_of(args: argparse.Namespace) -> tuple[Slot, Target]:
    """The slot that the arguments describe, signed if they name a key, and for which board."""
    key = args.key and private_key(args.key)
    if args.image:
        check_image(args.image)
    try:
        target = target_from_arguments(args)
    except ValueError as error:                 # a board's name, a size
        raise RequestError(error) from None
    program, target = _compiled(args, target)
    q = quantised_input(program, load_image(args.image, InputSpec.from_json(program.meta["spec"])))
    slot = slot_of(program, q, target.timing, target.storage_words, version=args.version, security=args.security)
    return sign(slot, key) if key else slot, target


def _check_output(path: Path) -> None:
    """Raises OutputError for a name without the suffix, and for a file that holds something else, which would be lost."""
    if path.suffix != SUFFIX:
        raise OutputError(f"{path}: a bundle's name must end in {SUFFIX}")
    if path.is_file() and path.stat().st_size:
        with path.open("rb") as file:
            if file.read(4) != HEADER_MAGIC.to_bytes(4, "little"):
                raise OutputError(f"{path}: is there already, and is no bundle: give another name, or remove it")


def run(args: argparse.Namespace) -> None:
    if args.make_key:
        print(f"{args.make_key} {make_key(args.make_key)}")
        return
    if args.out:
        _check_output(args.out)
    slot, target = bundle_of(args)
    header, data = slot.header, slot.to_bytes()
    out = args.out or Path(f"{header.name}-{target.name}{SUFFIX}".replace("/", "_"))
    _check_output(out)
    write_bytes(out, data)
    if args.json:
        write_json(args.json, {
            "file": str(out), "name": header.name, "version": header.version, "security": header.security,
            "digest": f"{header.digest:016x}", "bytes": len(data), "sha256": header.sha256.hex(), "signed": bool(args.key),
            "image": str(args.image), "most_cycles": header.test.cycles})
    if not args.key:
        print("note: the bundle is not signed: --key FILE signs it, --make-key makes one", file=sys.stderr)
    print(out)


def main(argv: list[str] | None = None, parser: argparse.ArgumentParser | None = None) -> int:
    return main_of(run, parser or get_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
