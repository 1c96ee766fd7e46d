"""Sources of a model are compiled together."""
from sim.verilog import verilate


def test_a_small_model_is_one_file(tmp_path):
    for name in ("Vtop.cpp", "Vtop__0__Slow.cpp", "harness.cpp"):
        (tmp_path / name).write_text("int x;\n")
    assert verilate._together(tmp_path) == ["bundle0.cc"]
    assert (tmp_path / "bundle0.cc").read_text() == "".join(
        f'#include "{name}"\n' for name in ("Vtop__pch.h", "Vtop.cpp", "Vtop__0__Slow.cpp", "harness.cpp"))


def test_of_a_large_model_what_need_not_be_fast_is_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(verilate, "_TOGETHER", 100)
    sizes = {"Vtop__0.cpp": 60, "Vtop__1.cpp": 60,
             "Vtop__0__Slow.cpp": 20, "Vtop__Trace__0.cpp": 80, "Vtop__2.cpp": 40, "z.cpp": 300}
    for name, size in sizes.items():
        (tmp_path / name).write_text("/" * size)
    made = verilate._together(tmp_path)
    assert made == ["bundle0.slow.cc", "bundle1.cc", "bundle2.cc", "bundle3.cc"]
    assert [(tmp_path / name).read_text().count("#include") for name in made] == [3, 2, 3, 2]
    found = "".join((tmp_path / name).read_text() for name in made)
    assert all(found.count(f'"{name}"') == 1 for name in sizes)


def test_the_header_is_compiled_once_for_each_level(tmp_path):
    (tmp_path / "Vtop__pch.h").write_text("struct Known { int x; };\n")
    verilate._precompile(["a.cc", "b.cc", "c.cc", "a.slow.cc"], (), tmp_path)
    (tmp_path / "Vtop__pch.h").write_text("")              # the compiler takes the other one
    (tmp_path / "a.cc").write_text('#include "Vtop__pch.h"\nint f(Known k) { return k.x; }\n')
    assert [path.stat().st_size > 0 for path in (tmp_path / "Vtop__pch.h.gch").iterdir()] == [True]
    verilate._compile(["a.cc"], ("-I.",), tmp_path)
    assert (tmp_path / "a.o").exists()
