/* install_test.c - what `make install` leaves is enough: a program finds it by pkg-config, links with it either way, and runs. */
#include "test.h"

#include <stdlib.h>

static const char *const program = "#include <ferry/ferry.h>\n"
                                   "#include <stdio.h>\n"
                                   "int main(void) { puts(ferry_version()); return 0; }\n";

static const char *install(void)
{
    const char *to = test_text("%s/root", test_dir());
    if (strcmp(test_bin(), test_text("%s/build", test_root())) != 0)
        SKIP("only the plain build is installed");
    unsetenv("MAKEFLAGS");
    unsetenv("MAKELEVEL");
    test_output r = test_sh("make -s -C '%s' install DESTDIR='%s' PREFIX=/opt", test_root(), to);
    CHECK_STR(r.err, "");
    CHECK_INT(r.code, 0);
    return to;
}

/* Compiles and links against the staged tree as if it were /opt. */
static void build(const char *root, const char *how)
{
    test_write(test_text("%s/p.c", test_dir()), program);
    test_output r =
        test_sh("cd '%s' && export PKG_CONFIG_PATH='%s/opt/lib/pkgconfig' && "
                "cc p.c -o p $(pkg-config --define-variable=prefix='%s/opt' --define-variable=libdir='%s/opt/lib' %s)",
                test_dir(), root, root, root, how);
    CHECK_STR(r.err, "");
    CHECK_INT(r.code, 0);
}

TEST_WITH(everything_is_there, .limit_ms = 120000)
{
    test_output r = test_sh("cd '%s/opt' && find . ! -type d | sort", install());
    CHECK_STR(r.out, test_text("./bin/ferry\n"
                               "./include/ferry/ferry.h\n"
                               "./include/ferry/macros.h\n"
                               "./lib/libferry.a\n"
                               "./lib/libferry.so\n"
                               "./lib/libferry.so.0\n"
                               "./lib/libferry.so.%s\n"
                               "./lib/pkgconfig/ferry.pc\n"
                               "./share/man/man1/ferry.1\n",
                               FERRY_VERSION));
}

TEST_WITH(a_program_links_with_the_shared_library, .limit_ms = 120000)
{
    const char *root = install();
    build(root, "--cflags --libs ferry");
    test_output r = test_sh("LD_LIBRARY_PATH='%s/opt/lib' '%s/p' && LD_LIBRARY_PATH='%s/opt/lib' ldd '%s/p'", root,
                            test_dir(), root, test_dir());
    CHECK_HAS(r.out, test_text("%s\n", FERRY_VERSION));
    CHECK_HAS(r.out, "libferry.so.0");
}

TEST_WITH(a_program_links_with_the_static_library, .limit_ms = 120000)
{
    const char *root = install();
    test_sh("rm -f '%s'/opt/lib/libferry.so*", root);
    build(root, "--cflags --libs ferry $(pkg-config --print-requires-private ferry)"); /* all else stays shared */
    test_output r = test_sh("'%s/p' && ldd '%s/p'", test_dir(), test_dir());
    CHECK_HAS(r.out, test_text("%s\n", FERRY_VERSION));
    CHECK(strstr(r.out, "libferry.so") == NULL);
}
