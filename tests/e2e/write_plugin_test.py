"""A stranger writes a plugin: from the installed package alone, in a directory that knows nothing of this tree."""

import pathlib
import shutil

import e2e
from install_test import InstalledTestCase, run

SOURCES = e2e.ROOT / "tests" / "sdk" / "plugins"


class Package(InstalledTestCase):
    """find_package(postbus-sdk) and pkg-config."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.project = cls.work / "outside"
        shutil.copytree(e2e.ROOT / "tests" / "install" / "plugins", cls.project)
        for name in ("minimal.c", "acme.cc", "acme_http.cc"):
            shutil.copy(SOURCES / name, cls.project)

    def check_loads(self, plugin: pathlib.Path, **options):
        written = ", ".join(f"{name}: {value}" for name, value in options.items())
        config = self.write_config(self.queue_sqlite(), f'{{ plugin: "{plugin}", options: {{ {written} }} }}')
        run(self.prefix / "bin" / "postbus", "validate", "-c", config)
        symbols = run("nm", "-D", "--defined-only", "--format=just-symbols", plugin).stdout.split()
        self.assertEqual(symbols, ["postbus_plugin_entry"], "it exports its entry alone")

    def test_cmake(self):
        build = self.work / "build"
        run("cmake", "-S", self.project, "-B", build, "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={self.prefix}")
        run("cmake", "--build", build)
        self.check_loads(build / "plugins" / "minimal.so")
        self.check_loads(build / "plugins" / "acme.so", token="x")
        self.check_loads(build / "plugins" / "acme-http.so", token="x")

    def test_pkg_config(self):
        for compiler, source, package, options in (
            ("cc -std=c11", "minimal.c", "postbus-sdk", {}),
            ("c++ -std=c++20", "acme.cc", "postbus-sdk", {"token": "x"}),
            ("c++ -std=c++20", "acme_http.cc", "postbus-sdk-http", {"token": "x"}),
        ):
            with self.subTest(source):
                plugin = self.work / f"{source}.so"
                run("sh", "-ec", f"{compiler} {source} -o {plugin} $(pkg-config --cflags --libs {package})",
                    cwd=self.project, env={"PATH": "/usr/bin:/bin", "PKG_CONFIG_PATH": f"{self.prefix}/lib/pkgconfig"})  # fmt: skip
                self.check_loads(plugin, **options)

    def test_nothing_of_the_package_names_this_tree(self):
        for folder in ("lib/cmake", "lib/pkgconfig"):
            for file in (self.prefix / folder).rglob("*.*"):
                if file.is_file():
                    self.assertNotIn(str(e2e.ROOT), file.read_text(), file)


if __name__ == "__main__":
    e2e.main()
